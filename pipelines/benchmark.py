"""How fast this machine does the work, and how close to its limits that is: `mri-n2n benchmark`.

All in one process, on synthetic images: warmed up, waiting for the device, repeated. The machine's limit is a large
matrix product in the same process; what the network does is counted in floating-point operations.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mri_n2n import environment
from mri_n2n.data.ixi import prepare_ixi
from mri_n2n.data.manifest import Manifest, StoredVolume
from mri_n2n.data.phantom import draw_head, save_head, write_heads
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slices import PreparedData
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.progress import say
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.reconstruction import Reconstructor, reconstruct_path
from mri_n2n.run_directory import Journal
from mri_n2n.runs import LOG_EVERY
from mri_n2n.slice_training import batch_loader
from mri_n2n.task import data_consistent
from mri_n2n.tracking import METRICS
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task, network_output
from mri_n2n.training.trainer import Request, TrainingPlan, TrainState, adam, train
from natural_images.noise import Gaussian
from natural_images.tasks import SyntheticNoise
from pipelines.stopwatch import (
    Laps,
    Timing,
    forget_peak_memory,
    forward_flops,
    matrix_rates,
    memory_rate,
    peak_memory,
    spread,
    timed,
)

DEPTH = 150 / 256  # of the volume, to its side
AT_ONCE = 1000  # slices written together
COMMAND = (sys.executable, "-m", "pipelines")
CROPS = 4  # of photographs, in a step of the paper's

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
        if self.size < 32 or not 1 <= self.batch_size <= self.slices or self.repeats < 1:
            raise UsageError(
                f"expected a size from 32, a batch size of 1 to {self.slices} and at least one repetition, "
                f"got {self.size}, {self.batch_size} and {self.repeats}."
            )

    def network(self, channels: int = 1) -> nn.Module:
        """The network to time."""
        torch.manual_seed(0)
        network = UNetSpec(channels, channels, self.width).build().to(self.device)
        if self.compile:
            network.compile()
        return network

    def operations(self, channels: int = 1) -> int:
        """Floating-point operations of an image's way through the network, which is not the compiled one to count."""
        network = UNetSpec(channels, channels, self.width).build()
        return forward_flops(network, torch.zeros(1, channels, self.size, self.size))

    def data(self, folder: Path, *, cold: bool = False) -> PreparedData:
        """Random slices on disk, as `prepare` would leave them. cold: none of them is in the system's cache yet."""
        folder.mkdir(exist_ok=True)
        path = folder / "slices.npy"
        shape = (self.slices, 1, self.size, self.size)
        generator = np.random.default_rng(0)
        with path.open("wb") as file:  # piece by piece: the memory that is measured is not to be the benchmark's
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for done in range(0, self.slices, AT_ONCE):
                some = (min(AT_ONCE, self.slices - done), *shape[1:])
                file.write(generator.integers(0, 256, some, dtype=np.uint8).tobytes())
            if cold and hasattr(os, "posix_fadvise"):
                file.flush()
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        volume = StoredVolume(list(range(self.slices)), 1.0)
        manifest = Manifest("images", "", 8, (self.size, self.size), [volume])
        return PreparedData(manifest, np.load(path, mmap_mode="c"))


def measured(parts: Sequence[str], work: Workload) -> dict[str, Any]:
    """The `parts` that are asked for, as JSON."""
    rates = matrix_rates(work.device)
    result: dict[str, Any] = {
        "environment": environment.description(work.device),
        "size": work.size,
        "batch_size": work.batch_size,
        "precision": "bf16" if work.bf16 else "fp32",
        "compile": work.compile,
        "repeats": work.repeats,
        "matrix_product_gflops": rates,
        "memory_gigabytes_per_second": memory_rate(work.device),
    }
    for part in parts:
        say(f"measuring: {part}")
        forget_peak_memory(work.device)
        result[part] = PARTS[part](work, rates) | {"peak_memory_mb": peak_memory(work.device)}
    return result


def rate_for(rates: Rates, *, bf16: bool) -> float:
    """The matrix product to compare a network with: torch's convolutions in fp32 are TF32 on a GPU, unless told."""
    return rates.get("bf16" if bf16 else "tf32", rates["fp32"])


