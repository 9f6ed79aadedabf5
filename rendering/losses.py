"""The loss for radiance, whose range has no bound (§3.3)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mri_n2n.training.task import TrainingPair


@dataclass(frozen=True)
class RelativeError:
    """Squared error relative to the prediction, L_HDR = (f − ŷ)² / (f + ε)², the mean per image.

    The denominator counts as a constant in the gradient: then the minimiser is the mean of the targets, as for the
    plain squared error, but a bright pixel has no more say than a dark one. A prediction below 0 counts there as 0.
    """

    epsilon: float = 0.01

    def __call__(
        self, prediction: Float[Tensor, "b m h w"], pair: TrainingPair, *, progress: float
    ) -> Float[Tensor, " b"]:
        del progress
        scale = prediction.detach().clamp(min=0.0) + self.epsilon
        return ((prediction - pair.target) / scale).square().mean(dim=(1, 2, 3))
