"""Where a run happens: device, versions, commit, load."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch
from torch import nn

from mri_n2n import __version__
from mri_n2n.errors import UsageError

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container
VIRTUAL_MEMORY = Path("/proc/vmstat")
MEMORY, MEMORY_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def cores() -> int:
    """The CPU cores that this process may use: by its affinity, and by its container's share of time."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = QUOTA.read_text(encoding="ascii").split()
        return there if share == "max" else min(there, max(1, round(int(share) / int(period))))
    except (OSError, ValueError):
        return there


def free_memory() -> int:
    """The bytes that this process may still take: what the machine has, and what its container is allowed."""
    free = psutil.virtual_memory().available
    try:
        return min(free, max(0, int(MEMORY.read_text(encoding="ascii")) - int(MEMORY_USED.read_text(encoding="ascii"))))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free


def memory_kills() -> int:
    """How many processes the system has ended for want of memory, in any container, since it was started."""
    try:
        counts = dict(line.split() for line in VIRTUAL_MEMORY.read_text(encoding="ascii").splitlines())
        return int(counts.get("oom_kill", 0))
    except (OSError, ValueError):
        return 0


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says so: on a GPU by a class of its own, on a CPU in words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def chosen_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes the first GPU if there is one.

    From then on torch has no more threads than there are cores for this process, unless OMP_NUM_THREADS says how many.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), cores()))
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}, expected auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported, expected auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(
            f"no device {name!r} here: torch sees {torch.cuda.device_count()} CUDA devices. Use --device cpu."
        )
    return device


def compile_network(network: nn.Module) -> None:
    """Have the network compiled when it is first used, for every size of batch by itself.

    On a GPU its kernels are then launched together (CUDA graphs): an output is valid until the next one is made.
    """
    network.compile(dynamic=False, mode="reduce-overhead")


def slices_at_once(device: torch.device) -> int:
    """How many slices to run a network on together: on a CPU so few that their feature maps stay in its cache."""
    return 16 if device.type == "cuda" else 2


def steps_per_record(device: torch.device) -> int:
    """How many training steps between two lines of the log, for each of which a GPU is waited for."""
    return 50 if device.type == "cuda" else 10


def volumes_overlapped(device: torch.device) -> int:
    """How many volumes to read ahead, and to write behind: beside a GPU; a CPU's cores are the network's already."""
    return 3 if device.type == "cuda" else 0


def description(device: torch.device) -> dict[str, str]:
    """Versions, commit and hardware, as text. No host or user names."""
    threads = torch.get_num_threads()
    cpu = f"{threads} CPU thread{'s' if threads > 1 else ''}"
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return {
        "device": device.type,
        "hardware": hardware,
        "commit": _commit(),
        "mri-n2n": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "monai", "nibabel", "numpy", "mlflow")},
    }


def load(device: torch.device) -> dict[str, float]:
    """How busy the machine is, under the names of MLflow's system metrics."""
    memory = psutil.virtual_memory()
    measured = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/process_memory_megabytes": psutil.Process().memory_info().rss / 1e6,
    }
    if device.type == "cuda":
        measured["system/gpu_0_memory_usage_megabytes"] = torch.cuda.memory_allocated(device) / 1e6
    return measured


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _commit() -> str:
    """The commit of the source tree this runs from; `unknown` for an installed package."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return "unknown"
    try:
        asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"
