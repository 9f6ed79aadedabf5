"""The engine's losses as modules, for other training loops."""

from jaxtyping import Float
from torch import Tensor, nn

from mri_n2n.errors import UsageError
from mri_n2n.task import HorvitzThompson, UndersampledPair, consistent
from mri_n2n.training.losses import SquaredError


class DataConsistentLoss(nn.Module):
    """The paper's loss of a network's output: ‖R f(x̂) - ŷ‖², R putting the acquired frequencies back.

    reduction: the mean over the batch, or "none" for one number per image.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = _checked(reduction)

    def forward(self, output: Float[Tensor, "b c h w"], pair: UndersampledPair) -> Float[Tensor, "*b"]:
        """Score the output; to put the frequencies back twice changes nothing."""
        losses = SquaredError()(consistent(output, pair.measurement), pair, progress=0.0)
        return losses.mean() if self.reduction == "mean" else losses


class HorvitzThompsonLoss(nn.Module):
    """The supervised loss of a network's output, estimated from the target's samples alone: see `HorvitzThompson`.

    It needs noisy targets. cap: of the weights 1/p. reduction: as above.
    """

    def __init__(self, cap: float = 100.0, reduction: str = "mean") -> None:
        super().__init__()
        self.loss, self.reduction = HorvitzThompson(cap), _checked(reduction)

    def forward(self, output: Float[Tensor, "b c h w"], pair: UndersampledPair) -> Float[Tensor, "*b"]:
        """Score the output."""
        losses = self.loss(consistent(output, pair.measurement), pair, progress=0.0)
        return losses.mean() if self.reduction == "mean" else losses


def _checked(reduction: str) -> str:
    if reduction not in ("mean", "none"):
        raise UsageError(f'the reduction is "mean" or "none", got {reduction!r}.')
    return reduction
