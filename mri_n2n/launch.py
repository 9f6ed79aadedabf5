"""Starting a command again as several processes on this machine, one per GPU."""

import logging
import sys
import uuid

import torch

from mri_n2n.errors import INTERRUPTED, UsageError


def launched(count: int, device: torch.device, option: str) -> int:
    """Run the command line of this process in `count` processes, without its `option`; return the exit code.

    torch's launcher starts them, tells them of each other, and stops all when one fails.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    there = torch.cuda.device_count() if device.type == "cuda" else count
    if not 1 <= count <= there:
        raise UsageError(f"{option} {count} is not possible: torch sees {torch.cuda.device_count()} GPUs here.")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    config = LaunchConfig(
        1, 1, count, run_id=str(uuid.uuid4()), rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", max_restarts=0
    )
    try:
        elastic_launch(config, sys.executable)(*_without(option, sys.argv))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except SignalException:
        return INTERRUPTED
    return 0


def _without(option: str, arguments: list[str]) -> list[str]:
    """The arguments but for an option and its value."""
    left = [argument for argument in arguments if not argument.startswith(f"{option}=")]
    if option in left:
        place = left.index(option)
        del left[place : place + 2]
    return left
