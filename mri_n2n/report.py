"""The report of a run: scores, tables and pictures in a folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mri_n2n import environment
from mri_n2n.baselines import TotalVariation
from mri_n2n.data.slices import PreparedData
from mri_n2n.drawing import draw_examples, draw_scores
from mri_n2n.durable import check_writable, clear, write_json
from mri_n2n.evaluation import (
    Method,
    evaluable,
    evaluate,
    has_reference,
    held_out_psnr_by_subject,
    label_for,
    methods_for,
    pair_at,
    validation_places,
)
from mri_n2n.kspace.channels import from_channels, magnitude
from mri_n2n.quality import QUALITY
from mri_n2n.recipes import Recipe, described
from mri_n2n.run_directory import Run
from mri_n2n.run_files import ScoreTable
from mri_n2n.scores import Score, known_metrics, write_scores

EXAMPLES = 3
OWN_FILES = ("slices.csv", "subjects.csv", "summary.json", "scores.png", "examples.png", QUALITY)


def report_scores(
    run: Run, data: PreparedData, folder: Path, device: torch.device, *, classical: bool = True, overwrite: bool = False
) -> list[Score]:
    """Score `run` on the validation subjects of `data` and write tables and pictures into `folder`."""
    clear(folder, OWN_FILES, overwrite=overwrite, dry_run=True)
    check_writable(folder)
    network = run.network().to(device)
    methods = methods_for(run.recipe, network, classical=TotalVariation() if classical else None)
    scores = evaluate(data, evaluable(run.recipe), methods, device)
    label = label_for(run.recipe, simulated=data.manifest.simulated)
    about = {
        "label": label,
        "trained_on": run.data["fingerprint"],
        "tested_on": data.manifest.fingerprint,
        "scores": asdict(
            ScoreTable("slices.csv", ("subject", "row"), ("subject",), tuple(known_metrics(scores)), list(methods)[-1])
        ),
        "recipe": described(run.recipe),
        "environment": environment.description(device),
        **run.provenance(),
    }
    write_scores(folder, scores, about)
    subjects = held_out_psnr_by_subject(data, run.recipe, network, device)
    known = {subject: {"held_out_psnr": value} for subject, value in subjects.items()}
    write_json(folder / QUALITY, {"weights_sha256": about["weights_sha256"], "subjects": known})
    draw_scores(folder / "scores.png", scores, label)
    draw_slices(folder / "examples.png", data, run.recipe, methods, device)
    return scores


@torch.inference_mode()
def draw_slices(
    path: Path, data: PreparedData, recipe: Recipe[Any], methods: Mapping[str, Method], device: torch.device
) -> None:
    """Draw a few validation slices, always the same: every reconstruction, the reference, the error, their spectra."""
    places = validation_places(data, EXAMPLES)
    pair = pair_at(data, evaluable(recipe), places, device)
    images = {name: magnitude(method(pair)).cpu().numpy() for name, method in methods.items()}
    judged = has_reference(pair)
    if judged:
        images["reference"] = magnitude(from_channels(pair.target)).cpu().numpy()
    examples = [{name: stack[index] for name, stack in images.items()} for index in range(len(places))]
    label = label_for(recipe, simulated=data.manifest.simulated)
    draw_examples(path, examples, label, errors_of=list(methods)[-1] if judged else None)
