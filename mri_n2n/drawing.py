"""Drawings: reconstructions with their spectra (Fig 9), strips of pictures beside the truth, scores with intervals."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from mri_n2n.durable import replacing
from mri_n2n.illustrations import Illustration
from mri_n2n.metrics import psnr, quality_of
from mri_n2n.pictures import log_spectrum
from mri_n2n.scores import Score, summarised

ERROR_GAIN = 5

Image = NDArray[np.float32]
Picture = Float[Tensor, "c h w"]

SIDE = 2.4  # inches of a picture's width
SHOWN = 256  # pixels of each picture, in its middle, that are drawn: noise does not survive being scaled down


def draw_examples(path: Path, examples: Sequence[Illustration], label: str) -> None:
    """Draw each example, of grey images, as a row of images and a row of their spectra.

    With a reference titles have each image's PSNR, and the last method's error is drawn last, times 5, around grey.
    Spectra are log magnitudes with DC in the middle, on the last image's scale.
    """
    from matplotlib.figure import Figure

    judged = examples[0].has_reference
    columns = len(examples[0].images) + judged
    figure = Figure(figsize=(2.1 * columns, 4.5 * len(examples) + 0.4), layout="constrained")
    grid = figure.subplots(2 * len(examples), columns, squeeze=False)
    for number, example in enumerate(examples):
        reference = list(example.images.values())[-1]
        shown, errors = dict(example.images), f"error × {ERROR_GAIN}"
        if judged:
            shown[errors] = ERROR_GAIN * (example.images[example.after] - reference)
        top = float(log_spectrum(reference).max())
        for column, (title, image) in enumerate(shown.items()):
            above, below = grid[2 * number, column], grid[2 * number + 1, column]
            range_shown = (-0.5, 0.5) if title == errors else (-0.5, example.white)
            above.imshow(image, cmap="gray", vmin=range_shown[0], vmax=range_shown[1], interpolation="nearest")
            scored = judged and title in example.methods
            above.set_title(f"{title}\n{_quality(image, reference)}" if scored else title, fontsize=8)
            below.imshow(log_spectrum(image), cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            for axes in (above, below):
                axes.set_axis_off()
    figure.supxlabel(label, fontsize=7)
    _save(path, figure)


def draw_scores(path: Path, scores: Sequence[Score], label: str) -> None:
    """Draw the PSNR of every subject (dots), and each method's mean with its 95 % interval."""
    from matplotlib.figure import Figure

    summary = summarised(scores)
    figure = Figure(figsize=(7, 0.6 * len(summary) + 1.4), layout="constrained")
    axes = figure.subplots()
    for place, (method, metrics) in enumerate(summary.items()):
        groups: dict[str, list[float]] = {}
        for score in scores:
            if score.method == method:
                groups.setdefault(score.subject, []).append(score.psnr)
        means = [float(np.mean(group)) for group in groups.values()]
        axes.plot(means, np.full(len(means), place), "o", color="0.65", markersize=4)
        value = metrics["psnr"]
        if value.low is not None and value.high is not None:
            axes.plot([value.low, value.high], [place, place], color="C0", linewidth=3)
        axes.plot(value.mean, place, "|", color="C0", markersize=16)
        axes.annotate(
            f"{value.mean:.2f}", (value.mean, place), (0, 9), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_yticks(range(len(summary)), list(summary))
    axes.set_ylim(len(summary) - 0.5, -0.6)
    axes.set_xlabel("PSNR in dB; dots: subjects, bar: 95 % interval of the mean", fontsize=8)
    figure.supxlabel(label, fontsize=7)
    _save(path, figure)


def draw_strips(path: Path, rows: Sequence[tuple[str, Mapping[str, Picture]]], caution: str = "") -> None:
    """Draw each row (its title, and images in [-0.5, 0.5] by title) as a strip; its last image is the reference.

    Of each image the middle is drawn; above it stands the PSNR of the whole. caution: what must be said below it.
    """
    from matplotlib.figure import Figure

    columns = max(len(images) for _, images in rows)
    shapes = [middle(list(images.values())[-1]).shape for _, images in rows]
    heights = [SIDE * shape[1] / shape[2] for shape in shapes]
    figure = Figure(figsize=(SIDE * columns, sum(heights) + 0.45 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for line, (title, images) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        reference = list(images.values())[-1]
        for place, (axes, (name, image)) in enumerate(zip(line, images.items(), strict=False)):
            shown = np.clip(middle(image).movedim(0, -1).numpy() + 0.5, 0, 1)
            axes.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            quality = "" if image is reference else f"\n{quality_of(image, reference):.2f} dB"
            axes.set_title((f"{title}\n{name}" if place == 0 and title else name) + quality, fontsize=8)
    if caution:
        figure.supxlabel(caution, fontsize=8)
    _save(path, figure, bbox_inches="tight", pad_inches=0.06)


def illustrated(rows: Sequence[tuple[str, Mapping[str, Picture]]], *, judged: bool = True) -> list[Illustration]:
    """What `draw_strips` draws, to be stored: of each image its middle. judged: whether the last are references."""
    return [
        Illustration(
            title,
            {name: middle(image).squeeze(0).numpy() for name, image in images.items()},
            next(iter(images)),
            judged,
        )
        for title, images in rows
    ]


def draw_courses(path: Path, courses: Mapping[str, Sequence[tuple[int, float]]], label: str, caution: str) -> None:
    """Draw how something went in several runs: (step, value) of each, by title; label: of the values.

    caution: what must be said below it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for title, course in courses.items():
        axes.plot(*zip(*course, strict=True), label=title, linewidth=1.4)
    axes.set_xlabel("steps", fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.grid(color="0.92")
    axes.legend(fontsize=8, frameon=False, ncols=max(1, len(courses) // 12))
    figure.supxlabel(caution, fontsize=8)
    _save(path, figure)


def middle(image: Float[Tensor, "*s h w"]) -> Float[Tensor, "*s h2 w2"]:
    """At most 256 pixels square from the middle of an image: enough to judge it by."""
    top, left = (max(0, (size - SHOWN) // 2) for size in image.shape[-2:])
    return image[..., top : top + SHOWN, left : left + SHOWN]


def _quality(image: Image, reference: Image) -> str:
    value = float(psnr(torch.tensor(image.copy())[None], torch.tensor(reference.copy())[None]))
    return f"{value:.2f} dB" if math.isfinite(value) else ""


def _save(path: Path, figure: Any, **how: Any) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, **how)
