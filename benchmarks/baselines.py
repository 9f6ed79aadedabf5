"""How the classical baseline was tuned: PSNR of total variation on training slices, over weight and iterations.

    python -m benchmarks.baselines DATA [--output FILE]

DATA is what `mri-n2n prepare` made; its validation subjects are not touched.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from mri_n2n.baselines import TotalVariation
from mri_n2n.data.slices import open_prepared
from mri_n2n.evaluation import pair_at
from mri_n2n.kspace.acquisition import zero_filled
from mri_n2n.metrics import psnr
from mri_n2n.task import Undersampling

SLICES = 16


def measure(data_path: Path) -> dict[str, Any]:
    """PSNR in dB and seconds per slice for each setting, beside the zero-filled image."""
    data = open_prepared(data_path)
    places = [(volume, position) for volume in data.manifest.split("train") for position in range(len(volume.slices))]
    chosen = places[:: max(1, len(places) // SLICES)][:SLICES]
    pair: Any = pair_at(data, Undersampling(acceleration=10.0, edge_probability=None), chosen, torch.device("cpu"))
    reference = pair.target[:, 0]
    rows = []
    for weight in (1e-3, 3e-3, 1e-2, 3e-2):
        for iterations in (50, 100, 200, 400):
            began = time.perf_counter()
            images = TotalVariation(weight, iterations)(pair.measurement)
            seconds = (time.perf_counter() - began) / len(chosen)
            quality = float(psnr(images, reference).mean())
            rows.append({"weight": weight, "iterations": iterations, "psnr": quality, "seconds_per_slice": seconds})
    naive = float(psnr(zero_filled(pair.measurement), reference).mean())
    return {"slices": len(chosen), "zero_filled_psnr": naive, "threads": torch.get_num_threads(), "settings": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.data), indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
