"""What a run left to be read, of any domain and wherever it lies: nothing is built of it, no library loaded."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_n2n.durable import is_held, read_json
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.run_files import (
    EVALUATION,
    FORMAT,
    METRICS,
    NETWORK,
    RUN,
    TRACKING,
    ScoreTable,
    called,
    family_of,
    parameters_of,
    run_name,
)

Curve = Sequence[tuple[int, float]]
"""Every (step, value) of a metric."""


@dataclass(frozen=True)
class Scores:
    """One method's scores, image by image.

    images: what tells them. Of each, units: what intervals are drawn over; sets: the test set, "" where there is one.
    """

    images: tuple[str, ...]
    units: tuple[str, ...]
    metrics: Mapping[str, NDArray[np.float64]]
    sets: tuple[str, ...]

    def of_set(self, name: str) -> "Scores":
        """The scores on one test set."""
        rows = [row for row, own in enumerate(self.sets) if own == name]
        return Scores(
            tuple(self.images[row] for row in rows),
            tuple(self.units[row] for row in rows),
            {metric: values[rows] for metric, values in self.metrics.items()},
            (name,) * len(rows),
        )


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: scores by method; result: the run's own; tested_on: fingerprint of the images, and their noise.

    weights: the SHA-256 of the network's weights that were scored. means: by method/metric, as MLflow has them.
    """

    methods: Mapping[str, Scores]
    result: str
    tested_on: Mapping[str, str]
    interval: str
    label: str
    weights: str | None = None
    means: Mapping[str, float] = field(default_factory=dict)

    @property
    def sets(self) -> list[str]:
        """The test sets, in order."""
        return list(dict.fromkeys(self.methods[self.result].sets))


@dataclass(frozen=True)
class RunRecord:
    """A run as it is compared. place: where it was read; status: MLflow's word for where the run is.

    weights: the SHA-256 of its network's weights, if they are here. family: the experiment, or the run under several
    seeds, that it is of.
    """

    name: str
    place: str
    domain: str
    status: str
    steps: tuple[int, int]
    parameters: Mapping[str, str]
    curves: Mapping[str, Curve]
    evaluated: Evaluated | None = None
    directory: Path | None = None
    run_id: str | None = None
    weights: str | None = None
    family: str = ""

    @property
    def called(self) -> str:
        """What finds it again: its place under runs/, or wherever it is; MLflow's name."""
        return self.name if self.directory is None else called(self.directory)

    @property
    def stale(self) -> bool:
        """Whether it was trained on after it had been scored."""
        scored = self.evaluated.weights if self.evaluated is not None else None
        return scored is not None and self.weights is not None and scored != self.weights

    @property
    def unended(self) -> bool:
        """Whether it has steps to go."""
        return self.steps[0] < self.steps[1]

    @property
    def seconds(self) -> float:
        """Time spent training, without evaluations."""
        return sum(value for _, value in self.curves.get("seconds", ()))

    @property
    def evaluation_seconds(self) -> float | None:
        """Time spent on evaluations while it was trained; None where that was not recorded."""
        found = self.curves.get("evaluation_seconds")
        return sum(value for _, value in found) if found else None

    @property
    def cut(self) -> bool:
        """Whether its curves end before it did: its record was damaged."""
        last = max((curve[-1][0] for curve in self.curves.values()), default=0)
        return self.status == "FINISHED" and last < self.steps[0]

    @property
    def images_per_second(self) -> float | None:
        """The median speed of training."""
        speeds = [value for _, value in self.curves.get("images_per_second", ())]
        return float(np.median(speeds)) if speeds else None


def read_run(directory: Path) -> RunRecord:
    """Read a run directory. Raises `UsageError` where it is none of ours, or damaged."""
    content = _described(directory)
    network, state = directory / NETWORK, directory / TRACKING
    try:
        parameters = parameters_of(content)
        wanted = int(content["recipe"]["optimisation"]["steps"])
        domain = str(content.get("domain", "MRI"))
        described = read_json(network, "network description") if network.exists() else {}
        done, weights = int(described.get("step") or 0), described.get("sha256")
        run_id = str(read_json(state, "tracking state")["run_id"]) if state.exists() else None
    except UNREADABLE as error:
        raise UsageError(f"{directory} is not a run of this program, or damaged ({one_line(error)}).") from None
    return RunRecord(
        name=run_name(directory),
        place=str(directory),
        domain=domain,
        status=_status(directory, done, wanted),
        steps=(done, wanted),
        parameters=parameters,
        curves=read_curves(directory / METRICS),
        evaluated=read_evaluation(directory / EVALUATION),
        directory=directory,
        run_id=run_id,
        weights=weights,
        family=family_of(directory),
    )


