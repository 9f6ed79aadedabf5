"""Quality without a reference: two measurements out of one, and the error on what was held out."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mri_n2n.data.volumes import read_volume
from mri_n2n.kspace.acquisition import Measurement, acquire, split, split_density
from mri_n2n.kspace.channels import as_channels, from_channels
from mri_n2n.kspace.fourier import half_plane, opposite, to_kspace, whole_plane
from mri_n2n.kspace.sampling import (
    decay_for_acceleration,
    draw_mask,
    exponential_density,
    pair_uniform,
    uniform_numbers,
)
from mri_n2n.quality import Residual, decibels, held_out_errors, held_out_psnr, held_out_split, outlier
from mri_n2n.recipes import Optimisation, Recipe, pairs_task
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.scans import complex_volume, scanned_volume, simulated_scan
from mri_n2n.task import data_consistent, undersampled_pair

CPU = torch.device("cpu")
SIX_SIGMA = 6.0  # a false alarm once in a billion comparisons


def measured(image: torch.Tensor, acceleration: float, seed: int = 0) -> Measurement:
    """Independent measurements of a batch of images, real or complex."""
    real = not image.is_complex()
    grid = (image.shape[-2], image.shape[-1])
    density = exponential_density(grid, decay_for_acceleration(grid, acceleration))
    mask = draw_mask(density, len(image), torch.Generator().manual_seed(seed), real=real)
    return acquire(to_kspace(image), mask, density, real=real)


def some_images(count: int, grid: tuple[int, int], real: bool) -> torch.Tensor:
    """So many copies of one image."""
    parts = torch.rand(2, 1, *grid, generator=torch.Generator().manual_seed(5)) - 0.5
    return (parts[0] if real else torch.complex(parts[0], parts[1])).expand(count, *grid)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("grid", [(6, 5), (5, 6)])
def test_two_measurements_out_of_one_are_independent(grid: tuple[int, int], real: bool) -> None:
    """Over masks: each with density p', both with p'²."""
    count = 40_000
    whole = measured(some_images(count, grid, real), 3.0)
    first, second = split(whole, uniform_numbers(grid, count, torch.Generator().manual_seed(1), real=real))
    each = first.density
    torch.testing.assert_close(2 * each - each.square(), whole.density, rtol=1e-5, atol=1e-6)
    for mask, expected in ((first.mask, each), (second.mask, each), (first.mask & second.mask, each.square())):
        spread = (expected * (1 - expected) / count).sqrt()
        assert ((mask.float().mean(0) - expected).abs() <= SIX_SIGMA * spread + 1e-6).all()
    assert ((first.mask | second.mask) == whole.mask).all()
    assert (first.samples[~first.mask] == 0).all()


@given(st.integers(4, 12), st.integers(4, 12))
@settings(deadline=None, max_examples=20)
def test_opposite_frequencies_go_together(height: int, width: int) -> None:
    whole = measured(torch.rand(3, height, width), 2.0)
    for part in split(whole, pair_uniform((height, width), 3, torch.Generator().manual_seed(1))):
        rows = -torch.arange(height) % height
        for column in (0, width // 2) if width % 2 == 0 else (0,):
            assert (part.mask[:, rows, column] == part.mask[:, :, column]).all()


class Grey(torch.nn.Module):
    """The network that always answers grey."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(image)


@pytest.mark.parametrize("real", [True, False])
def test_the_estimate_is_the_error_in_expectation(real: bool) -> None:
    """Over 4,000 scans of one image, estimate minus truth is zero within six standard errors of their difference."""
    count = 4_000
    image = some_images(count, (9, 8), real)
    whole = measured(image, 3.0)
    names = [str(number) for number in range(count)]
    estimates = held_out_errors(Grey(), data_consistent, whole, names)
    first, _ = held_out_split(whole, names)
    prediction = data_consistent(Grey(), undersampled_pair(first, image))
    errors = (from_channels(prediction) - image).abs().square().mean((1, 2))
    difference = estimates - errors
    assert abs(float(difference.mean())) < SIX_SIGMA * float(difference.std()) / math.sqrt(count)
    assert float(errors.mean()) > 10 * float(difference.std()) / math.sqrt(count)  # it could have been seen


def test_what_was_acquired_as_a_pair_is_split_as_a_pair() -> None:
    """A complex image under a mask that is the same at k and -k: what the one half shows of -k says nothing of k."""
    count, grid = 20_000, (10, 9)
    density = exponential_density(grid, decay_for_acceleration(grid, 3.0))
    half = draw_mask(density, count, torch.Generator().manual_seed(0))
    mask = whole_plane(half, grid[1])
    whole = acquire(to_kspace(some_images(count, grid, real=False)), mask, density, real=False)
    numbers = uniform_numbers(grid, count, torch.Generator().manual_seed(1), real=False)
    first, second = split(whole, numbers)
    mirrored = opposite(first.mask)
    for seen in (mirrored, ~mirrored):
        off = seen & ~first.mask
        weight = torch.where(second.mask & off, 1 / second.density, 0).sum(0) / off.sum(0).clamp(min=1)
        told = off.sum(0) > 2000
        spread = ((1 / second.density[0] - 1) / off.sum(0).clamp(min=1)).sqrt()
        assert ((weight - 1).abs() <= SIX_SIGMA * spread + 1e-6)[told].all()
    assert not (mirrored & ~first.mask).any()  # a pair is seen whole, or not at all