def training(work: Workload, rates: Rates) -> dict[str, Any]:
    """The trainer's own loop; again with slices that are read from disk; and a step of it stage by stage.

    The stages wait for the device after each.
    """
    with tempfile.TemporaryDirectory() as folder:
        load = batch_loader(work.data(Path(folder)), work.device, work.batch_size, seed=0)
        journal = Journal(Path(folder) / "metrics.jsonl")
        network = work.network()
        state, streams = TrainState(network, adam(network)), RandomStreams(0, work.device)
        task = undersampling_task()
        step = _step(work, state, task, load, journal)
        cold = work.data(Path(folder) / "cold", cold=True)
        streamed = _step(
            work,
            TrainState(network, state.optimiser),
            task,
            batch_loader(cold, work.device, work.batch_size, seed=0, most_resident=0),
            journal,
        )
        laps: dict[str, list[float]] = {}
        for repetition in range(work.repeats + 1):
            clock = Laps(work.device)
            batch = load(repetition)
            clock.lap("load")
            pair = task.corruption(batch, streams.at("corruption", repetition))
            clock.lap("corrupt")
            with torch.autocast(work.device.type, torch.bfloat16, enabled=work.bf16):
                output = network_output(network, pair)
            clock.lap("forward")
            leaf = output.detach().requires_grad_()
            loss = task.loss(data_consistent(_Given(leaf), pair), pair, progress=0.0).mean()
            torch.autograd.backward(loss)
            clock.lap("replacement and loss")
            state.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(output, leaf.grad)
            clock.lap("backward")
            state.optimiser.step()
            clock.lap("optimise")
            journal.write(repetition, {"loss": float(loss.detach()), **environment.load(work.device)})
            clock.lap("log")
            if repetition:  # the first warms up
                for name, seconds in clock.seconds.items():
                    laps.setdefault(name, []).append(seconds / (LOG_EVERY if name == "log" else 1))
    stages = {name: spread(values) for name, values in laps.items()}
    around = sum(stage.median for name, stage in stages.items() if name not in ("forward", "backward", "optimise"))
    return {
        **_speed(step, work.batch_size, work.operations(), rate_for(rates, bf16=work.bf16)),
        "streamed_seconds_per_step": asdict(streamed),
        "streamed_speed": step.median / streamed.median,
        "stages": {name: asdict(stage) for name, stage in stages.items()},
        "share_around_the_network": around / sum(stage.median for stage in stages.values()),
    }


def photographs(work: Workload, rates: Rates) -> dict[str, Any]:
    """The trainer's own loop on colour crops with Gaussian noise, as the paper trains: four of them per step."""
    network = work.network(channels=3)
    crops = torch.rand((CROPS, 1, 3, work.size, work.size), device=work.device) - 0.5
    batch = Batch(crops, torch.arange(CROPS))
    task = Task(SyntheticNoise(Gaussian()), SquaredError())
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "metrics.jsonl")
        step = _step(work, TrainState(network, adam(network)), task, lambda _: batch, journal)
    return _speed(step, CROPS, work.operations(channels=3), rate_for(rates, bf16=work.bf16))


def _step(work: Workload, state: TrainState, task: Task[Any], load: Callable[[int], Batch], journal: Journal) -> Timing:
    """A step of the trainer's loop with its log; on a GPU, for which a log entry waits, the mean over one entry's."""
    every = LOG_EVERY if work.device.type == "cuda" else 1
    times = []

    def record(step: int, losses: list[float]) -> None:
        journal.write(step, {"loss": losses[-1], **environment.load(work.device)})
        times.append(time.perf_counter())

    steps, streams = (work.repeats + 1) * every, RandomStreams(0, work.device)
    plan = TrainingPlan(task, load, steps, RampedRate(), streams, bf16=work.bf16, log_every=every)
    train(state, plan, record=record, evaluate=lambda _: None, save=lambda: None, poll=lambda _: Request.GO_ON)
    return spread([(later - earlier) / every for earlier, later in pairwise(times)])


def _speed(step: Timing, images: int, operations: int, rate: float) -> dict[str, Any]:
    gflops = 3 * operations * images / step.median / 1e9  # backward is twice forward
    return {
        "seconds_per_step": asdict(step),
        "images_per_step": images,
        "images_per_second": images / step.median,
        "gflops": gflops,
        "share_of_matrix_product": gflops / rate,
    }


