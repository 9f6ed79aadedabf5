import numpy as np
import pytest
import torch
from torch import Tensor

from mri_n2n.training.losses import SquaredError
from mri_n2n.training.task import TrainingPair
from natural_images.losses import AbsoluteError, AnnealedL0, MaskedSquaredError
from natural_images.noise import Bernoulli, Gaussian, Impulses
from natural_images.overlays import TextOverlay
from natural_images.recipes import loss_for
from natural_images.tasks import CorruptedPair


def pair(target: Tensor) -> TrainingPair:
    return TrainingPair(target, target)


def test_l1_seeks_the_median_and_l2_the_mean() -> None:
    """Of many draws at one pixel, the constant with the least loss is the statistic."""
    draws = torch.tensor(np.random.default_rng(0).gamma(1.0, size=1001), dtype=torch.float32)
    candidates = torch.linspace(0, 3, 1501)
    for loss, statistic in ((SquaredError(), draws.mean()), (AbsoluteError(), draws.median())):
        values = loss(
            candidates[:, None, None, None].expand(-1, 1, 1, 1001),
            pair(draws.expand(1501, 1, 1, 1001)),
            progress=0.0,
        )
        assert abs(candidates[values.argmin()] - statistic) <= 0.0021


def test_annealed_l0_begins_as_l2_and_comes_to_seek_the_mode() -> None:
    draws = torch.cat([torch.full((300,), 0.25), torch.rand(700, generator=torch.Generator().manual_seed(0))])
    candidates = torch.linspace(0, 1, 1001)[:, None, None, None].expand(-1, 1, 1, 1000)
    targets = pair(draws.expand(1001, 1, 1, 1000))
    begin, end = (AnnealedL0()(candidates, targets, progress=progress) for progress in (0.0, 0.97))
    torch.testing.assert_close(begin, SquaredError()(candidates, targets, progress=0.0), rtol=1e-5, atol=1e-6)
    assert abs(candidates[begin.argmin(), 0, 0, 0] - draws.mean()) < 0.002
    assert candidates[end.argmin(), 0, 0, 0] == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("progress", [0.0, 0.5, 0.999999, 1.0])
def test_annealed_l0_is_finite_where_prediction_and_target_agree(dtype: torch.dtype, progress: float) -> None:
    target = torch.zeros((2, 3, 8, 8))
    prediction = torch.zeros((2, 3, 8, 8), dtype=dtype)
    prediction[0, 0] = 1e-3
    prediction.requires_grad_()
    loss = AnnealedL0()(prediction, pair(target), progress=progress).sum()
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


def test_lost_pixels_of_the_target_do_not_count() -> None:
    lost = torch.zeros((3, 1, 4, 4), dtype=torch.bool)
    lost[1, :, :2] = True
    lost[2] = True
    target = torch.zeros((3, 3, 4, 4))
    target[lost.expand_as(target)] = 100.0
    prediction = torch.ones((3, 3, 4, 4), requires_grad=True)
    loss = MaskedSquaredError()(prediction, CorruptedPair(target, target, lost), progress=0.0)
    assert loss.tolist() == [1.0, 1.0, 0.0]
    whole = MaskedSquaredError()(prediction[:1], CorruptedPair(target[:1], target[:1]), progress=0.0)
    torch.testing.assert_close(whole, loss[:1])
    loss.sum().backward()
    assert prediction.grad is not None
    assert prediction.grad[1, :, :2].eq(0).all()
    assert prediction.grad[1, :, 2:].ne(0).all()


def test_every_noise_has_the_loss_that_is_right_for_it() -> None:
    assert isinstance(loss_for(Gaussian()), SquaredError)
    assert isinstance(loss_for(Bernoulli()), MaskedSquaredError)
    assert isinstance(loss_for(TextOverlay()), AbsoluteError)
    assert isinstance(loss_for(Impulses()), AnnealedL0)
    assert isinstance(loss_for(Impulses(), "l2"), SquaredError)
