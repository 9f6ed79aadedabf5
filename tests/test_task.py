"""The MRI task. False-alarm rates of the statistical tests are stated with each."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import density_compensated_adjoint
from mri_n2n.kspace.fourier import to_kspace
from mri_n2n.metrics import psnr
from mri_n2n.task import HorvitzThompson, RepeatedScans, Undersampling, data_consistent, undersampled_pair
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task, TrainingPair


def batch_of(count: int, height: int = 16, width: int = 16, realisations: int = 1) -> Batch:
    images = torch.rand((count, realisations, height, width), generator=torch.Generator().manual_seed(9)) - 0.5
    return Batch(images, torch.arange(count))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_even_sizes_are_cropped_to_odd_as_published() -> None:
    pair = Undersampling(acceleration=4.0, edge_probability=None)(batch_of(2, 16, 21), generator())
    assert pair.input.shape == pair.target.shape == (2, 1, 15, 21)
    even = Undersampling(acceleration=4.0, edge_probability=None, odd_grid=False)(batch_of(2, 16, 21), generator())
    assert even.input.shape == (2, 1, 16, 21)


def test_same_generator_same_pair() -> None:
    task = Undersampling(acceleration=4.0, edge_probability=None)
    one, two = (task(batch_of(3), RandomStreams(5).at("corruption", 7)) for _ in range(2))
    assert torch.equal(one.input, two.input)
    assert torch.equal(one.target, two.target)
    other = task(batch_of(3), RandomStreams(5).at("corruption", 8))
    assert not torch.equal(one.input, other.input)


def test_noisy_and_clean_see_the_same_input_and_target_expectation() -> None:
    """Clean targets are the same recipe with one field changed: same moves, same input masks."""
    noisy = Undersampling(acceleration=4.0, edge_probability=None)
    clean = replace(noisy, targets="clean")
    a, b = noisy(batch_of(4), generator()), clean(batch_of(4), generator())
    assert torch.equal(a.input, b.input)
    assert a.target_measurement is not None
    assert b.target_measurement is None
    full = to_kspace(b.target[:, 0])
    kept = a.target_measurement.mask
    torch.testing.assert_close(a.target_measurement.samples[kept], full[kept], rtol=1e-3, atol=1e-4)


def test_input_and_target_are_unbiased_and_independent() -> None:
    """E[x̂] = E[ŷ] = y and E[(x̂ - y)(ŷ - y)] = 0. 60,000 pairs, 6 standard errors at 225 pixels: false alarm < 1e-5."""
    count = 60_000
    image = torch.rand((1, 1, 15, 15), generator=generator(1)) - 0.5
    batch = Batch(image.expand(count, -1, -1, -1), torch.zeros(count, dtype=torch.long))
    pair = Undersampling(acceleration=3.0, edge_probability=None, translation=0.0)(batch, generator(2))
    x, y = (side[:, 0].double() - image[0, 0].double() for side in (pair.input, pair.target))
    for sample in (x, y, x * y):
        assert (sample.mean(0).abs() < 6 * sample.std(0) / math.sqrt(count)).all()


def test_translation_moves_by_up_to_a_quarter() -> None:
    delta = torch.full((400, 1, 15, 15), -0.5)
    delta[..., 0, 0] = 0.5
    corruption = Undersampling(acceleration=1.0, edge_probability=None)
    moved_images = corruption(Batch(delta, torch.arange(400)), generator()).target[:, 0]
    places = moved_images.flatten(1).argmax(1)
    rows, columns = places // 15, places % 15
    reach = {0, 1, 2, 3, 12, 13, 14}  # floor(15 / 4) = 3 to either side, circularly
    assert set(rows.tolist()) == set(columns.tolist()) == reach


class Guess(nn.Module):
    """A 'network' whose output is a parameter: the loss's gradient is that of the image itself."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.image = nn.Parameter(image)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.image.expand(len(x), -1, -1, -1)


