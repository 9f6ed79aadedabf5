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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mri_n2n import environment
from mri_n2n.data.ixi import prepare_ixi
from mri_n2n.data.phantom import draw_head, save_head, write_heads
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.progress import say
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.run_files import METRICS
from mri_n2n.slice_training import batch_loader
from mri_n2n.training.seeding import RandomStreams
from pipelines.benchmark.stopwatch import forget_peak_memory, matrix_rates, memory_rate, peak_memory, spread, timed
from pipelines.benchmark.training import photographs, training
from pipelines.benchmark.workload import Rates, Workload, rate_for

DEPTH = 150 / 256  # of the volume, to its side
COMMAND = (sys.executable, "-m", "pipelines")


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
            subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
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
