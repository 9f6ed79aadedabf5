"""Pairs from raw complex k-space. False-alarm rates of the statistical tests are stated with each."""

import math
from dataclasses import replace

import pytest
import torch

from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import Measurement, acquire, density_compensated_adjoint, split
from mri_n2n.kspace.channels import as_channels, from_channels
from mri_n2n.kspace.fourier import to_kspace
from mri_n2n.kspace.sampling import decay_for_acceleration, draw_mask, exponential_density, uniform_numbers
from mri_n2n.measured_kspace import MeasuredKspace, stored_measurement, stored_planes
from mri_n2n.task import HorvitzThompson, data_consistent, undersampled_pair
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch

GRID = (11, 10)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truth(count: int = 1, seed: int = 9) -> torch.Tensor:
    """So many copies of one complex image."""
    image = torch.randn(1, *GRID, 2, generator=generator(seed))
    return torch.view_as_complex(image).expand(count, *GRID)


def scanned(images: torch.Tensor, acceleration: float = 2.0, seed: int = 1) -> Measurement:
    density = exponential_density(GRID, decay_for_acceleration(GRID, acceleration))
    mask = draw_mask(density, len(images), generator(seed), real=False)
    return acquire(to_kspace(images), mask, density, real=False)


def batch_of(measurement: Measurement) -> Batch:
    return Batch(stored_planes(measurement), torch.arange(len(measurement.samples)))


def test_what_is_stored_is_the_measurement() -> None:
    measurement = scanned(truth(3))
    again = stored_measurement(stored_planes(measurement))
    for name in ("samples", "mask"):
        assert torch.equal(getattr(again, name), getattr(measurement, name))
    assert torch.equal(again.density, measurement.density.expand_as(again.density))
    assert not again.real


def test_the_two_sides_share_the_scan_and_are_unbiased_and_independent() -> None:
    """Over 60,000 scans of one image: E[x̂] = E[ŷ] = y, E[(x̂ - y)(ŷ - y)] = 0 within six standard errors."""
    count = 60_000
    images = truth(count)
    generators = [generator(number) for number in range(count)]
    pair = MeasuredKspace().evaluation_pair(batch_of(scanned(images)).images, generators)
    exact = as_channels(images[:1]).double()
    x, y = pair.input.double() - exact, pair.target.double() - exact
    for sample in (x, y, x * y):
        assert (sample.mean(0).abs() < 6 * sample.std(0) / math.sqrt(count)).all()


def test_both_sides_of_a_pair_are_moved_and_turned_together() -> None:
    full = acquire(to_kspace(truth(50)), torch.ones(50, *GRID, dtype=torch.bool), torch.ones(GRID), real=False)
    pair = MeasuredKspace()(batch_of(full), generator())
    torch.testing.assert_close(pair.input, pair.target)
    rolls = [truth()[0].roll((down, right), (0, 1)) for down in range(-2, 3) for right in range(-2, 3)]
    overlap = torch.einsum("bhw,rhw->br", from_channels(pair.input), torch.stack(rolls).conj())
    strength = overlap.abs() / truth()[0].abs().square().sum()
    places = strength.argmax(1)
    # Each is one of the moves by at most a quarter of 11 and 10, times a number of magnitude 1.
    torch.testing.assert_close(strength.amax(1), torch.ones(50), rtol=1e-4, atol=1e-4)
    assert len(set(places.tolist())) > 10
    phases = overlap[torch.arange(50), places].angle()
    assert phases.min() < -2
    assert phases.max() > 2


def test_fully_sampled_data_is_measured_twice_or_has_a_clean_target() -> None:
    full = acquire(to_kspace(truth(4)), torch.ones(4, *GRID, dtype=torch.bool), torch.ones(GRID), real=False)
    noisy = MeasuredKspace(acceleration=3.0)
    clean = replace(noisy, targets="clean")
    a, b = noisy(batch_of(full), generator()), clean(batch_of(full), generator())
    assert torch.equal(a.input, b.input)
    assert a.target_measurement is not None
    assert b.target_measurement is None
    kept = a.target_measurement.mask
    clean_kspace = to_kspace(from_channels(b.target))
    torch.testing.assert_close(a.target_measurement.samples[kept], clean_kspace[kept], rtol=1e-3, atol=1e-4)
    assert not torch.equal(a.measurement.mask, kept)