def reconstruction(work: Workload, rates: Rates) -> dict[str, Any]:
    """The network alone on a batch; and volumes from file to file, simulated undersampling included.

    On a GPU a folder of as many as are read, restored and written side by side; on a CPU one.
    """
    network = work.network().eval()
    image = torch.rand((work.batch_size, 1, work.size, work.size), device=work.device) - 0.5
    operations = work.operations()
    with torch.inference_mode(), torch.autocast(work.device.type, torch.bfloat16, enabled=work.bf16):
        alone = timed(lambda: network(image), work.repeats, work.device)
    depth = max(1, round(DEPTH * work.size))
    recipe = Recipe(undersampling_task(), Optimisation(1), UNetSpec(width=work.width))
    reconstructor = Reconstructor(network, recipe, work.device, simulate=True)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "heads", Path(folder) / "reconstructed"
        source.mkdir()
        volumes = 1 + 2 * environment.volumes_overlapped(work.device)
        head = draw_head((work.size, work.size, depth), np.random.default_rng(0))
        for number in range(volumes):
            save_head(source / f"{number}.nii.gz", head, voxel_mm=1.0)
        whole = timed(
            lambda: reconstruct_path(reconstructor, source, target, {}, overwrite=True), work.repeats, work.device
        )
        each = {name: seconds / volumes for name, seconds in asdict(whole).items()}
    gflops = operations * work.batch_size / alone.median / 1e9
    fastest = operations * depth / rate_for(rates, bf16=False) / 1e9  # volumes are restored in fp32
    return {
        "network_seconds_per_batch": asdict(alone),
        "network_slices_per_second": work.batch_size / alone.median,
        "network_gflops": gflops,
        "network_share_of_matrix_product": gflops / rate_for(rates, bf16=work.bf16),
        "volume": [work.size, work.size, depth],
        "volumes": volumes,
        "volume_seconds": each,
        "volume_to_matrix_product": each["median"] / fastest,
    }


def loading(work: Workload, rates: Rates) -> dict[str, Any]:
    """Batches from the files of prepared data, as images on the device."""
    del rates
    with tempfile.TemporaryDirectory() as folder:
        load = batch_loader(work.data(Path(folder)), work.device, work.batch_size, seed=0)
        places = iter(range(10**9))
        batch = timed(lambda: load(next(places)), work.repeats, work.device)
    return {"seconds_per_batch": asdict(batch), "slices_per_second": work.batch_size / batch.median}


def corruption(work: Workload, rates: Rates) -> dict[str, Any]:
    """Training pairs: each slice moved, measured twice under independent masks, reconstructed naively."""
    del rates
    with tempfile.TemporaryDirectory() as folder:
        batch = batch_loader(work.data(Path(folder)), work.device, work.batch_size, seed=0)(0)
    draw, streams = undersampling_task().corruption, RandomStreams(0, work.device)
    pair = timed(lambda: draw(batch, streams.at("corruption", 0)), work.repeats, work.device)
    return {"seconds_per_batch": asdict(pair), "slices_per_second": work.batch_size / pair.median}


def start(work: Workload, rates: Rates) -> dict[str, Any]:
    """How long the command line takes to say what it can do, and `train` to its first step on small heads.

    The step is counted when its loss is written; the held-out slices are scored before it.
    """
    del rates
    helps, firsts = [], []
    aside = os.environ | {"MLFLOW_TRACKING_URI": ""}  # the runs are not for anybody's MLflow
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_heads(folder / "heads", subjects=4, size=64)
        prepare_ixi(folder / "heads", folder / "data", PrepareRequest(SplitRequest(2, 2), SliceRequest(20, 28)))
        for repetition in range(work.repeats):
            began = time.time()
            subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)
            helps.append(time.time() - began)
            asked = ["--steps", "1", "--batch-size", "4", "--device", work.device.type, "--run-name", str(repetition)]
            began = time.time()
            subprocess.run([*COMMAND, "train", "data", *asked], cwd=folder, env=aside, capture_output=True, check=True)
            lines = (folder / "runs" / str(repetition) / METRICS).read_text(encoding="utf-8").splitlines()
            firsts.append(next(row["time"] for row in map(json.loads, lines) if "loss" in row) / 1000 - began)
    return {"help_seconds": asdict(spread(helps)), "first_step_seconds": asdict(spread(firsts))}


PARTS: Mapping[str, Callable[[Workload, Rates], dict[str, Any]]] = {
    "train": training,
    "photographs": photographs,
    "reconstruct": reconstruction,
    "load": loading,
    "corrupt": corruption,
    "start": start,
}


class _Given(nn.Module):
    """A 'network' with a given output, to time what lies around it."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        """The given output."""
        del image
        return self.output