def test_ht_gradient_is_the_clean_gradient_in_expectation() -> None:
    """For one input mask, the mean ht gradient over 40,000 target masks is the supervised gradient, and so is the
    paper's; ht's spread is smaller. 6 standard errors at 121 pixels: false alarm < 1e-6."""
    count, size = 40_000, 11
    truth = torch.rand((1, size, size), generator=generator(3)) - 0.5
    guess = truth + 0.05 * torch.randn((1, size, size), generator=generator(4))
    corruption = Undersampling(acceleration=3.0, edge_probability=None)
    kspace = to_kspace(truth)
    measurement = corruption.measure(kspace, (size, size), generator(5))
    clean = undersampled_pair(measurement, truth)
    second = corruption.measure(kspace.expand(count, -1, -1), (size, size), generator(6))

    def gradients(loss, pairs, copies: int) -> torch.Tensor:
        image = guess[None].expand(copies, 1, size, size).clone().requires_grad_()
        consistent = data_consistent(nn.Identity(), replace(pairs, input=image))
        return torch.autograd.grad(loss(consistent, pairs, progress=0.0).sum(), image)[0][:, 0].double()

    exact = gradients(SquaredError(), clean, 1)[0]
    spread = {}
    wide = replace(
        clean,
        input=clean.input.expand(count, -1, -1, -1),
        target=density_compensated_adjoint(second)[:, None],
        measurement=replace(
            measurement,
            samples=measurement.samples.expand(count, -1, -1),
            mask=measurement.mask.expand(count, -1, -1),
        ),
        target_measurement=second,
    )
    for name, loss in (("ht", HorvitzThompson(cap=math.inf)), ("paper", SquaredError())):
        drawn = gradients(loss, wide, count)
        error = (drawn.mean(0) - exact).abs()
        assert (error < 6 * drawn.std(0) / math.sqrt(count) + 1e-9).all(), name
        spread[name] = float(drawn.std(0).mean())
    assert spread["ht"] < spread["paper"] / 3


def test_ht_cap_and_its_reported_bias() -> None:
    density = torch.tensor([[1.0, 0.1], [0.01, 0.001]])
    assert HorvitzThompson(cap=math.inf).lost_weight(density) == 0
    assert HorvitzThompson(cap=100.0).lost_weight(density) == pytest.approx(0.9 / 4, rel=1e-3)


def test_ht_needs_noisy_targets() -> None:
    pair = Undersampling(acceleration=4.0, edge_probability=None, targets="clean")(batch_of(2), generator())
    with pytest.raises(UsageError, match="--targets noisy"):
        HorvitzThompson()(pair.target, pair, progress=0.0)


def test_replacement_never_hurts() -> None:
    """On images within the range, with noise-free samples, R moves every guess towards the truth."""
    pair = Undersampling(acceleration=4.0, edge_probability=None, targets="clean", translation=0.0)(
        batch_of(8), generator()
    )
    guess = Guess(torch.zeros(1, 1, 15, 15))
    after = data_consistent(guess, pair)[:, 0]
    before = guess(pair.input)[:, 0]
    assert (psnr(after, pair.target[:, 0]) >= psnr(before, pair.target[:, 0]) - 0.05).all()


def test_evaluation_masks_belong_to_the_image() -> None:
    corruption = Undersampling(acceleration=4.0, edge_probability=None)
    images = batch_of(3).images

    def masks(order: list[int]) -> torch.Tensor:
        generators = [RandomStreams(0).at(f"evaluation/{place}", 0) for place in order]
        return corruption.evaluation_pair(images[order], generators).measurement.mask

    assert torch.equal(masks([0, 1, 2])[[2, 0]], masks([2, 0]))


def test_repeated_scans_are_symmetrised_and_moved_together() -> None:
    first = torch.rand(200, 1, 8, 8) - 0.5
    batch = Batch(torch.cat([first, first + 10], dim=1), torch.arange(200))
    pair = RepeatedScans()(batch, generator())
    swapped = pair.input[:, 0, 0, 0] > 5
    assert 60 < int(swapped.sum()) < 140  # 200 fair coins: outside with probability below 1e-7
    difference = (pair.target - pair.input).flatten(1)
    expected = torch.where(swapped, -10.0, 10.0)[:, None]
    torch.testing.assert_close(difference, expected.expand_as(difference), rtol=1e-4, atol=1e-4)
    lowest = torch.minimum(pair.input, pair.target)[:, 0]
    assert not torch.allclose(lowest, first[:, 0])
    torch.testing.assert_close(lowest.flatten(1).sort(1).values, first.flatten(1).sort(1).values, rtol=0, atol=1e-5)


def test_repeated_scans_need_pairs() -> None:
    with pytest.raises(UsageError, match="prepare pairs"):
        RepeatedScans()(batch_of(2), generator())


@pytest.mark.parametrize("both", [(None, None), (4.0, 0.025)])
def test_exactly_one_density(both: tuple[float | None, float | None]) -> None:
    with pytest.raises(UsageError, match="either"):
        Undersampling(*both)


def test_task_defaults_to_the_plain_prediction() -> None:
    task: Task[TrainingPair] = Task(RepeatedScans(), SquaredError())
    pair = TrainingPair(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    assert torch.equal(task.predict(nn.Identity(), pair), pair.input)