def _described(directory: Path) -> dict[str, Any]:
    content = read_json(directory / RUN, "run description")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{directory} is not a run of this program, or one of another version.")
    return content


def _status(directory: Path, done: int, wanted: int) -> str:
    if done >= wanted:
        return "FINISHED"
    return "RUNNING" if is_held(directory) else "KILLED"


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves in a metrics.jsonl; none where there is no such file. A last line that was not ended is left out."""
    if not path.exists():
        return {}
    curves: dict[str, list[tuple[int, float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for line in lines:
            if not line.endswith("\n"):
                break  # it is being written
            entry = json.loads(line)
            step = int(entry["step"])
            for name, value in entry.items():
                if name not in ("step", "time"):
                    curves.setdefault(name, []).append((step, _finite(value)))
    except UNREADABLE as error:
        raise UsageError(f"cannot read the metrics {path} ({one_line(error)}): it is damaged.") from None
    return dict(curves)


def read_evaluation(folder: Path) -> Evaluated | None:
    """The evaluation in a folder; None where there is none."""
    path = folder / "summary.json"
    if not path.exists():
        return None
    summary = read_json(path, "evaluation summary")
    if not isinstance(summary, dict) or "scores" not in summary:
        return None  # by an earlier version, which did not say what its scores are of
    try:
        table = ScoreTable(**{name: _tuple(value) for name, value in summary["scores"].items()})
        text = (folder / Path(table.file).name).read_text(encoding="utf-8")
        return evaluation_of(summary, table, text)
    except (csv.Error, *UNREADABLE) as error:
        raise UsageError(f"cannot read the scores in {folder} ({one_line(error)}). Evaluate the run again.") from None


def evaluation_of(summary: Mapping[str, Any], table: ScoreTable, text: str) -> Evaluated:
    """An evaluation, given its summary and the CSV of its scores."""
    rows = list(csv.reader(io.StringIO(text)))
    columns = {name: place for place, name in enumerate(rows[0])}
    image, unit = ([columns[name] for name in names] for names in (table.image, table.unit))
    by_method: dict[str, list[list[str]]] = {}
    for row in rows[1:]:
        by_method.setdefault(row[columns["method"]], []).append(row)
    methods = {
        method: Scores(
            tuple("/".join(row[place] for place in image) for row in own_rows),
            tuple("/".join(row[place] for place in unit) for row in own_rows),
            {name: np.array([_finite(row[columns[name]]) for row in own_rows]) for name in table.metrics},
            tuple(row[columns["set"]] if "set" in columns else "" for row in own_rows),
        )
        for method, own_rows in by_method.items()
    }
    for method, scores in methods.items():
        if len(set(scores.images)) < len(scores.images):
            raise ValueError(f"{method!r} has an image twice")
    if table.result not in methods:
        raise ValueError(f"no scores of {table.result!r}")
    tested_on = {"images": str(summary["tested_on"])}
    if "noise" in summary:
        tested_on["noise"] = json.dumps(summary["noise"], sort_keys=True)
    label, weights = str(summary.get("label", "")), summary.get("weights_sha256")
    means = {
        f"{method}/{metric}": float(value["mean"])
        for method, metrics in summary.get("methods", {}).items()
        for metric, value in metrics.items()
    }
    _check_means(methods, means)
    return Evaluated(methods, table.result, tested_on, str(summary["interval"]), label, weights, means)


def _check_means(methods: Mapping[str, Scores], means: Mapping[str, float]) -> None:
    """Raise `ValueError` where the scores are not those that have the stated means: a table may have lost lines."""
    for method, scores in methods.items():
        for name in dict.fromkeys(scores.sets):
            for metric, values in scores.of_set(name).metrics.items():
                stated = means.get("/".join(filter(None, (method, name, metric))))
                if stated is not None and not math.isclose(values.mean(), stated, rel_tol=1e-6, abs_tol=1e-6):
                    raise ValueError(f"{method}'s {metric} is {values.mean():.4f} and not {stated:.4f}")


def _finite(text: str | float) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"a value is {text}")
    return value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