def test_whole_lines_of_a_real_image_are_split_as_lines() -> None:
    grid = (9, 8)
    chosen = torch.rand(300, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    chosen |= chosen[:, -torch.arange(9) % 9]
    chosen[:, 0] = True
    density = torch.full(grid, 0.75)
    density[0] = 1.0
    mask = chosen[:, :, None].expand(-1, -1, 8)
    whole = acquire(to_kspace(torch.rand(300, *grid)), half_plane(mask), density)
    first, second = split(whole, uniform_numbers(grid, 300, torch.Generator().manual_seed(1), real=True))
    for part in (first, second):
        assert (part.mask == part.mask[:, :, :1]).all()
        assert (part.mask == part.mask[:, -torch.arange(9) % 9]).all()
    assert ((first.mask | second.mask) == whole.mask).all()
    assert (first.mask != second.mask).any()


def test_a_rare_sample_keeps_its_density() -> None:
    small = torch.tensor([[[1e-9, 1e-6, 0.5, 1.0]]])
    expected = -torch.expm1(0.5 * torch.log1p(-small.double()))
    torch.testing.assert_close(split_density(small).double(), expected, rtol=1e-6, atol=0)


def test_nothing_held_out_says_nothing() -> None:
    whole = measured(torch.rand(1, 8, 8), 1.0)
    assert decibels(float(held_out_errors(Grey(), data_consistent, whole, ["a"]).mean())) is None
    assert decibels(0.001) == pytest.approx(30)


@pytest.mark.parametrize("real", [True, False])
def test_the_residual_is_what_an_image_has_not_of_the_samples(real: bool) -> None:
    """Nothing of the true image, all of none, half of its half, DC aside; and rounding where samples are put back."""
    images = some_images(3, (9, 8), real)
    whole = measured(images, 2.0)
    for share in (0.0, 0.5, 1.0):
        residual = Residual()
        residual.add(as_channels(images[:2] * share), replace(whole, samples=whole.samples[:2], mask=whole.mask[:2]))
        residual.add(as_channels(images[2:] * share), replace(whole, samples=whole.samples[2:], mask=whole.mask[2:]))
        assert residual.share == pytest.approx(1 - share, abs=1e-5)
    residual = Residual()
    assert residual.share is None
    residual.add(data_consistent(Grey(), undersampled_pair(whole, images)), whole)
    assert 0 < residual.share < 1e-5


def test_the_number_of_coils_says_nothing_of_the_quality(heads: Path) -> None:
    """One head and mask, seen by one coil or by many: the same figure."""
    whole_head = read_volume(sorted(heads.iterdir())[0])
    volume = replace(whole_head, array=np.ascontiguousarray(whole_head.array[:, :, 20:28]))
    found = []
    for coils in (1, 4, 16):
        decay = decay_for_acceleration((48, 48), 4.0)
        scanned = complex_volume(simulated_scan(volume, decay, torch.Generator().manual_seed(3), coils=coils))
        whole = replace(scanned.measurement, samples=scanned.measurement.samples / scanned.white)
        names = [str(row // coils) for row in range(len(whole.samples))]
        found.append(held_out_psnr(Grey(), data_consistent, [(whole, names)], coils))
    assert max(found) - min(found) < 1.0, found


def test_outliers_are_rare_among_their_like() -> None:
    """Of 20,000 draws with nine known ones each, one in 200 is called an outlier (within six standard errors)."""
    rng = np.random.default_rng(0)
    draws = rng.normal(30, 2, (20_000, 10))
    share = np.mean([outlier(float(own), list(known)) for own, *known in draws])
    assert abs(share - 0.005) < SIX_SIGMA * math.sqrt(0.005 / len(draws))
    assert outlier(10.0, [30.0, 31.0, 29.0, 30.5, 30.2]) is True
    assert outlier(50.0, [30.0, 31.0, 29.0, 30.5, 30.2]) is False
    assert outlier(10.0, [30.0, 31.0]) is None


def test_a_volume_and_its_scan_are_judged(tiny_recipe: Recipe, heads: Path) -> None:
    network = tiny_recipe.network.build()
    volume = read_volume(sorted(heads.iterdir())[0])
    simulating = Reconstructor(network, tiny_recipe, CPU, simulate=True)
    quality = simulating.held_out_psnr(volume)
    assert quality is not None
    assert quality == simulating.held_out_psnr(volume)
    assert simulating(volume).residual < 1e-5
    scan = simulated_scan(volume, decay_for_acceleration((48, 48), 5.0), torch.Generator().manual_seed(0))
    scanned = replace(scanned_volume(scan), white=255.0)
    scanning = Reconstructor(network, tiny_recipe, CPU)
    assert scanning.held_out_psnr(scanned) == pytest.approx(quality, abs=3)  # the same mask for every slice
    assert scanning(scanned).residual < 1e-5
    pairs = Reconstructor(network, Recipe(pairs_task(), Optimisation(steps=1)), CPU)
    assert pairs.held_out_psnr(volume) is None
    assert pairs(volume).residual is None
