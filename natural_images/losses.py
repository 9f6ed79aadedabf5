"""Losses whose minimisers are other statistics of the targets than their mean (§3.2)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mri_n2n.training.task import TrainingPair
from natural_images.tasks import CorruptedPair

EPSILON = 1e-8


@dataclass(frozen=True)
class AbsoluteError:
    """Mean absolute error per image, L1: its minimiser is the median of the targets."""

    def __call__(
        self, prediction: Float[Tensor, "b c h w"], pair: TrainingPair, *, progress: float
    ) -> Float[Tensor, " b"]:
        del progress
        return (prediction - pair.target).abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class MaskedSquaredError:
    """Mean squared error over the pixels that the target has (Eq. 7).

    The paper's sum would give a target that lost most of its pixels hardly a say, and a batch of a few images those of
    one or two. The mean has the same minimiser, since what the target lost is independent of the input, and a steadier
    gradient. An image without a pixel left counts as 0.
    """

    def __call__(
        self, prediction: Float[Tensor, "b c h w"], pair: CorruptedPair, *, progress: float
    ) -> Float[Tensor, " b"]:
        del progress
        error = (prediction - pair.target).square().mean(dim=1)
        if pair.target_corrupted is None:
            return error.mean(dim=(1, 2))
        there = ~pair.target_corrupted[:, 0]
        return (error * there).sum(dim=(1, 2)) / there.sum(dim=(1, 2)).clamp(min=1)


@dataclass(frozen=True)
class AnnealedL0:
    """The mean of (|f - ŷ| + 10⁻⁸)^γ, with γ falling from 2 to 0 over the run: it comes to seek the targets' mode.

    Computed in float32 at least, whatever the network's precision.
    """

    def __call__(
        self, prediction: Float[Tensor, "b c h w"], pair: TrainingPair, *, progress: float
    ) -> Float[Tensor, " b"]:
        exponent = 2 * (1 - progress)
        distance = (prediction.float() - pair.target.float()).abs() + EPSILON
        return distance.pow(exponent).mean(dim=(1, 2, 3))
