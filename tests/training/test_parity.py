"""What makes training faster leaves it the same: reduced precision in the network, and a compiled network."""

import json
import subprocess
import sys

import torch
from torch import Tensor, nn

from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import undersampling_task
from mri_n2n.task import UndersampledPair
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task
from mri_n2n.training.trainer import Request, TrainingPlan, TrainState, adam, train

STEPS = 6


def losses(*, bf16: bool = False, compiled: bool = False) -> list[float]:
    """Of a few steps of the MRI task on smooth images, always from the same start."""
    torch.manual_seed(0)
    network = UNetSpec(width=12).build()
    if compiled:
        network.compile(backend="aot_eager")
    down = torch.linspace(-0.5, 0.5, 64)
    images = (0.4 * torch.cos(6 * down[:, None]) * torch.cos(4 * down)).expand(2, 1, 64, 64)
    task = undersampling_task(acceleration=4.0)

    def in_full_precision(prediction: Tensor, pair: UndersampledPair, progress: float) -> Tensor:
        assert prediction.dtype == pair.input.dtype == torch.float32
        return task.loss(prediction, pair, progress=progress)

    found: list[float] = []
    train(
        TrainState(network, adam(network)),
        TrainingPlan(
            Task(task.corruption, in_full_precision, task.predict),
            lambda _: Batch(images, torch.arange(2)),
            STEPS,
            RampedRate(ramp_up=0.0),
            RandomStreams(0),
            bf16=bf16,
        ),
        record=lambda _, latest: found.extend(latest),
        evaluate=lambda _: None,
        save=lambda: None,
        poll=lambda _: Request.GO_ON,
    )
    return found


def test_bf16_is_in_the_network_alone_and_changes_little() -> None:
    """Physics and loss see float32. bf16 has 8 bits of mantissa: losses agree to some percent, and not to the bit."""
    plain, reduced = losses(), losses(bf16=True)
    assert len(plain) == STEPS
    assert plain != reduced
    torch.testing.assert_close(reduced, plain, rtol=0.05, atol=0.0)


def test_a_compiled_network_trains_alike() -> None:
    """In a process of its own: the compiler does not see through the checks of types that the tests run with."""
    ended = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=240, check=True)
    plain, compiled = json.loads(ended.stdout)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=0.0)


def test_a_compiled_network_keeps_the_names_of_its_weights() -> None:
    network: nn.Module = UNetSpec(width=6).build()
    names = list(network.state_dict())
    network.compile(backend="aot_eager")
    assert list(network.state_dict()) == names


if __name__ == "__main__":
    print(json.dumps([losses(), losses(compiled=True)]))
