"""BM3D on the paper's test sets, as the networks are scored: noise that is never clipped, results in 8 bit.

    python -m benchmarks.photograph_baselines [--data FOLDER] [--images N] [--processes N] [--output FILE]

FOLDER holds `kodak` and `bsd300-test`. --images takes the first N images of each set. One colour Kodak image takes
45 s on one core; --processes works on several at once. FILE is written after every image; started again with the same
FILE, the run goes on where it was.

PSNR in dB, in all channels together, averaged over images. σ is in 8-bit units of an image in [0, 1] · 255; λ is the
count of a white pixel, per channel. "opponent" is colour BM3D, "separate" denoises R, G and B as three grey images.
"stored" measurements show what becomes of a result when the noisy image is rounded and clipped to 8 bit, as in a file.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from mri_n2n import environment
from mri_n2n.durable import read_json, write_json
from mri_n2n.errors import UsageError
from mri_n2n.intervals import estimate
from mri_n2n.metrics import in_8_bit, quality_of
from natural_images.baselines import Baseline, BlockMatching, VarianceStabilised
from natural_images.evaluation import TestImage, read_reference, realisation_of
from natural_images.image_files import find_images
from natural_images.noise import Gaussian, NoiseModel, Poisson

DATA = Path(os.environ.get("MRI_N2N_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")) / "photos"
TITLES = {"kodak": "Kodak", "bsd300-test": "BSD300-test"}


@dataclass(frozen=True)
class Measurement:
    """One baseline on one test set. published: its PSNR in the paper's Table 1, in dB.

    stored: the noisy image is rounded and clipped to 8 bit before it is denoised.
    """

    set: str
    noise: NoiseModel
    baseline: Baseline
    published: float
    stored: bool = False

    @property
    def name(self) -> str:
        """A name that no other measurement has."""
        return f"{self.set}: {self.baseline}" + (", stored" if self.stored else "")


GAUSSIAN, POISSON = Gaussian(25.0, 25.0), Poisson(30.0, 30.0)
MEASUREMENTS = (
    Measurement("kodak", GAUSSIAN, BlockMatching(25.0), 31.82),
    Measurement("bsd300-test", GAUSSIAN, BlockMatching(25.0), 30.34),
    Measurement("kodak", GAUSSIAN, BlockMatching(25.0), 31.82, stored=True),
    Measurement("bsd300-test", GAUSSIAN, BlockMatching(25.0), 30.34, stored=True),
    Measurement("kodak", POISSON, VarianceStabilised(30.0, "separate"), 29.15),
    Measurement("bsd300-test", POISSON, VarianceStabilised(30.0, "separate"), 27.56),
    Measurement("kodak", POISSON, VarianceStabilised(30.0, "opponent"), 29.15),
    Measurement("bsd300-test", POISSON, VarianceStabilised(30.0, "opponent"), 27.56),
)


def measure(data: Path, images: int | None, processes: int, output: Path | None) -> dict[str, Any]:
    """Per measurement: mean PSNR with its 95 % interval over images, the published one, and every image's.

    A measurement that was stopped goes on where it was; it names the machine and the commit that it was begun on.
    """
    result: dict[str, Any] = read_json(output, "earlier result") if output and output.exists() else {}
    here = environment.description(torch.device("cpu")) | {"bm3d": version("bm3d")}
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for measurement in MEASUREMENTS:
            known = result.get(measurement.name, {"environment": here, "images": {}})
            if known["environment"]["bm3d"] != here["bm3d"]:
                raise UsageError(f"{output} holds results of bm3d {known['environment']['bm3d']}. Choose another file.")
            rows = known["images"]
            paths = islice(sorted(find_images(data / measurement.set)), images)
            missing = [path for path in paths if path.name not in rows]
            for path, row in zip(missing, pool.map(partial(scored, measurement), missing), strict=True):
                rows[path.name] = row
                result[measurement.name] = known | {"published": measurement.published} | summarised(rows)
                if output:
                    write_json(output, result)
    return result


def scored(measurement: Measurement, path: Path) -> dict[str, float]:
    """PSNR of the noisy image and of the denoised one, and the seconds that denoising took."""
    reference = read_reference(TestImage(measurement.set, path.name, path), 3)
    noisy = realisation_of(measurement.noise, reference).image
    if measurement.stored:
        noisy = in_8_bit(noisy)
    began = time.perf_counter()
    denoised = measurement.baseline(noisy)
    seconds = time.perf_counter() - began
    qualities = {"input": noisy, "psnr": denoised}
    return {name: quality_of(image[0], reference.image) for name, image in qualities.items()} | {"seconds": seconds}


def summarised(rows: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The images' means, and the interval of the result's."""
    return {
        "count": len(rows),
        "input": estimate([(name, row["input"]) for name, row in rows.items()]).mean,
        "psnr": asdict(estimate([(name, row["psnr"]) for name, row in rows.items()])),
    }


def table(result: Mapping[str, Any], baseline: Baseline, called: str) -> str:
    """A baseline beside its input and the paper, for each set that it was measured on, as Markdown."""
    found = {name.split(":")[0]: one for name, one in result.items() if name.endswith(f": {baseline}")}
    measured = ("{mean:.2f} [{low:.2f}, {high:.2f}]".format(**one["psnr"]) for one in found.values())
    rows = [
        ["dB", *(f"{TITLES[name]}, {one['count']} images" for name, one in found.items())],
        ["---"] * (len(found) + 1),
        ["input", *(f"{one['input']:.2f}" for one in found.values())],
        [f"{called}, measured here", *measured],
        [f"{called}, the paper", *(f"{one['published']:.2f}" for one in found.values())],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--images", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.data, arguments.images, arguments.processes, arguments.output), indent=2))
