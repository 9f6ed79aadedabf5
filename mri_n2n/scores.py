"""Scores of reconstructions: means and intervals over subjects, as a table and as files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mri_n2n.durable import write_csv, write_json
from mri_n2n.intervals import Estimate, estimate
from mri_n2n.metrics import nmse, psnr, ssim

METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"psnr": psnr, "ssim": ssim, "nmse": nmse}


@dataclass(frozen=True)
class Score:
    """One method on one slice. row: the slice's place in the prepared data. psnr in dB, ssim and nmse without unit.

    Where there is no reference, psnr is estimated from held-out samples, and the others are not known.
    """

    subject: str
    row: int
    slice: int
    method: str
    psnr: float
    ssim: float | None = None
    nmse: float | None = None


def summarised(scores: Sequence[Score]) -> dict[str, dict[str, Estimate]]:
    """Per method and metric: mean over slices and 95 % interval over subjects."""
    methods = dict.fromkeys(score.method for score in scores)
    return {
        method: {
            metric: estimate([(s.subject, getattr(s, metric)) for s in scores if s.method == method])
            for metric in known_metrics(scores)
        }
        for method in methods
    }


def known_metrics(scores: Sequence[Score]) -> list[str]:
    """The metrics that these scores have."""
    return [metric for metric in METRICS if getattr(scores[0], metric) is not None]


def differences(scores: Sequence[Score], pairs: Sequence[tuple[str, str]], metric: str = "psnr") -> Estimate:
    """First minus second method of each pair, slice by slice, all pairs pooled, with its interval over subjects."""
    known = {(score.method, score.row): getattr(score, metric) for score in scores}
    subjects = {score.row: score.subject for score in scores}
    values = [(subjects[row], known[first, row] - known[second, row]) for first, second in pairs for row in subjects]
    return estimate(values)


def as_metrics(estimates: Mapping[str, Estimate], metric: str = "psnr") -> dict[str, float]:
    """A metric of several methods for a learning curve: validation/psnr/<method>, and where there is an interval its
    ends, validation/psnr_low/<method> and validation/psnr_high/<method>."""
    points: dict[str, float | None] = {}
    for method, own in estimates.items():
        for end, value in (("", own.mean), ("_low", own.low), ("_high", own.high)):
            points[f"validation/{metric}{end}/{method}"] = value
    return {name: value for name, value in points.items() if value is not None}


def table(scores: Sequence[Score]) -> str:
    """The summary as text: one line per method, 95 % intervals in brackets."""
    summary = summarised(scores)
    if known_metrics(scores) == ["psnr"]:
        heading, width = "PSNR dB on held-out samples [95 %]", 26
        return "\n".join([f"{'':{width}}{heading}", *(f"{name:{width}}{own['psnr']}" for name, own in summary.items())])
    lines = [f"{'':26}{'PSNR dB [95 %]':26}{'SSIM [95 %]':30}NMSE [95 %]"]
    for method, metrics in summary.items():
        quality, similarity, error = metrics["psnr"], metrics["ssim"], metrics["nmse"]
        lines.append(f"{method:26}{f'{quality}':26}{f'{similarity:.4f}':30}{error:.4f}")
    return "\n".join(lines)


def write_scores(directory: Path, scores: Sequence[Score], about: Mapping[str, Any]) -> None:
    """Write slices.csv, subjects.csv and summary.json (with `about`) into `directory`."""
    write_csv(directory / "slices.csv", [asdict(score) for score in scores])
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.subject, score.method), []).append(score)
    rows = [
        {"subject": subject, "method": method, "slices": len(group)}
        | {metric: float(np.mean([getattr(score, metric) for score in group])) for metric in known_metrics(scores)}
        for (subject, method), group in groups.items()
    ]
    write_csv(directory / "subjects.csv", rows)
    methods = {
        method: {metric: asdict(value) for metric, value in metrics.items()}
        for method, metrics in summarised(scores).items()
    }
    counts = {
        "subjects": len({score.subject for score in scores}),
        "slices": len({score.row for score in scores}),
    }
    write_json(
        directory / "summary.json", {**about, **counts, "interval": "95 % bootstrap over subjects", "methods": methods}
    )
