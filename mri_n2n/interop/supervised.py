"""What MONAI's SupervisedTrainer and SupervisedEvaluator need to train the MRI task, and to lose nothing over it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import DataLoader
from monai.data.utils import set_rnd
from monai.inferers import Inferer
from torch import Tensor, nn

from mri_n2n.interop.transforms import pair_of
from mri_n2n.task import UndersampledPair, data_consistent
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.trainer import NonFiniteLoss

Pairs = tuple[UndersampledPair, UndersampledPair]


def prepare_pair(
    batch: Mapping[str, Any], device: torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> Pairs:
    """MONAI's `prepare_batch`: the drawn pair, without metadata, both as what goes in and as what is scored against."""
    del non_blocking, kwargs
    pair = pair_of(batch, device)
    return pair, pair


class DataConsistentInferer(Inferer):  # type: ignore[misc]
    """The network's prediction with the acquired frequencies put back, in training and in evaluation."""

    def __call__(self, inputs: UndersampledPair, network: nn.Module) -> Tensor:
        """R f(x̂)."""
        return data_consistent(network, inputs)


def stop_unless_finite(engine: Any) -> None:
    """A handler of `IterationEvents.LOSS_COMPLETED`: raise before a loss that is not finite spoils the weights."""
    loss = engine.state.output["loss"].item()  # waits for the device, as the trainer's statistics do
    if not math.isfinite(loss):
        raise NonFiniteLoss(engine.state.iteration - 1, "the loss")


def reseeded(loader: DataLoader, seed: int) -> Callable[[Any], None]:
    """A handler of `Events.EPOCH_STARTED | Events.DATALOADER_STOP_ITERATION`: order and draws by (seed, epoch) alone.

    So a resumed run draws what it would have drawn. (An ended iteration, which ignite notices in the epoch that
    follows, draws once more: thus the second event.) The loader needs a `generator` of its own.
    """
    if loader.generator is None:
        raise ValueError("expected a loader with a generator: DataLoader(..., generator=torch.Generator())")

    def reseed(engine: Any) -> None:
        addressed = RandomStreams(seed).at("epoch", engine.state.epoch)
        loader.generator.manual_seed(addressed.initial_seed())  # the order, and the workers' transforms
        set_rnd(loader.dataset, addressed.initial_seed())  # those of this process

    return reseed
