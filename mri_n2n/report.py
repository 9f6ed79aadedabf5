"""The evaluation of a run: scores, tables and pictures in a folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mri_n2n import environment
from mri_n2n.baselines import TotalVariation
from mri_n2n.data.manifest import StoredVolume
from mri_n2n.data.selection import evenly_spread
from mri_n2n.data.slices import PreparedData
from mri_n2n.drawing import draw_examples, draw_scores
from mri_n2n.durable import check_writable, clear, write_json
from mri_n2n.evaluation import (
    ZERO_FILLED,
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
from mri_n2n.illustrations import (
    ILLUSTRATIONS,
    MOST_SLICES,
    REFERENCE,
    VOLUME,
    IllustratedVolume,
    Illustration,
    picture_of_slice,
    write_illustrations,
    write_volume,
)
from mri_n2n.kspace.channels import from_channels, magnitude
from mri_n2n.kspace.fourier import whole_plane
from mri_n2n.quality import QUALITY
from mri_n2n.recipes import Recipe, described
from mri_n2n.run_directory import Run
from mri_n2n.run_files import ScoreTable
from mri_n2n.scores import Score, known_metrics, write_scores
from mri_n2n.task import UndersampledPair
from mri_n2n.training.task import TrainingPair

EXAMPLES = 3
AT_ONCE = 2  # slices of the volume that is shown: few, so that any size fits in memory
WHITE = 0.998  # the quantile of what is shown that is white
OWN_FILES = (
    "slices.csv",
    "subjects.csv",
    "summary.json",
    "scores.png",
    "examples.png",
    QUALITY,
    ILLUSTRATIONS,
    VOLUME,
)


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
    examples = examples_of(data, run.recipe, methods, device)
    draw_examples(folder / "examples.png", examples, label)
    write_illustrations(folder, examples)
    write_volume(folder, volume_of(data, run.recipe, methods_for(run.recipe, network), device))
    return scores


def draw_slices(
    path: Path, data: PreparedData, recipe: Recipe[Any], methods: Mapping[str, Method], device: torch.device
) -> None:
    """Draw a few validation slices, always the same: every reconstruction, the reference, the error, their spectra."""
    label = label_for(recipe, simulated=data.manifest.simulated)
    draw_examples(path, examples_of(data, recipe, methods, device), label)


@torch.inference_mode()
def examples_of(
    data: PreparedData, recipe: Recipe[Any], methods: Mapping[str, Method], device: torch.device
) -> list[Illustration]:
    """A few validation slices, always the same: every reconstruction, the reference, and which samples there were."""
    places = validation_places(data, EXAMPLES)
    pair = pair_at(data, evaluable(recipe), places, device)
    images, judged = _upright(pair, methods), has_reference(pair)
    masks = _masks(pair)
    examples = []
    for index, (volume, position) in enumerate(places):
        own = {name: stack[index] for name, stack in images.items()}
        title = f"subject {volume.subject}, slice {volume.slices[position]}"
        white = float(np.quantile(list(own.values())[-1], WHITE))
        before = ZERO_FILLED if ZERO_FILLED in methods else next(iter(methods))
        examples.append(
            Illustration(title, own, before, judged, white, None if masks is None else np.rot90(masks[index]))
        )
    return examples


@torch.inference_mode()
def volume_of(
    data: PreparedData, recipe: Recipe[Any], methods: Mapping[str, Method], device: torch.device
) -> IllustratedVolume:
    """The slices of the first validation subject, of several coils the first one's: before, after, and the reference.

    All on one scale, that of the middle slice.
    """
    volume = data.manifest.split("validation")[0]
    first = {place: position for position, place in reversed(list(enumerate(volume.slices)))}
    positions = sorted(first.values())
    positions = [positions[place] for place in evenly_spread(len(positions), MOST_SLICES)]
    before = ZERO_FILLED if ZERO_FILLED in methods else next(iter(methods))
    compared = {name: methods[name] for name in (before, list(methods)[-1])}

    def images_at(some: list[int]) -> dict[str, np.ndarray]:
        return _upright(_pair_in(data, recipe, volume, some, device), compared)

    middle = list(images_at([positions[len(positions) // 2]]).values())[-1]
    white = float(np.quantile(middle, WHITE))
    pictures: dict[str, list[bytes]] = {}
    for start in range(0, len(positions), AT_ONCE):
        for name, stack in images_at(positions[start : start + AT_ONCE]).items():
            pictures.setdefault(name, []).extend(picture_of_slice(image, white) for image in stack)
    return IllustratedVolume(f"subject {volume.subject}", [volume.slices[place] for place in positions], pictures)


def _pair_in(
    data: PreparedData, recipe: Recipe[Any], volume: StoredVolume, positions: list[int], device: torch.device
) -> TrainingPair:
    return pair_at(data, evaluable(recipe), [(volume, position) for position in positions], device)


def _upright(pair: TrainingPair, methods: Mapping[str, Method]) -> dict[str, np.ndarray]:
    """The magnitudes `[b h w]` by every method, and the reference if there is one, as people look at them."""
    images = {name: magnitude(method(pair)) for name, method in methods.items()}
    if has_reference(pair):
        images[REFERENCE] = magnitude(from_channels(pair.target))
    return {name: np.rot90(stack.cpu().numpy(), axes=(-2, -1)) for name, stack in images.items()}


def _masks(pair: TrainingPair) -> np.ndarray | None:
    """Which frequencies the input has, DC in the middle; None of pairs without a measurement."""
    if not isinstance(pair, UndersampledPair):
        return None
    measurement = pair.measurement
    mask = whole_plane(measurement.mask, measurement.grid[1]) if measurement.real else measurement.mask
    return np.fft.fftshift(mask.cpu().numpy(), axes=(-2, -1))
