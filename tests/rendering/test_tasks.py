"""What a network on renderings is shown and compared with."""

import numpy as np
import pytest
import torch

from mri_n2n.training.task import Batch, TrainingPair
from rendering.losses import RelativeError
from rendering.radiance import tone_map
from rendering.recipes import rendering_task
from rendering.tasks import ALBEDO, COLOUR, NORMAL, Encoding, TwoRenders, exposure_of, linear, tone_mapped, turned


def renders(count: int = 4, stored: int = 3, size: int = 32) -> Batch:
    """Radiance over many decades, each plane telling its image, its render and itself apart."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((count, stored, 9, size, size), generator=generator)
    images[:, :, COLOUR] = images[:, :, COLOUR].mul(2).exp()
    images[:, :, ALBEDO] = images[:, :, ALBEDO].sigmoid()
    images[:, :, NORMAL] /= images[:, :, NORMAL].norm(dim=2, keepdim=True)
    return Batch(images, torch.arange(count))


def drawn(task: TwoRenders, batch: Batch, seed: int = 0) -> TrainingPair:
    return task(batch, torch.Generator().manual_seed(seed))


def test_the_tone_map_of_training_is_that_of_pictures_and_has_an_inverse() -> None:
    radiance = torch.logspace(-6, 3, 200, dtype=torch.float64)
    toned = tone_mapped(radiance)
    assert toned.numpy() == pytest.approx(tone_map(radiance.numpy()), rel=1e-12)
    assert toned.min() >= 0
    assert toned.max() < 1
    assert linear(toned).numpy() == pytest.approx(radiance.numpy(), rel=1e-9)
    assert tone_mapped(torch.tensor([-1.0, 0.0])).tolist() == [0, 0]
    assert linear(torch.tensor([-1.0, 2.0])).isfinite().all()


def test_the_hdr_loss_takes_its_denominator_for_a_constant() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn((2, 3, 4, 4), generator=generator).requires_grad_()
    target = torch.rand((2, 3, 4, 4), generator=generator).mul(4).exp()
    pair = TrainingPair(torch.zeros(2, 9, 4, 4), target)
    losses = RelativeError()(prediction, pair, progress=0.0)
    scale = prediction.detach().clamp(min=0) + 0.01
    assert losses.shape == (2,)
    assert torch.allclose(losses, ((prediction.detach() - target) / scale).square().mean(dim=(1, 2, 3)))
    losses.sum().backward()
    assert prediction.grad is not None
    assert torch.allclose(prediction.grad, 2 * (prediction.detach() - target) / scale.square() / (3 * 4 * 4))


def test_the_hdr_loss_is_least_at_the_mean_of_the_targets_and_the_tone_mapped_one_below_it() -> None:
    targets = torch.rand((64, 3, 8, 8), generator=torch.Generator().manual_seed(0)).mul(3).exp()
    mean = targets.mean(dim=0, keepdim=True)
    prediction = mean.expand_as(targets).clone().requires_grad_()
    RelativeError()(prediction, TrainingPair(torch.zeros(64, 9, 8, 8), targets), progress=0.0).sum().backward()
    assert prediction.grad is not None
    pull = prediction.grad.sum(dim=0)
    assert pull.abs().max() < 1e-5 * prediction.grad.abs().sum(dim=0).min()
    assert (linear(tone_mapped(targets).mean(dim=0)) < 0.97 * mean[0]).all(), "T of the mean is above the mean of T"


def test_noisy_targets_are_another_render_and_clean_ones_the_reference() -> None:
    batch = renders()
    plain = Encoding("linear", "linear", exposed=False)
    picked = set()
    for seed in range(24):
        pair = drawn(TwoRenders(plain), batch, seed)
        clean = drawn(TwoRenders(plain, "clean"), batch, seed)
        for image in range(4):
            sums = batch.images[image, :, COLOUR].sum(dim=(1, 2, 3))  # no turn changes them
            sides = [side[image, :3].sum() for side in (pair.input, pair.target)]
            first, second = (int((sums - own).abs().argmin()) for own in sides)
            assert first != second
            picked.add((first, second))
            assert clean.target[image].sum() == pytest.approx(float(sums[-1]), rel=1e-4)
            assert (sums[:-1] - clean.input[image, :3].sum()).abs().min() < 1e-4 * sums[0]
    assert len(picked) == 6


def test_one_exposure_of_the_input_scales_both_sides_of_a_pair() -> None:
    batch = renders()
    pair = drawn(TwoRenders(), batch)
    brighter = Batch(batch.images.clone(), batch.rows)
    brighter.images[:, :, COLOUR] *= 8
    scaled = drawn(TwoRenders(), brighter)
    assert torch.allclose(scaled.input, pair.input, atol=1e-5), "the network does not see how bright a scene is"
    assert torch.allclose(scaled.target, pair.target, rtol=1e-4)
    assert pair.input[:, :3].max() < 1
    plain = drawn(TwoRenders(Encoding("linear", "linear", exposed=False)), batch)
    assert torch.allclose(drawn(TwoRenders(Encoding("linear")), batch).input[:, 3:], plain.input[:, 3:])
    exposure = exposure_of(plain.input[:, :3])
    assert torch.allclose(pair.target, plain.target * exposure[:, None, None, None], rtol=1e-4)
    other = Batch(batch.images.clone(), batch.rows)
    other.images[:, -1, COLOUR] *= 100  # the target alone
    clean, changed = drawn(TwoRenders(targets="clean"), batch), drawn(TwoRenders(targets="clean"), other)
    assert torch.equal(clean.input, changed.input)
    assert exposure_of(torch.zeros(1, 3, 8, 8)).isfinite().all()
    half = torch.ones(1, 3, 32, 32)
    half[..., :16] = 0
    assert torch.allclose(exposure_of(half), 64 * exposure_of(64 * half)), "black is black in any light"
    assert exposure_of(torch.ones(1, 3, 4, 5)).tolist() == pytest.approx([0.18], rel=1e-5)


@pytest.mark.parametrize("output", ["logarithm", "linear", "tone-mapped"])
def test_what_a_perfect_network_gives_is_read_back_as_radiance(output: str) -> None:
    task = rendering_task(Encoding("tone-mapped", output))
    render = renders().images[:, 0]
    exposure = Encoding().exposure(render)
    wanted = Encoding("tone-mapped", output).wanted(render[:, COLOUR], exposure)

    class Perfect(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return wanted.log() if output == "logarithm" else wanted

    pair = TrainingPair(render, wanted)
    assert torch.allclose(task.predict(Perfect(), pair), wanted, rtol=1e-4)
    again = Encoding("tone-mapped", output).radiance(Perfect()(render), exposure)
    assert torch.allclose(again, render[:, COLOUR], rtol=2e-2 if output == "tone-mapped" else 1e-4)
    low, high = (Encoding("linear", output).radiance(torch.full((4, 3, 8, 8), v), exposure) for v in (-0.1, 1e4))
    assert low.min() >= 0
    assert high.isfinite().all()


def test_a_turned_image_of_a_ball_is_the_image_of_the_ball() -> None:
    size = 33
    place = (torch.arange(size) - size // 2) / (size / 2)
    x, y = place[None, :].expand(size, size), -place[:, None].expand(size, size)
    depth = (1 - x.square() - y.square()).clamp(min=0).sqrt()
    ball = torch.cat([torch.zeros(6, size, size), torch.stack([x, y, depth])])
    every = torch.tensor([[bool(turn & bit) for turn in range(8)] for bit in (1, 2, 4)])
    assert torch.allclose(turned(ball.expand(8, 9, size, size), every), ball.expand(8, 9, size, size), atol=1e-6)


def test_the_eight_turns_of_a_square_are_drawn_equally_and_alike_for_both_sides() -> None:
    image = torch.arange(9.0).repeat_interleave(16).reshape(1, 9, 4, 4) * 100 + torch.arange(16.0).reshape(4, 4)
    every = torch.tensor([[bool(turn & bit) for turn in range(8)] for bit in (1, 2, 4)])
    results = turned(image.expand(8, 9, 4, 4), every)[:, 0]
    plain = image[0, 0].numpy()
    wanted = {np.rot90(sides, turns).tobytes() for sides in (plain, plain.T) for turns in range(4)}
    assert {result.numpy().tobytes() for result in results} == wanted
    same = Batch(renders(256, 1, 8).images.expand(256, 2, 9, 8, 8), torch.arange(256))
    pair = drawn(TwoRenders(Encoding("linear", "linear", exposed=False)), same)
    assert torch.equal(pair.input[:, :3], pair.target)
    corner = same.images[:, 0, 0, 0, 0]
    where = (pair.target[:, 0].flatten(1) == corner[:, None]).float().argmax(dim=1)
    counts = [int((where == place).sum()) for place in (0, 7, 56, 63)]
    assert sum(counts) == 256
    assert min(counts) > 30  # of 64 expected: below 1e-6 by chance
