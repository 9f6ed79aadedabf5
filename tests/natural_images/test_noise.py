"""Distributions of the noise models. A test fails by chance for less than one seed in 10,000 (4σ or more)."""

import math

import pytest
import torch
from torch import Generator

from mri_n2n.errors import UsageError
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from natural_images.noise import (
    Bernoulli,
    BrownGaussian,
    Gaussian,
    Impulses,
    Poisson,
    SaltAndPepper,
    at_level,
    drawn_levels,
)
from natural_images.overlays import TextOverlay
from natural_images.tasks import StoredRealisations, SyntheticNoise

COUNT, SIZE = 16, 64
SAMPLES = COUNT * 3 * SIZE * SIZE
ALL = [Gaussian(), BrownGaussian(2.0), Poisson(), Bernoulli(), Impulses(), SaltAndPepper(), TextOverlay()]


@pytest.fixture
def generator() -> Generator:
    return RandomStreams(3).at("test", 0)


def flat(value: float) -> torch.Tensor:
    return torch.full((COUNT, 3, SIZE, SIZE), float(value))


def levels(value: float) -> torch.Tensor:
    return torch.full((COUNT,), float(value))


def test_gaussian_mean_and_deviation(generator: Generator) -> None:
    noise = Gaussian()(flat(0.1), levels(25), generator).image - 0.1
    sigma = 25 / 255
    assert abs(noise.mean()) < 5 * sigma / math.sqrt(SAMPLES)
    assert abs(noise.std() / sigma - 1) < 5 / math.sqrt(2 * SAMPLES)


@pytest.mark.parametrize("bandwidth", [0.0, 1.0, 4.0])
def test_brown_deviation_holds_up_to_the_borders(generator: Generator, bandwidth: float) -> None:
    """The variance of 6,144 independent samples per pixel place: 5σ is 9 %."""
    clean = torch.zeros((2048, 3, 9, 9))
    noise = BrownGaussian(bandwidth)(clean, torch.full((2048,), 25.0), generator).image
    deviation = noise.std(dim=(0, 1)) / (25 / 255)
    assert (deviation - 1).abs().max() < 5 / math.sqrt(2 * 2048 * 3)


@pytest.mark.parametrize("bandwidth", [1.0, 3.0])
def test_brown_covariance_is_a_blurred_delta(generator: Generator, bandwidth: float) -> None:
    """White noise blurred by a Gaussian of b pixels has the correlation exp(-d²/4b²) at a distance of d pixels.

    0.05 is eight standard deviations of what is measured for 3 pixels, where it varies most.
    """
    clean = torch.zeros((1024, 3, 32, 32))
    noise = BrownGaussian(bandwidth)(clean, torch.full((1024,), 25.0), generator).image / (25 / 255)
    for rows in (noise, noise.mT):
        for distance in (1, 2, 5):
            measured = float((rows[..., distance:] * rows[..., :-distance]).mean())
            assert abs(measured - math.exp(-(distance**2) / (4 * bandwidth**2))) < 0.05


def test_brown_of_no_bandwidth_is_white(generator: Generator) -> None:
    noise = BrownGaussian(0.0)(flat(0), levels(25), generator).image / (25 / 255)
    assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < 5 / math.sqrt(SAMPLES)


@pytest.mark.parametrize(("value", "rate"), [(0.3, 30.0), (-0.4, 5.0), (0.5, 50.0)])
def test_poisson_mean_and_variance(generator: Generator, value: float, rate: float) -> None:
    image = Poisson()(flat(value), levels(rate), generator).image
    variance = (value + 0.5) / rate
    assert abs(float(image.mean()) - value) < 5 * math.sqrt(variance / SAMPLES)
    kurtosis = 3 + 1 / (rate * (value + 0.5))
    assert abs(float(image.var()) / variance - 1) < 5 * math.sqrt((kurtosis - 1) / SAMPLES)


def test_poisson_without_photons(generator: Generator) -> None:
    image = Poisson()(flat(0.5), levels(0), generator).image
    assert image.isfinite().all()
    assert (image >= -0.5).all()
    assert Poisson()(flat(-0.5), levels(30), generator).image.eq(-0.5).all()  # black stays black


@pytest.mark.parametrize("noise", [Bernoulli(), Impulses(), SaltAndPepper()])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95, 1.0])
def test_share_of_corrupted_pixels(
    generator: Generator, noise: Bernoulli | Impulses | SaltAndPepper, share: float
) -> None:
    clean = torch.linspace(-0.4, 0.4, 3)[None, :, None, None].expand(COUNT, 3, SIZE, SIZE)
    drawn = noise(clean, levels(share), generator)
    assert drawn.corrupted is not None
    pixels = COUNT * SIZE * SIZE
    assert abs(drawn.corrupted.float().mean() - share) <= 5 * math.sqrt(share * (1 - share) / pixels)
    intact = ~drawn.corrupted.expand_as(clean)
    assert torch.equal(drawn.image[intact], clean[intact])


def test_lost_pixels_are_black_in_all_channels(generator: Generator) -> None:
    drawn = Bernoulli()(flat(0.2), levels(0.5), generator)
    assert drawn.image.unique().tolist() == pytest.approx([-0.5, 0.2])
    assert (drawn.image.amax(1) == drawn.image.amin(1)).all()


