"""Stopwatch and yardsticks: how long a call takes on a device, and what the machine could do at most."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median of the repetitions, and their quartiles."""

    median: float
    low: float
    high: float


class Laps:
    """A stopwatch that waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._last = self._now()

    def lap(self, name: str) -> None:
        """What was done since the last lap is called `name`."""
        now = self._now()
        self.seconds[name], self._last = now - self._last, now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def timed(function: Callable[[], Any], repeats: int, device: torch.device) -> Timing:
    """Time a call, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        clock = Laps(device)
        function()
        clock.lap("call")
        times.append(clock.seconds["call"])
    return spread(times[1:])


def spread(times: list[float]) -> Timing:
    """The median and the quartiles."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return Timing(float(middle), float(low), float(high))


def matrix_rates(device: torch.device) -> dict[str, float]:
    """GFLOP/s of a large matrix product: fp32 on a CPU; fp32, TF32 and bf16 on a GPU."""
    size, repeats = (8192, 10) if device.type == "cuda" else (4096, 3)
    a, b = (torch.rand((size, size), device=device) for _ in range(2))

    def rate(a: Tensor, b: Tensor) -> float:
        return 2 * size**3 / timed(lambda: a @ b, repeats, device).median / 1e9

    rates = {"fp32": rate(a, b)}
    if device.type == "cuda":
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        rates["tf32"] = rate(a, b)
        torch.set_float32_matmul_precision(before)
        rates["bf16"] = rate(a.bfloat16(), b.bfloat16())
    return rates


def forget_peak_memory(device: torch.device) -> None:
    """Begin anew with `peak_memory`: at what is held now."""
    with suppress(OSError):  # where the system has no such file, or does not let us
        FORGET.write_text("5", encoding="ascii")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def forward_flops(network: nn.Module, image: Tensor) -> int:
    """Floating-point operations of a forward pass."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    return int(counter.get_total_flops())


def memory_rate(device: torch.device) -> float:
    """GB/s that a copy of half a gigabyte reads and writes."""
    source = torch.zeros(2**27, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source), 5, device).median / 1e9


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most that the process has held since `forget_peak_memory`, in megabytes; on a Mac, since it began."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
        peak = {"process": int(lines["VmHWM"].split()[0]) * 1024 / 1e6}
    else:
        peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device) / 1e6
    return peak
