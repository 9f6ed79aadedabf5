import pytest
import torch
from torch import nn

from mri_n2n.errors import UsageError
from mri_n2n.interop.losses import DataConsistentLoss, HorvitzThompsonLoss
from mri_n2n.recipes import undersampling_task
from mri_n2n.task import consistent
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch


@pytest.mark.parametrize(("name", "module"), [("paper", DataConsistentLoss), ("ht", HorvitzThompsonLoss)])
def test_the_modules_are_the_engines_losses(name: str, module: type[nn.Module]) -> None:
    """The same number and the same gradient as a training step of `mri-n2n train` has."""
    task = undersampling_task(loss=name, acceleration=4.0)
    images = torch.rand((3, 1, 16, 16), generator=torch.Generator().manual_seed(0)) - 0.5
    pair = task.corruption(Batch(images, torch.arange(3)), RandomStreams(0).at("corruption", 0))
    network = nn.Conv2d(1, 1, 3, padding=1)
    expected = task.loss(task.predict(network, pair), pair, progress=0.5)
    each = module(reduction="none")(network(pair.input), pair)
    torch.testing.assert_close(each, expected, rtol=0, atol=0)
    mean = module()(network(pair.input), pair)
    assert torch.equal(mean, expected.mean())
    gradients = [torch.autograd.grad(loss, network.weight)[0] for loss in (mean, expected.mean())]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    once = consistent(network(pair.input), pair.measurement)
    torch.testing.assert_close(module(reduction="none")(once, pair), expected)


def test_an_unknown_reduction_is_one_line() -> None:
    with pytest.raises(UsageError, match="reduction"):
        DataConsistentLoss(reduction="sum")