@pytest.mark.parametrize("corruption", [MeasuredKspace(), MeasuredKspace(acceleration=2.0)])
def test_same_generator_same_pair_and_evaluation_belongs_to_the_image(corruption: MeasuredKspace) -> None:
    full = corruption.fully_sampled
    planes = stored_planes(scanned(truth(3), 1.0 if full else 2.0))
    batch = Batch(planes, torch.arange(3))
    one, two, other = (corruption(batch, RandomStreams(5).at("corruption", step)) for step in (7, 7, 8))
    assert torch.equal(one.input, two.input)
    assert not torch.equal(one.input, other.input)

    def masks(order: list[int]) -> torch.Tensor:
        generators = [RandomStreams(0).at(f"evaluation/{place}", 0) for place in order]
        return corruption.evaluation_pair(planes[order], generators).measurement.mask

    assert torch.equal(masks([0, 1, 2])[[2, 0]], masks([2, 0]))


def gradient(loss, pair, guess: torch.Tensor) -> torch.Tensor:
    """Of the loss, by the image that the network answers, for each pair of a batch."""
    image = guess.expand(len(pair.input), *guess.shape[1:]).clone().requires_grad_()
    consistent = data_consistent(torch.nn.Identity(), replace(pair, input=image))
    return torch.autograd.grad(loss(consistent, pair, progress=0.0).sum(), image)[0].double()


def test_ht_gradient_is_the_clean_gradient_in_expectation() -> None:
    """For one input mask, over 40,000 target masks; twice that of the mean over two channels. 6 standard errors."""
    count = 40_000
    guess = as_channels(truth() + 0.05 * truth(seed=10))
    first = scanned(truth(), seed=5)
    exact = 2 * gradient(SquaredError(), undersampled_pair(first, truth()), guess)[0]
    second = scanned(truth(count), seed=6)
    wide = replace(first, samples=first.samples.expand_as(second.samples), mask=first.mask.expand_as(second.mask))
    pair = replace(
        undersampled_pair(wide, density_compensated_adjoint(second)),
        target_measurement=second,
    )
    spread = {}
    for name, loss, factor in (("ht", HorvitzThompson(cap=math.inf), 1), ("paper", SquaredError(), 2)):
        drawn = factor * gradient(loss, pair, guess)
        assert ((drawn.mean(0) - exact).abs() < 6 * drawn.std(0) / math.sqrt(count) + 1e-9).all(), name
        spread[name] = float(drawn.std(0).mean())
    assert spread["ht"] < spread["paper"] / 3


def test_on_the_split_ht_is_variable_density_weighted_self_supervision() -> None:
    """Millard & Chiew (arXiv 2205.10278): see a part of a scan, be scored on its other samples, weighted 1 / (1 - K).

    K is the probability that a frequency outside the part was not acquired, (1 - p) / (1 - p'). A sample that the first
    measurement lacks is in the second: both losses count the same samples. And 1 - K is p', the weight of ours.
    """
    whole = scanned(truth(200), 2.5)
    first, second = split(whole, uniform_numbers(GRID, 200, generator(3), real=False))
    pair = replace(undersampled_pair(first, truth(200)), target_measurement=second)
    prediction = as_channels(truth(200) + 0.1 * truth(200, seed=4))
    p, inside = whole.density, first.density
    unacquired = (1 - p) / (1 - inside)
    rest = whole.mask & ~first.mask
    error = (to_kspace(from_channels(prediction)) - whole.samples).abs().square()
    weighted = torch.where(rest, error / (1 - unacquired), 0).sum((1, 2)) / math.prod(GRID)
    ours = HorvitzThompson(cap=math.inf)(prediction, pair, progress=0.0)
    torch.testing.assert_close(ours, weighted, rtol=1e-3, atol=1e-5)


def test_only_samples_that_the_input_lacks_are_scored() -> None:
    """Noise of the scanner that is in both parts must not be learned: changing it there changes no loss."""
    whole = scanned(truth(20))
    pair = MeasuredKspace(translation=0.0)(batch_of(whole), generator())
    assert pair.target_measurement is not None
    both = pair.measurement.mask & pair.target_measurement.mask
    assert both.any()
    noisy = replace(pair.target_measurement, samples=pair.target_measurement.samples + 5 * both)
    prediction = torch.zeros_like(pair.input)
    one, two = (
        HorvitzThompson()(prediction, replace(pair, target_measurement=each), progress=0.0)
        for each in (pair.target_measurement, noisy)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeasuredKspace(targets="clean"), "clean targets need"),
        (lambda: MeasuredKspace(4.0, 0.1), "not both"),
        (lambda: MeasuredKspace().check_data("images", GRID), "prepare kspace"),
        (lambda: MeasuredKspace().check_data("full-kspace", GRID), "undersampled by the scanner"),
        (lambda: MeasuredKspace(4.0).check_data("kspace", GRID), "takes fully sampled"),
    ],
)
def test_what_does_not_fit(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
