"""How cost grows: with the batch, with the image, with the number of slices.

    python -m benchmarks.growth [--device auto] [--output FILE] [--picture FILE]

A point is a process of its own, so that its memory is its own. Batches are of 128×128 slices; images come one at a
time; data sets hold slices of 64×64, batches of 16. The slope is that of the straight line through the points on
logarithmic axes: 1 is proportional, 0 constant.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mri_n2n import environment
from mri_n2n.progress import bar
from pipelines.benchmark.measure import PARTS
from pipelines.benchmark.stopwatch import peak_memory
from pipelines.benchmark.workload import Workload
from pipelines.figures import Curve, Panel, draw_curves

BATCHES = tuple({"size": 128, "batch_size": size} for size in (1, 2, 4, 8, 16))
IMAGES = tuple({"size": size, "batch_size": 1} for size in (64, 128, 256, 512))
SLICES = tuple({"size": 64, "batch_size": 16, "slices": count} for count in (100, 1_000, 10_000, 100_000))
SERIES = {
    "batch": ("train", BATCHES, "batch_size", "slices per step"),
    "image": ("train", IMAGES, "size", "side of the image, pixels"),
    "data set": ("load", SLICES, "slices", "slices on disk"),
}


def measure(device: str) -> dict[str, Any]:
    """Seconds per step, or per batch loaded, and peak memory of every point."""
    result: dict[str, Any] = {"environment": environment.description(environment.chosen_device(device))}
    jobs = [(name, part, point) for name, (part, points, _, _) in SERIES.items() for point in points]
    for name, part, point in bar(jobs, description="measuring", unit="point"):
        asked = [sys.executable, "-m", "benchmarks.growth", "--device", device, "--point", part, json.dumps(point)]
        done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True)
        result.setdefault(name, []).append(point | json.loads(done.stdout))
    for name, (_, _, axis, _) in SERIES.items():
        x, y = (np.log([row[key] for row in result[name]]) for key in (axis, "seconds"))
        result[f"{name}: slope"] = float(np.polyfit(x, y, 1)[0])
    return result


def point(part: str, given: dict[str, Any], device: str) -> dict[str, Any]:
    """One point, measured in this process."""
    work = Workload(**given, repeats=5, device=environment.chosen_device(device))
    key = "seconds_per_step" if part == "train" else "seconds_per_batch"
    timing = PARTS[part](work, {"fp32": 1.0})[key]
    return {"seconds": timing["median"], "peak_memory_mb": peak_memory(work.device)}


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown, a row for each point."""
    lines = ["| what grows | | time | peak memory | slope of time |", "| --- | --- | --- | --- | --- |"]
    for name, (_, _, axis, label) in SERIES.items():
        for place, row in enumerate(result[name]):
            first = (label, f"{result[f'{name}: slope']:.2f}") if place == 0 else ("", "")
            seconds, memory = row["seconds"], row["peak_memory_mb"]
            time = f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
            peak = f"{memory[next(reversed(memory))]:,.0f} MB"
            lines.append(f"| {first[0]} | {row[axis]:,} | {time} | {peak} | {first[1]} |")
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Time and memory over batch, image and data set, on logarithmic axes."""
    panels = []
    for name, (_, _, axis, label) in SERIES.items():
        x = [row[axis] for row in result[name]]
        memory = next(reversed(result[name][0]["peak_memory_mb"]))
        curves = [
            Curve("time, s", x, [row["seconds"] for row in result[name]], style="points"),
            Curve(f"peak memory of the {memory}, GB", x, [row["peak_memory_mb"][memory] / 1e3 for row in result[name]]),
        ]
        title = f"{name}: slope of time {result[f'{name}: slope']:.2f}"
        panels.append(Panel(title, label, "", curves, log_x=True, log_y=True))
    draw_curves(path, panels, "Medians of five; each point in a process of its own.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(point(arguments.point[0], json.loads(arguments.point[1]), arguments.device)))
        sys.exit()
    measured = measure(arguments.device)
    print(table(measured))
    if arguments.output:
        arguments.output.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    if arguments.picture:
        draw(measured, arguments.picture)
