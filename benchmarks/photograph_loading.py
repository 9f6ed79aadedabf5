"""Whether loading photographs keeps up with training, and what an index of many files costs.

    python -m benchmarks.photograph_loading FOLDER [--links N] [--output FILE]

Times batches of four 256² crops from FOLDER, decoding every image anew (the worst case: nothing cached) and from the
cache, and training steps of the paper's U-Net on the same machine. --links first makes N links to the images of FOLDER,
and measures indexing them and loading from them: time, and the memory it takes.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from mri_n2n import environment
from mri_n2n.durable import write_json
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task
from mri_n2n.training.trainer import Request, TrainingPlan, TrainState, adam, train
from natural_images.crops import CACHE_BYTES, CropLoader, Crops
from natural_images.datasets import ImageScenes, index_folder
from natural_images.image_files import find_images
from natural_images.noise import Gaussian
from natural_images.tasks import SyntheticNoise

BATCH, CROP = 4, 256
GFLOP = 68.2  # of a training step of the U-Net for colour images, per 256² crop


def loading_rate(scenes: ImageScenes, steps: int, cache_bytes: int) -> float:
    """Images per second that the loader gives."""
    rows = range(len(scenes))
    with CropLoader(scenes, rows, Crops(CROP), BATCH, 0, torch.device("cpu"), cache_bytes=cache_bytes) as load:
        for step in range(len(scenes) // BATCH if cache_bytes else 5):
            load(step)
        first = step + 1
        began = time.perf_counter()
        for later in range(first, first + steps):
            load(later)
        return steps * BATCH / (time.perf_counter() - began)


def training_rate(load: Callable[[int], Batch], steps: int) -> float:
    """Images per second that the network takes, with noise and Adam."""
    network = UNetSpec(3, 3).build()
    plan = TrainingPlan(
        Task(SyntheticNoise(Gaussian()), SquaredError()), load, steps + 2, RampedRate(), RandomStreams(0), bf16=True
    )
    times: list[float] = []

    def poll(_: int) -> Request:
        times.append(time.perf_counter())
        return Request.GO_ON

    def ignore(*arguments: object) -> None:
        del arguments

    train(TrainState(network, adam(network)), plan, record=ignore, evaluate=ignore, save=ignore, poll=poll)
    return steps * BATCH / (times[-1] - times[1])


def table(result: Mapping[str, Any]) -> str:
    """Rates of loading beside those of training, as Markdown."""
    training, fast = result["training_images_per_second"], result["images_per_second_at_100_teraflops"]
    return "\n".join(
        [
            "| | images per second |",
            "| --- | --- |",
            f"| decoding every image anew | {result['decoding_images_per_second']:,.0f} |",
            f"| from the cache | {result['cached_images_per_second']:,.0f} |",
            f"| what the U-Net takes here (bf16, with noise and Adam) | {training:,.1f} |",
            f"| what a GPU that trains at 100 TFLOP/s would take ({GFLOP} GFLOP per crop) | {fast:,.0f} |",
        ]
    )


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--links", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    scenes = index_folder(given.folder)
    found = {
        "decoding_images_per_second": loading_rate(scenes, given.steps, 0),
        "cached_images_per_second": loading_rate(scenes, given.steps, CACHE_BYTES),
        "environment": environment.description(torch.device("cpu")),
    }
    with CropLoader(scenes, range(len(scenes)), Crops(CROP), BATCH, 0, torch.device("cpu")) as load:
        found["training_images_per_second"] = training_rate(load, 8)
    found["images_per_second_at_100_teraflops"] = 100_000 / GFLOP
    if given.links:
        found |= many_files(given.folder, given.links, given.steps)
    print(json.dumps(found, indent=2))
    if given.output:
        write_json(given.output, found)


def many_files(folder: Path, count: int, steps: int) -> dict[str, float]:
    """Indexing and loading `count` links to the images of a folder."""
    with tempfile.TemporaryDirectory() as place:
        for number, path in enumerate(islice(cycle(find_images(folder)), count)):
            (Path(place) / f"{number:06d}{path.suffix}").symlink_to(path.resolve())
        began = time.perf_counter()
        scenes = index_folder(Path(place))
        seconds = time.perf_counter() - began
        rate = loading_rate(scenes, steps, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"files": count, "indexing_seconds": seconds, "many_images_per_second": rate, "peak_memory_mib": peak}


if __name__ == "__main__":
    main()
