"""Starting a command again as several processes on this machine, one per GPU."""

import logging
import os
import sys
import uuid

import torch

from mri_n2n.environment import chosen_device, cores
from mri_n2n.errors import INTERRUPTED, UsageError
from mri_n2n.progress import say

SAVING = 600  # seconds that stopped processes have to save: a step on a CPU, and MLflow, may be slow


def launched(count: int, name: str, option: str) -> int:
    """Run the command line of this process in `count` processes, without its `option`; return the exit code.

    name: of the device that was asked for. torch's launcher starts them, tells them of each other, and stops all when
    one fails. On a CPU they share its cores.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    device, there = chosen_device(name), torch.cuda.device_count()
    if torch.distributed.is_torchelastic_launched():
        raise UsageError(f"torchrun has started the processes already: leave out {option}.")
    if count < 1:
        raise UsageError(f"{option} must be at least 1, got {count}.")
    if name != "cpu" and count > there:
        raise UsageError(f"{option} {count} is not possible: torch sees {there} GPUs here. On CPUs: --device cpu.")
    if device.type == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    config = LaunchConfig(
        1, 1, count, run_id=str(uuid.uuid4()), rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", max_restarts=0
    )
    try:
        elastic_launch(config, sys.executable)(*_program(), *_without(option, sys.argv[1:]))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        if code >= 0:
            return code
        say(f"one of the processes was ended by signal {-code}, and with it the others. What was saved is good.")
        return 128 - code
    except SignalException:
        return INTERRUPTED
    return 0


def _program() -> list[str]:
    """What Python was told to run here: the same code, from the same place."""
    spec = sys.modules["__main__"].__spec__
    return ["-m", str(spec.parent)] if spec and spec.origin == sys.argv[0] else [sys.argv[0]]


def _without(option: str, arguments: list[str]) -> list[str]:
    """The arguments but for an option and its value."""
    left = [argument for argument in arguments if not argument.startswith(f"{option}=")]
    if option in left:
        place = left.index(option)
        del left[place : place + 2]
    return left
