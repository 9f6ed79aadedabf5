"""What a run directory says of a run: its metrics, its scores, and what its evaluation shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mri_n2n.comparison.records import Curve, Scores, read_curves, read_evaluation
from mri_n2n.durable import read_json
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.intervals import Estimate, by_subject
from mri_n2n.recipes import MRI
from mri_n2n.run_directory import Run
from mri_n2n.run_files import EVALUATION, METRICS, SUMMARY


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as it was stored. estimates: by method and metric; psnr: by set (one, unless of photographs) and
    method the values of every subject, image or view; units: by set over how many subjects, images or scenes the
    intervals are."""

    about: Mapping[str, Any]
    estimates: Mapping[str, Mapping[str, Estimate]]
    psnr: Mapping[str, Mapping[str, list[float]]]
    units: Mapping[str, int]


def curves_of(run: Run) -> dict[str, Curve]:
    """Every metric that was recorded, as (step, value). Raises `UsageError` where there is none yet."""
    found = read_curves(run.directory / METRICS)
    if not found:
        raise UsageError(
            f"{run.directory} has no metrics yet. Train it first: {run.command} train --resume {run.directory}"
        )
    return found


def last_step(known: Mapping[str, Curve]) -> int:
    """The last step of which anything is known."""
    return max(points[-1][0] for points in known.values())


def stored_evaluation(run: Run) -> Evaluation | None:
    """The run's evaluation, if there is one. Raises `UsageError` for damaged files."""
    folder = run.directory / EVALUATION
    if not (folder / SUMMARY.name).exists():
        return None
    about = read_json(folder / SUMMARY.name, "summary of the evaluation")
    try:
        estimates = {
            str(method): {str(metric): _estimate(**value) for metric, value in metrics.items()}
            for method, metrics in about["methods"].items()
        }
    except UNREADABLE as error:
        raise UsageError(
            f"cannot read {folder} ({one_line(error)}): it is damaged. Evaluate the run again, with --overwrite."
        ) from None
    psnr: dict[str, dict[str, list[float]]] = {}
    if (scored := read_evaluation(folder)) is not None:
        for name in scored.sets:
            psnr[name] = {
                method: _each(scores.of_set(name), by_unit=run.domain.name == MRI.name)
                for method, scores in scored.methods.items()
            }
    units = {name: len(set(scored.methods[scored.result].of_set(name).units)) for name in psnr} if scored else {}
    return Evaluation(about, estimates, psnr, units)


def _each(scores: Scores, *, by_unit: bool) -> list[float]:
    """The PSNR of every image, or of every unit: its mean."""
    values = scores.metrics["psnr"]
    sums, counts = by_subject(scores.units if by_unit else scores.images, values[:, None])
    return [float(value) for value in sums[:, 0] / counts]


def _estimate(mean: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(float(mean), None if low is None else float(low), None if high is None else float(high))
