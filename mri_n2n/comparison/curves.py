"""How training went: the last and the best validation PSNR of a run, with the intervals that it recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mri_n2n.comparison.arms import Arm
from mri_n2n.comparison.records import Curve, RunRecord
from mri_n2n.intervals import Estimate, over_seeds

PSNR = "validation/psnr/"
FLOWN = "online/psnr/"  # of a training in flight
LOW, HIGH = "validation/psnr_low/", "validation/psnr_high/"


@dataclass(frozen=True)
class Milestone:
    """The validation PSNR in dB of an arm's run at its end and at its best, and the step of that: means over seeds.

    Intervals are over seeds; of a single run as it recorded them, over images. seeds: every seed's last value.
    """

    arm: str
    method: str
    final: Estimate
    best: Estimate
    best_step: float
    seeds: tuple[float, ...]


def watched(run: RunRecord) -> str | None:
    """The method whose validation PSNR is the run's own: the last one that was recorded; None where none was."""
    names = [name.removeprefix(prefix) for prefix in (FLOWN, PSNR) for name in run.curves if name.startswith(prefix)]
    if run.evaluated is not None and run.evaluated.result in names:
        return run.evaluated.result
    return names[-1] if names else None


def course(run: RunRecord, method: str) -> Curve:
    """A method's validation PSNR while the run was trained, or in flight."""
    return run.curves.get(PSNR + method) or run.curves[FLOWN + method]


def milestones(arms: Sequence[Arm]) -> list[Milestone]:
    """The milestones of every arm whose runs all recorded a validation PSNR."""
    return [found for arm in arms for found in _of_arm(arm)]


def _of_arm(arm: Arm) -> Iterator[Milestone]:
    methods = [watched(run) for run in arm.runs]
    method = methods[0]
    if method is None or set(methods) != {method}:
        return
    curves = [course(run, method) for run in arm.runs]
    lasts = [curve[-1] for curve in curves]
    bests = [max(curve, key=lambda point: point[1]) for curve in curves]
    yield Milestone(
        arm.name,
        method,
        _estimate(arm, method, lasts),
        _estimate(arm, method, bests),
        float(np.mean([step for step, _ in bests])),
        tuple(value for _, value in lasts),
    )


def _estimate(arm: Arm, method: str, points: Sequence[tuple[int, float]]) -> Estimate:
    if len(points) > 1:
        return over_seeds([value for _, value in points])
    ((step, value),) = points
    low, high = (_at(arm.runs[0].curves.get(prefix + method, ()), step) for prefix in (LOW, HIGH))
    return Estimate(value, low, high)


def _at(curve: Curve, step: int) -> float | None:
    return dict(curve).get(step)
