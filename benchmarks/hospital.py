"""What `mri-n2n batch` costs beside the network: memory over the number of studies, overhead per study, start-up.

    python -m benchmarks.hospital [--many 1000] [--studies 5] [--output FILE]

Memory is the largest process's, for 10 small studies and for many. Overhead is what a study of 256×256×32 takes beside
the network (which makes the reconstruction and the figure of quality): reading, checking, writing, reading back,
publishing, and what lies between two studies. The network is untrained; it is as fast as a trained one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mri_n2n import environment
from mri_n2n.data.ixi import prepare_ixi
from mri_n2n.data.phantom import draw_head, save_head, write_heads
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.simulation import simulate_path
from mri_n2n.task import Undersampling

SAMPLING = Undersampling(10.0, None)
FEW = 10
SIZE = (256, 256, 32)
MEASURE = """
import json, resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(json.dumps([ended, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024]))
"""


def measure(many: int, studies: int) -> dict[str, Any]:
    """All of it, as JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = untrained(folder)
        small, large = folder / "small", folder / "large"
        small.mkdir()
        for number in range(20):
            save_head(small / f"{number}.nii.gz", draw_head((40, 40, 12), np.random.default_rng(number)), 5.0)
        simulate_path(small, folder / "small-scans", SAMPLING, 0)
        save_head(folder / "head.nii.gz", draw_head(SIZE, np.random.default_rng(0)), 1.0)
        simulate_path(folder / "head.nii.gz", large, SAMPLING, 0)
        few, lot = (linked(folder / "small-scans", folder / f"ward-{count}", count) for count in (FEW, many))
        return {
            "environment": environment.description(environment.chosen_device("cpu")),
            "studies": [FEW, many],
            "peak_megabytes": [batch(run, ward, folder / f"out-{ward.name}") for ward in (few, lot)],
            **overhead(run, linked(large, folder / "ward-large", studies), folder / "out-large"),
        }


def untrained(folder: Path) -> Path:
    """A run of one step, with the paper's network."""
    write_heads(folder / "heads", subjects=4, size=64)
    prepare_ixi(folder / "heads", folder / "data", PrepareRequest(SplitRequest(2, 2), SliceRequest(20, 28)))
    asked = [sys.executable, "-m", "pipelines", "train", str(folder / "data"), "--steps", "1", "--batch-size", "2"]
    aside = os.environ | {"MLFLOW_TRACKING_URI": ""}
    subprocess.run([*asked, "--run-name", "run", "--device", "cpu"], cwd=folder, env=aside, check=True)
    return folder / "runs" / "run"


def linked(scans: Path, ward: Path, count: int) -> Path:
    """So many studies, which are a few scans under many names."""
    ward.mkdir()
    sources = sorted(scans.glob("*.h5"))
    for number in range(count):
        (ward / f"{number:05d}.h5").symlink_to(sources[number % len(sources)])
    return ward


def batch(run: Path, ward: Path, output: Path) -> float:
    """Megabytes of the largest process of a batch."""
    command = [sys.executable, "-m", "pipelines", "batch", str(ward), str(output), "--model", str(run)]
    asked = [sys.executable, "-c", MEASURE, *command, "--device", "cpu"]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True)
    code, megabytes = json.loads(done.stdout)
    if code != 0:
        raise RuntimeError(f"the batch ended with {code}")
    return float(megabytes)


def overhead(run: Path, ward: Path, output: Path) -> dict[str, Any]:
    """Seconds of a study and of its parts, and from the start to the first study's end."""
    began = time.time()
    batch(run, ward, output)
    events = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    ends = [event["time"] for event in events if event["event"] == "study"]
    parts = [event["seconds"] for event in events if event["event"] == "study"][1:]
    each = float(np.median(np.diff(ends)))
    network = float(np.median([part["network"] + part["quality"] for part in parts]))
    return {
        "size": SIZE,
        "seconds_per_study": each,
        "seconds_by_part": {name: float(np.median([part[name] for part in parts])) for name in parts[0]},
        "overhead": each / network - 1,
        "seconds_to_first_study": ends[0] - each - began,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    few, many = result["studies"]
    less, more = result["peak_megabytes"]
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result["seconds_by_part"].items())
    return "\n".join(
        [
            "| what | measured |",
            "| --- | --- |",
            f"| on | {result['environment']['hardware']} |",
            f"| largest process, {few} small studies | {less:,.0f} MB |",
            f"| largest process, {many:,} small studies | {more:,.0f} MB ({more / less - 1:+.1%}) |",
            f"| a study of {'×'.join(map(str, result['size']))} | {result['seconds_per_study']:.2f} s ({parts}) |",
            f"| beside the network | {result['overhead']:.0%} of its time |",
            f"| from the start to the first study's beginning | {result['seconds_to_first_study']:.1f} s |",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--studies", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.many, arguments.studies)
    print(table(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
