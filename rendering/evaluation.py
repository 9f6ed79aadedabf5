"""Scoring on frames with a reference: PSNR of tone-mapped images, and how bright they are beside it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_n2n.errors import UsageError
from mri_n2n.intervals import Estimate, estimate
from mri_n2n.progress import bar
from rendering.frames import PLANES, FrameStore
from rendering.radiance import Planes, tone_map

INPUT, NETWORK = "input", "network"
NO_ERROR = 1e-10
INTERVAL = "95 % bootstrap over scenes, of a single scene over views"

Method = Callable[[Planes, Planes, Planes], Planes]
"""From a render's colour, albedo and normals, each `[3 h w]`, to its radiance `[3 h w]`."""


@dataclass(frozen=True)
class Score:
    """One method on one view. psnr: in dB; brightness: the mean of the tone-mapped image beside the reference's."""

    scene: str
    view: int
    method: str
    psnr: float
    brightness: float


def psnr(radiance: Planes, reference: Planes) -> float:
    """PSNR in dB of tone-mapped images, over all channels; peak 1. What does not differ has 100 dB."""
    error = float(np.mean(np.square(tone_map(radiance) - tone_map(reference))))
    return -10 * math.log10(max(error, NO_ERROR))


def unchanged(colour: Planes, albedo: Planes, normal: Planes) -> Planes:
    """The render itself."""
    del albedo, normal
    return colour


def render_of(store: FrameStore, row: int, replicate: int = 0) -> tuple[Planes, Planes, Planes]:
    """Colour, albedo and normals of a stored render, float32."""
    colour, albedo, normal = (store.array(name)[row, replicate].astype(np.float32) for name in PLANES)
    return colour, albedo, normal


def evaluate(
    store: FrameStore, methods: Mapping[str, Method], rows: Sequence[int] | None = None, *, quiet: bool = False
) -> list[Score]:
    """Score the first render of each frame and every method's result, by its title, against the reference.

    rows: which frames, by default all. Frames whose reference is black are left out. Raises `UsageError` where the
    store has no references.
    """
    if not store.layout.reference:
        raise UsageError(f"{store.directory} has no references to score against. Render with --reference-spp 1024.")
    reference = store.array("reference")
    places = [(scene, view, row) for scene, own in store.rows().items() for view, row in enumerate(own)]
    wanted = range(store.layout.frames) if rows is None else set(rows)
    chosen = [place for place in places if place[2] in wanted]
    scores = []
    for scene, view, row in bar(chosen, description="evaluating", unit="frame", shown=not quiet):
        clean, render = reference[row].astype(np.float32), render_of(store, row)
        bright = float(tone_map(clean).mean())
        if bright == 0.0:
            continue
        for title, method in {INPUT: unchanged, **methods}.items():
            result = method(*render)
            ratio = float(tone_map(result).mean()) / bright
            scores.append(Score(scene, view, title, psnr(result, clean), ratio))
    return scores


def mean_of(scores: Sequence[Score], methods: Sequence[str], metric: str = "psnr") -> Estimate:
    """The mean of a method (or of several, the seeds of one) over views, with its 95 % bootstrap interval.

    Whole scenes are resampled, whose views are alike; of a single scene its views.
    """
    return estimate([(unit, getattr(s, metric)) for unit, s in _units(scores) if s.method in methods])


def difference(scores: Sequence[Score], first: Sequence[str], second: Sequence[str], metric: str = "psnr") -> Estimate:
    """First minus second method, view by view and pair by pair (seed by seed), with an interval as `mean_of`."""
    known = {(s.method, s.scene, s.view): getattr(s, metric) for s in scores}
    units = {(s.scene, s.view): unit for unit, s in _units(scores)}
    pairs = list(zip(first, second, strict=True))
    return estimate([(units[view], known[one, *view] - known[two, *view]) for one, two in pairs for view in units])


def unit_of(scores: Sequence[Score]) -> tuple[str, ...]:
    """What of a score tells the unit that intervals are drawn over: the scene, or of a single scene the view."""
    return ("scene",) if len({score.scene for score in scores}) > 1 else ("view",)


def _units(scores: Sequence[Score]) -> list[tuple[str, Score]]:
    (unit,) = unit_of(scores)
    return [(str(getattr(score, unit)), score) for score in scores]


def table(scores: Sequence[Score]) -> str:
    """Markdown: PSNR and brightness of every method."""
    lines = ["| method | PSNR, dB | brightness beside the reference |", "| --- | --- | --- |"]
    for method in dict.fromkeys(score.method for score in scores):
        quality, brightness = (mean_of(scores, [method], metric) for metric in ("psnr", "brightness"))
        lines.append(f"| {method} | {quality} | {brightness:.3f} |")
    return "\n".join(lines)
