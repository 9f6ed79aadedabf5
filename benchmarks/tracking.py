"""What MLflow's copy of a run costs a training on a CPU.

    python -m benchmarks.tracking [--repeats N] [--output FILE]

A training of three minutes takes some 500 steps, is evaluated ten times and saved three. Here a small network on small
images does just that, in a process of its own, with and without MLflow in turn: what logging does is the same, and the
difference, MLflow's import included, is what it costs: processor time, which what else the machine does hardly changes,
and the clock's, which counts on a quiet machine only. To make the database, once for all runs, is measured apart.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mri_n2n.durable import write_json

STEPS, SECONDS = 500, 180
HEAD = 48  # pixels a side


def prepared(folder: Path) -> Path:
    """Small heads, prepared."""
    from mri_n2n.data.ixi import prepare_ixi
    from mri_n2n.data.phantom import write_heads
    from mri_n2n.data.preparation import PrepareRequest
    from mri_n2n.data.selection import SliceRequest
    from mri_n2n.data.subjects import SplitRequest

    write_heads(folder / "heads", subjects=4, size=HEAD)
    prepare_ixi(folder / "heads", folder / "data", PrepareRequest(SplitRequest(2, 2), SliceRequest(14, 19)))
    return folder / "data"


def trained(data: Path, directory: Path, *, track: bool) -> dict[str, float]:
    """Seconds of one training in this process, and how much of the journal there is to send."""
    import torch

    from mri_n2n.data.slices import open_prepared
    from mri_n2n.networks.spec import UNetSpec
    from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
    from mri_n2n.slice_training import create_slice_run, train_on_slices

    torch.set_num_threads(1)
    recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(STEPS, 1), UNetSpec(width=4))
    opened, device = open_prepared(data), torch.device("cpu")
    run = create_slice_run(directory, recipe, data, opened, device)
    clock, processor = time.perf_counter(), time.process_time()
    train_on_slices(run, opened, device, track=track, save_seconds=2.0)
    return {
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
        "metrics": float(sum(len(json.loads(line)) - 2 for line in (directory / "metrics.jsonl").open())),
    }


def measured(repeats: int) -> dict[str, Any]:
    """Trainings with and without MLflow in turn, each in a fresh process."""
    from mri_n2n.environment import description

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = prepared(folder)
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}

        def process(*arguments: str) -> dict[str, float]:
            command = [sys.executable, "-m", "benchmarks.tracking", *arguments]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
            found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
            return found

        making = process("--make")["processor_seconds"]
        each: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
        for number in range(repeats):
            for how, found in each.items():
                found.append(process("--one", how, str(data), str(folder / f"{how}-{number}")))
    import torch

    def added(what: str) -> dict[str, Any]:
        pairs = zip(each["with"], each["without"], strict=True)
        differences = [one[what] - other[what] for one, other in pairs]
        median = statistics.median(differences)
        return {"each": differences, "median": median, "share_of_three_minutes": median / SECONDS}

    return {
        "steps": STEPS,
        "processor_seconds_added": added("processor_seconds"),
        "seconds_added": added("seconds"),
        "making_the_database_processor_seconds": making,
        **each,
        "environment": description(torch.device("cpu")),
    }


def made() -> dict[str, float]:
    """Seconds to make the database, without MLflow's import."""
    from mlflow import MlflowClient

    import mri_n2n.tracking  # noqa: F401  MLflow's settings count only before its import

    processor = time.process_time()
    MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).search_experiments()
    return {"processor_seconds": time.process_time() - processor}


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        print(json.dumps(made()))
    elif given.one:
        how, data, directory = given.one
        print(json.dumps(trained(Path(data), Path(directory), track=how == "with")))
    else:
        found = measured(given.repeats)
        print(json.dumps(found, indent=2))
        if given.output:
            write_json(given.output, found)


if __name__ == "__main__":
    main()
