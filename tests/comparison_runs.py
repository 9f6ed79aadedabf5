"""Run directories with known scores, made without a training."""

import csv
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 12
SUBJECTS = 6


def made_run(
    directory: Path,
    *,
    seed: int = 0,
    gain: float = 0.0,
    noise: float = 0.0,
    steps: tuple[int, int] = (100, 100),
    recipe: Mapping[str, Any] | None = None,
    tested_on: str | None = "test images",
    subjects: int = SUBJECTS,
    rows: Sequence[int] = range(ROWS),
) -> Path:
    """A run whose network is `gain` dB above the input, give or take `noise` on each image; unscored without tested_on.

    Of every image the input has 20 dB plus a third of its row.
    """
    (directory / "evaluation").mkdir(parents=True)
    described = {
        "format": "mri-n2n run 1",
        "domain": "MRI",
        "recipe": {"kind": "Recipe", "seed": seed, "optimisation": {"steps": steps[1]}, **(recipe or {})},
        "data": {"fingerprint": "data", "path": "/home/somebody/data"},
        "environment": {"hardware": "2 CPU threads"},
    }
    (directory / "run.json").write_text(json.dumps(described))
    weights = b"weights of %d" % seed
    network = {"step": steps[0], "weights": "network-00.safetensors", "sha256": sha256(weights).hexdigest()}
    (directory / "network.json").write_text(json.dumps(network))
    (directory / "network-00.safetensors").write_bytes(weights)
    points = [
        {"step": 0, "time": 1000, "validation/psnr/input": 20.0, "validation/psnr/network": 10.0},
        {"step": 50, "time": 2000, "loss": 1.0, "seconds": 30.0, "images_per_second": 4.0},
        {"step": 50, "time": 2000, "validation/psnr/network": 27.0, "validation/psnr_low/network": 26.0},
        {"step": 100, "time": 3000, "validation/psnr/network": 26.0, "seconds": 30.0, "images_per_second": 6.0},
        {"step": 100, "time": 3000, "evaluation_seconds": 4.0},
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    if tested_on is None:
        return directory
    drawn = np.random.default_rng(seed)
    lines = []
    for row in rows:
        for method, value in (("input", 20 + row / 3), ("network", 20 + row / 3 + gain + noise * drawn.normal())):
            lines.append([f"subject-{row % subjects}", row, row, method, value, 0.9])
    with (directory / "evaluation/slices.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["subject", "row", "slice", "method", "psnr", "ssim"], *lines])
    table = {
        "file": "slices.csv", "image": ["subject", "row"], "unit": ["subject"], "metrics": ["psnr", "ssim"],
        "result": "network",
    }  # fmt: skip
    summary = {
        "tested_on": tested_on, "interval": "95 % bootstrap over subjects", "scores": table, "label": "made up",
        "methods": {"network": {"psnr": {"mean": float(np.mean([line[4] for line in lines if line[3] == "network"]))}}},
    }  # fmt: skip
    (directory / "evaluation/summary.json").write_text(json.dumps(summary))
    return directory
