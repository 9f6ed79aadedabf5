"""Losses that know nothing of a domain."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mri_n2n.training.task import TrainingPair


@dataclass(frozen=True)
class SquaredError:
    """Mean squared error per image, whose minimiser is the mean of the targets (Eq. 6)."""

    def __call__(
        self, prediction: Float[Tensor, "b m h w"], pair: TrainingPair, *, progress: float
    ) -> Float[Tensor, " b"]:
        del progress
        return (prediction - pair.target).square().mean(dim=(1, 2, 3))
