"""The baselines: unbiased where they claim it, in our units, and better than what they are given."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from torch import Tensor

from mri_n2n.errors import UsageError
from natural_images.baselines import (
    BlockMatching,
    DeepImagePrior,
    MedianFilter,
    VarianceStabilised,
    anscombe,
    exact_unbiased_inverse,
)
from natural_images.image_files import BadImage


def scene(channels: int, size: int = 64) -> Tensor:
    """Smooth shading with a bright disc and stripes `[1 c h w]`, in [-0.4, 0.4]; each channel differs."""
    row, column = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    disc = (row**2 + (column - 0.3) ** 2 < 0.25).float()
    stripes = torch.sign(torch.sin(12 * column)) * (row > 0.5)
    return torch.stack([0.2 * row + 0.3 * disc - 0.1 * stripes * k / channels for k in range(channels)])[None] - 0.1


def decibels(image: Tensor, reference: Tensor) -> float:
    return float(-10 * torch.log10((image - reference).square().mean()))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make a tiny network a hundred times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bm3d() -> None:
    pytest.importorskip("bm3d", reason="needs mri-n2n[baselines]")


def test_inverse_of_the_mean_transform_is_the_mean() -> None:
    means = np.concatenate([np.geomspace(0.05, 200, 400), [1000.0]])
    counts = np.arange(2000.0)
    transformed = poisson.pmf(counts, means[:, None]) @ anscombe(counts)
    assert np.abs(exact_unbiased_inverse(transformed) - means).max() < 1e-3


def test_inverse_is_monotone_and_never_negative() -> None:
    inverse = exact_unbiased_inverse(np.linspace(0, 60, 5000))
    assert (np.diff(inverse) >= 0).all()
    assert inverse[0] == 0


def test_transform_stabilises_the_variance() -> None:
    means = np.linspace(4, 100, 50)[:, None]
    counts = np.arange(500.0)
    probability = poisson.pmf(counts, means)
    variance = probability @ anscombe(counts) ** 2 - (probability @ anscombe(counts)) ** 2
    assert np.abs(variance - 1).max() < 0.05


@pytest.mark.usefixtures("bm3d")
@pytest.mark.parametrize("channels", [1, 3])
def test_block_matching_improves(channels: int) -> None:
    clean = scene(channels)
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    denoised = BlockMatching(25.0)(noisy)
    assert denoised.shape == clean.shape
    assert denoised.dtype == clean.dtype
    assert decibels(denoised, clean) > decibels(noisy, clean) + 5


@pytest.mark.usefixtures("bm3d")
def test_block_matching_keeps_flat_images_and_order() -> None:
    """Units and places: flat colours of two images of a batch come back, beyond the range too."""
    flat = torch.tensor([[-0.5, 0.1, 0.7], [0.5, 0.5, 0.5]])[:, :, None, None].expand(-1, -1, 16, 20)
    torch.testing.assert_close(BlockMatching(25.0)(flat), flat, atol=1e-3, rtol=0)


@pytest.mark.usefixtures("bm3d")
def test_opponent_colours_beat_separate_ones() -> None:
    clean = scene(1).expand(-1, 3, -1, -1)
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    together, separate = (BlockMatching(25.0, colours)(noisy) for colours in ("opponent", "separate"))
    assert decibels(together, clean) > decibels(separate, clean) + 1


@pytest.mark.usefixtures("bm3d")
@pytest.mark.parametrize("colours", ["opponent", "separate"])
def test_variance_stabilised_improves_and_is_unbiased(colours: str) -> None:
    """The mean of a flat dark image (3 counts) is kept: 5 standard errors, false alarm below 1e-5 for 3 channels.

    The inverse without the correction would be off by 1/4 of a count.
    """
    rate, level = 30.0, 0.1
    flat = torch.full((1, 3, 64, 64), level)
    noisy = torch.poisson(rate * flat, generator=torch.Generator().manual_seed(0)) / rate - 0.5
    denoised = VarianceStabilised(rate, colours)(noisy)
    error = float((level / rate / flat[0, 0].numel()) ** 0.5)
    assert (denoised.mean(dim=(0, 2, 3)) + 0.5 - level).abs().max() < 5 * error
    clean = scene(3)
    noisy = torch.poisson(rate * (clean + 0.5), generator=torch.Generator().manual_seed(1)) / rate - 0.5
    assert decibels(VarianceStabilised(rate, colours)(noisy), clean) > decibels(noisy, clean) + 5


@pytest.mark.usefixtures("bm3d")
@pytest.mark.parametrize("shape", [(1, 2, 32, 32), (1, 3, 8, 8), (1, 1, 15, 32)])
def test_images_that_bm3d_cannot_take(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadImage, match=r"16×16"):
        BlockMatching(25.0)(torch.zeros(shape))


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm3d", None)
    for method in (BlockMatching, VarianceStabilised):
        with pytest.raises(UsageError, match=r"pip install 'mri-n2n\[baselines\]'"):
            method(25.0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_strengths(value: float) -> None:
    with pytest.raises(UsageError, match="sigma"):
        BlockMatching(value)
    with pytest.raises(UsageError, match="rate"):
        VarianceStabilised(value)


@pytest.mark.parametrize("channels", [1, 3])
def test_median_removes_salt_and_pepper(channels: int) -> None:
    """At p = 0.02 five of nine pixels are salt, or pepper, with probability 3e-8: false alarm below 1e-3.

    At the borders mirrored pixels count more than once: they are left out.
    """
    flat = torch.full((2, channels, 64, 64), 0.2)
    uniform = torch.rand(flat.shape, generator=torch.Generator().manual_seed(0))
    noisy = torch.where(uniform < 0.01, -0.5, torch.where(uniform > 0.99, 0.5, flat))
    interior = np.s_[..., 1:-1, 1:-1]
    assert torch.equal(MedianFilter(3)(noisy)[interior], flat[interior])
    clean = scene(channels)
    assert torch.equal(MedianFilter(1)(clean), clean)


@pytest.mark.parametrize("size", [0, 2, -3])
def test_median_without_a_middle(size: int) -> None:
    with pytest.raises(UsageError, match="odd"):
        MedianFilter(size)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("channels", [1, 3])
def test_deep_image_prior_predicts_what_it_never_saw(channels: int) -> None:
    """The lost pixels come back with less than half the squared error of their best constant; nothing is drawn anew."""
    clean = scene(channels, size=32)
    valid = torch.rand((1, 1, 32, 32), generator=torch.Generator().manual_seed(0)) < 0.5
    prior = DeepImagePrior(steps=60, width=12, smoothing=0.9)
    first = prior(torch.where(valid, clean, -0.5), valid=valid)
    with torch.inference_mode():
        second = prior(torch.where(valid, clean, 0.5), valid=valid)
    assert torch.equal(first, second)
    lost = ~valid.expand_as(clean)
    assert (first - clean)[lost].square().mean() < 0.5 * clean[lost].var()


def test_deep_image_prior_without_pixels() -> None:
    image = torch.zeros((1, 1, 32, 32))
    with pytest.raises(UsageError, match="valid pixel"):
        DeepImagePrior(steps=1, width=12)(image, valid=torch.zeros_like(image, dtype=torch.bool))
