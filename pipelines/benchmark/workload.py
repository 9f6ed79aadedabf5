"""What a benchmark works on: synthetic slices, a network, and the rates to compare it with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mri_n2n import environment
from mri_n2n.data.manifest import Manifest, StoredVolume
from mri_n2n.data.slices import PreparedData
from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import UNetSpec
from pipelines.benchmark.stopwatch import forward_flops

AT_ONCE = 1000  # slices written together

Rates = Mapping[str, float]  # GFLOP/s of a matrix product, by precision


@dataclass(frozen=True)
class Workload:
    """What is measured: square slices of `size`, a U-Net of `width`, each time the median of `repeats`."""

    size: int = 256
    batch_size: int = 16
    repeats: int = 5
    width: int = 48
    bf16: bool = False
    compile: bool = False
    slices: int = 128  # stored, of which a batch is taken in every step
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 2048 or not 1 <= self.batch_size <= self.slices or self.repeats < 1:
            raise UsageError(
                f"expected a size from 32 to 2048, a batch size of 1 to {self.slices} and at least one repetition, "
                f"got {self.size}, {self.batch_size} and {self.repeats}."
            )

    def network(self, channels: int = 1) -> nn.Module:
        """The network to time."""
        torch.manual_seed(0)
        network = UNetSpec(channels, channels, self.width).build().to(self.device)
        if self.compile:
            environment.compile_network(network)
        return network

    def operations(self, channels: int = 1) -> int:
        """Floating-point operations of an image's way through the network, in its plain form, as it runs on a CPU."""
        network = UNetSpec(channels, channels, self.width).build()
        return forward_flops(network, torch.zeros(1, channels, self.size, self.size))

    def data(self, folder: Path, *, cold: int = 0) -> PreparedData:
        """Random slices on disk, as `prepare` would leave them. cold: so many, none of them in the system's cache."""
        folder.mkdir(exist_ok=True)
        path = folder / "slices.npy"
        count = cold or self.slices
        shape = (count, 1, self.size, self.size)
        generator = np.random.default_rng(0)
        with path.open("wb") as file:  # piece by piece: the memory that is measured is not to be the benchmark's
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for done in range(0, count, AT_ONCE):
                some = (min(AT_ONCE, count - done), *shape[1:])
                file.write(generator.integers(0, 256, some, dtype=np.uint8).tobytes())
            if cold and hasattr(os, "posix_fadvise"):
                file.flush()
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        volume = StoredVolume(list(range(count)), 1.0)
        manifest = Manifest("images", "", 8, (self.size, self.size), [volume])
        return PreparedData(manifest, np.load(path, mmap_mode="c"))


def rate_for(rates: Rates, *, bf16: bool) -> float:
    """The matrix product to compare a network with: torch's convolutions in fp32 are TF32 on a GPU, unless told."""
    return rates.get("bf16" if bf16 else "tf32", rates["fp32"])
