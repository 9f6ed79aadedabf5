"""False-alarm rates: each statistical threshold is exceeded by a right program with probability below 1e-6."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from mri_n2n.errors import UsageError
from mri_n2n.kspace.fourier import whole_plane
from mri_n2n.kspace.sampling import (
    decay_for_acceleration,
    decay_for_edge,
    draw_mask,
    exponential_density,
)

FALSE_ALARM = 1e-6
GRIDS = [(15, 15), (16, 16), (15, 16), (9, 14)]


def whole_mask(density: torch.Tensor, count: int, seed: int | torch.Generator) -> torch.Tensor:
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return whole_plane(draw_mask(density, count, generator), density.shape[1])


def conjugate_pairs(height: int, width: int) -> torch.Tensor:
    """For every frequency k (flat index) the smaller of the flat indices of k and -k."""
    flat = torch.arange(height * width).reshape(height, width)
    return torch.minimum(flat, opposite(flat)).flatten()


def opposite(mask: torch.Tensor) -> torch.Tensor:
    return mask.flip(-2, -1).roll((1, 1), (-2, -1))


@pytest.mark.parametrize("grid", GRIDS)
def test_masks_are_conjugate_symmetric(grid: tuple[int, int]) -> None:
    mask = whole_mask(exponential_density(grid, 0.3), 500, 0)
    assert torch.equal(mask, opposite(mask))
    assert mask[:, 0, 0].all()  # DC


@pytest.mark.parametrize("grid", GRIDS)
def test_every_frequency_is_kept_with_its_probability(grid: tuple[int, int]) -> None:
    count, density = 40_000, exponential_density(grid, 0.3)
    mask = whole_mask(density, count, 1)
    deviation = (density * (1 - density) / count).sqrt()
    z = ((mask.float().mean(0) - density) / deviation.clamp(min=1e-9)).flatten()[1:]  # DC has no spread
    threshold = norm.isf(FALSE_ALARM / 2 / len(z))  # Bonferroni over frequencies
    assert z.abs().max() < threshold


@pytest.mark.parametrize("grid", GRIDS)
def test_frequencies_and_masks_are_independent(grid: tuple[int, int]) -> None:
    """Correlations between two masks, and between the conjugate pairs of one mask, are those of independent draws."""
    count, density = 40_000, exponential_density(grid, 0.2)
    generator = torch.Generator().manual_seed(2)
    first, second = (whole_mask(density, count, generator).flatten(1).float() for _ in range(2))
    pairs = conjugate_pairs(*grid)
    single = torch.unique(pairs)[1:]  # one of each pair, without DC
    deviation = (density * (1 - density)).sqrt().flatten()[single]
    a, b = ((mask[:, single] - density.flatten()[single]) / deviation for mask in (first, second))
    between = (a * b).mean(0) * math.sqrt(count)
    within = (a.T @ a / count * math.sqrt(count)).triu(1)
    tests = len(between) + within.numel()
    # Standardised Bernoulli products are not quite normal in their tails: the threshold is widened by a third.
    threshold = 4 / 3 * norm.isf(FALSE_ALARM / 2 / tests)
    assert between.abs().max() < threshold
    assert within.abs().max() < threshold


@given(st.integers(8, 80), st.integers(8, 80), st.floats(1.0, 12.0))
@settings(max_examples=30, deadline=None)
def test_acceleration_is_exact(height: int, width: int, acceleration: float) -> None:
    density = exponential_density((height, width), decay_for_acceleration((height, width), acceleration))
    assert float(density.double().mean()) * acceleration == pytest.approx(1, rel=1e-3)


def test_published_numbers() -> None:
    """METHOD §3: λ ≈ 0.02985 keeps 10 % on 255×255.

    P = 0.025 at the axis' end keeps 10.477 %, with p ≈ 0.0054 in the corner.
    """
    assert decay_for_acceleration((255, 255), 10) == pytest.approx(0.02985, abs=1e-5)
    published = exponential_density((255, 255), decay_for_edge((255, 255), 0.025))
    assert float(published.mean()) == pytest.approx(0.10477, abs=1e-5)
    assert float(published[0, 127]) == pytest.approx(0.025, rel=1e-5)
    assert float(published.min()) == pytest.approx(0.0054, abs=5e-5)


@pytest.mark.parametrize("acceleration", [0.5, 0.0, -3.0, float("nan"), 1e9])
def test_impossible_acceleration(acceleration: float) -> None:
    with pytest.raises(UsageError, match="acceleration"):
        decay_for_acceleration((64, 64), acceleration)


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.5])
def test_impossible_edge_probability(probability: float) -> None:
    with pytest.raises(UsageError, match="edge probability"):
        decay_for_edge((64, 64), probability)


def test_no_acceleration_keeps_everything() -> None:
    density = exponential_density((8, 9), decay_for_acceleration((8, 9), 1.0))
    assert draw_mask(density, 10, torch.Generator()).all()
