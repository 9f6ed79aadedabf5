"""MONAI's training loop with our task; the documentation's example runs in tests/interop/test_page.py."""

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import IterationEvents, SupervisedTrainer
from monai.transforms import Compose
from torch import nn

from mri_n2n.interop.losses import DataConsistentLoss
from mri_n2n.interop.supervised import DataConsistentInferer, prepare_pair, reseeded, stop_unless_finite
from mri_n2n.interop.transforms import RandUndersampled
from mri_n2n.task import UndersampledPair
from mri_n2n.training.trainer import NonFiniteLoss


def loader(workers: int = 0) -> DataLoader:
    images = [{"image": torch.full((1, 8, 8), place / 8)} for place in range(4)]
    drawn = Compose([RandUndersampled("image", acceleration=2.0)])
    return DataLoader(
        Dataset(images, drawn), batch_size=2, shuffle=True, num_workers=workers, generator=torch.Generator()
    )


def epoch(batches: DataLoader, number: int, seed: int = 0) -> torch.Tensor:
    engine = SupervisedTrainer.__new__(SupervisedTrainer)
    engine.state = type("State", (), {"epoch": number})()
    reseeded(batches, seed)(engine)
    return torch.cat([batch["input"] for batch in batches])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_depends_on_nothing_before_it(workers: int) -> None:
    batches = loader(workers)
    first, second = epoch(batches, 1), epoch(batches, 2)
    assert torch.equal(epoch(loader(workers), 2), second)
    assert not torch.equal(first, second)
    assert not torch.equal(epoch(batches, 2, seed=1), second)


def test_reseeding_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="generator"):
        reseeded(DataLoader(Dataset([0])), 0)


def test_a_loss_that_is_not_finite_spoils_no_weight() -> None:
    network = nn.Conv2d(1, 1, 1)
    before = [weight.clone() for weight in network.parameters()]
    batches = loader()

    def no_number(prediction: torch.Tensor, pair: UndersampledPair) -> torch.Tensor:
        return DataConsistentLoss()(prediction, pair) * torch.nan

    trainer = SupervisedTrainer(
        torch.device("cpu"),
        2,
        batches,
        network,
        torch.optim.SGD(network.parameters(), lr=0.0),
        no_number,
        prepare_batch=prepare_pair,
        inferer=DataConsistentInferer(),
        decollate=False,
    )
    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, stop_unless_finite)
    with pytest.raises(NonFiniteLoss, match="the loss is not finite at step"):
        trainer.run()
    assert trainer.state.iteration <= 2
    assert all(map(torch.equal, before, network.parameters()))