def test_impulses_have_uniform_colours(generator: Generator) -> None:
    image = Impulses()(flat(0.2), levels(1.0), generator).image
    assert abs(float(image.mean())) < 5 / math.sqrt(12 * SAMPLES)
    assert abs(12 * float(image.var()) - 1) < 5 * math.sqrt(0.8 / SAMPLES)
    channels = torch.corrcoef(image.movedim(1, 0).flatten(1))
    assert channels[0, 1:].abs().max() < 5 / math.sqrt(SAMPLES / 3)


def test_salt_is_as_likely_as_pepper(generator: Generator) -> None:
    image = SaltAndPepper()(flat(0.2), levels(1.0), generator).image
    assert set(image.unique().tolist()) == {-0.5, 0.5}
    assert abs(float(image.mean())) < 5 / math.sqrt(4 * SAMPLES / 3)


def test_levels_fill_their_range(generator: Generator) -> None:
    drawn = drawn_levels(Gaussian(10, 50), 10_000, generator)
    assert 10 <= drawn.min() < 10.1
    assert 49.9 < drawn.max() <= 50
    assert abs(drawn.mean() - 30) < 5 * 40 / math.sqrt(12 * 10_000)


@pytest.mark.parametrize("noise", ALL)
def test_two_draws_of_a_pair_are_independent(generator: Generator, noise: Gaussian) -> None:
    """The residuals of input and target are uncorrelated, given the image: it is one grey here."""
    clean = flat(0.2)[:, None]
    pair = SyntheticNoise(at_level(noise))(Batch(clean, torch.arange(COUNT)), generator)
    residuals = torch.stack([(pair.input - clean[:, 0]).flatten(), (pair.target - clean[:, 0]).flatten()])
    one = math.sqrt(3)  # for all three channels
    fewer = {BrownGaussian: 9.0, TextOverlay: 15.0, Bernoulli: one, SaltAndPepper: one}  # independent samples
    widened = fewer.get(type(noise), 1.0)
    assert abs(float(torch.corrcoef(residuals)[0, 1])) < 5 * widened / math.sqrt(SAMPLES)
    assert not torch.equal(pair.input, pair.target)


@pytest.mark.parametrize("noise", ALL)
def test_clean_targets_are_the_same_recipe(noise: Gaussian) -> None:
    clean = torch.rand((COUNT, 1, 3, SIZE, SIZE)) - 0.5
    batch = Batch(clean, torch.arange(COUNT))
    noisy, supervised = (
        SyntheticNoise(noise, targets)(batch, RandomStreams(1).at("x", 0)) for targets in ("noisy", "clean")
    )
    assert torch.equal(noisy.input, supervised.input)
    assert torch.equal(supervised.target, clean[:, 0])


def test_one_level_is_shared_by_a_pair_and_else_not() -> None:
    clean = torch.zeros((512, 1, 1, 32, 32))
    batch = Batch(clean, torch.arange(512))
    shared, own = (
        SyntheticNoise(Impulses(), one_level=one_level)(batch, RandomStreams(1).at("x", 0))
        for one_level in (True, False)
    )
    spread = [
        torch.corrcoef(torch.stack([side.ne(0).float().mean((1, 2, 3)) for side in (pair.input, pair.target)]))[0, 1]
        for pair in (shared, own)
    ]
    assert spread[0] > 0.98
    assert abs(spread[1]) < 5 / math.sqrt(512)


def test_target_noise_of_its_own() -> None:
    batch = Batch(torch.zeros((COUNT, 1, 3, SIZE, SIZE)), torch.arange(COUNT))
    pair = SyntheticNoise(Gaussian(25, 25), target_noise=BrownGaussian(3.0))(batch, RandomStreams(1).at("x", 0))
    neighbours = [float((side[..., 1:] * side[..., :-1]).mean() / side.var()) for side in (pair.input, pair.target)]
    assert abs(neighbours[0]) < 0.03
    assert neighbours[1] > 0.9


def test_stored_realisations_pair_any_two() -> None:
    images = torch.arange(4.0)[None, :, None, None, None].expand(4096, 4, 1, 2, 2)
    pair = StoredRealisations()(Batch(images, torch.arange(4096)), RandomStreams(0).at("x", 0))
    chosen = torch.stack([pair.input[:, 0, 0, 0], pair.target[:, 0, 0, 0]], 1)
    assert (chosen[:, 0] != chosen[:, 1]).all()
    counts = torch.unique(chosen, dim=0, return_counts=True)[1]
    assert len(counts) == 12  # every ordered pair
    assert (counts - 4096 / 12).abs().max() < 5 * math.sqrt(4096 / 12)


def test_stored_realisations_with_the_mean_of_the_others() -> None:
    images = torch.arange(4.0)[None, :, None, None, None].expand(2, 4, 1, 2, 2)
    pair = StoredRealisations("clean")(Batch(images, torch.arange(2)), RandomStreams(0).at("x", 0))
    assert pair.input.eq(0).all()
    assert pair.target.eq(2).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Gaussian(-1, 50),
        lambda: Gaussian(50, 25),
        lambda: Gaussian(0, math.inf),
        lambda: Gaussian(0, math.nan),
        lambda: Bernoulli(0, 1.5),
        lambda: BrownGaussian(-1),
        lambda: BrownGaussian(math.nan),
    ],
)
def test_ranges(wrong: object) -> None:
    with pytest.raises(UsageError, match="got"):
        wrong()
