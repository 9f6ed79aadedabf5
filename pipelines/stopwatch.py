"""Stopwatch and yardsticks: how long a call takes on a device, and what the machine could do at most."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


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


def forward_flops(network: nn.Module, image: Tensor) -> int:
    """Floating-point operations of a forward pass."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image)
    return int(counter.get_total_flops())


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most that the process has held so far, in megabytes."""
    kilobyte = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e6}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device) / 1e6
    return peak
