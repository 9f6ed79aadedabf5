"""The page of a run: made from its directory alone, needing neither its data nor its network."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from mri_n2n.comparison.records import Curve
from mri_n2n.comparison.tables import heading_of
from mri_n2n.errors import UsageError, one_line
from mri_n2n.evaluation import CONSISTENT, TERMS, label_in
from mri_n2n.illustrations import IllustratedVolume, Illustration, read_illustrations, read_volume
from mri_n2n.intervals import Estimate, caveat
from mri_n2n.pages.page import Picture, data_uri, rendered
from mri_n2n.pages.pictures import example_of, heat_scale
from mri_n2n.pages.record import Evaluation, curves_of, last_step, stored_evaluation
from mri_n2n.pages.run_charts import distributions_of, learning_curves, validation_of
from mri_n2n.pictures import decoded_size
from mri_n2n.progress import spoken
from mri_n2n.run_directory import Run
from mri_n2n.run_files import called, sentence

REPORT = "report.html"
REFRESH = 10  # seconds after which the page of a run that is being trained is read again
PRINTED = 3  # slices of the volume that are seen on paper


def run_page(
    run: Run, live: Sequence[Illustration] | None = None, status: str | None = None, step: int | None = None
) -> str:
    """The page of `run` as HTML.

    live: the examples of this moment, while it is being trained; status: RUNNING, for a page that refreshes itself, or
    how the training ended; step: that the examples are of. Without them it is what the directory holds. Raises
    `UsageError` for a run without metrics and for damaged files.
    """
    known = curves_of(run)
    evaluation = None if live is not None else stored_evaluation(run)
    folder = run.directory / "evaluation"
    shown = live if live is not None else read_illustrations(folder)
    stored = read_volume(folder) if live is None else None
    drawn = [] if shown else _drawn(run)
    examples = [example_of(one) for one in shown]
    distributions = distributions_of(run.domain.unit, evaluation)
    learning = learning_curves(known)
    content = {
        "title": run.name,
        "kind": f"A run on {run.domain.name}",
        "label": _label(run, evaluation),
        "states": _states(run, known, evaluation, status, illustrated=bool(shown)),
        "refresh": REFRESH if status == "RUNNING" else None,
        "sections": _sections(curves=learning, distribution=distributions, examples=examples or drawn, volume=stored),
        "figures": _figures(run, known, evaluation, shown[0].before if shown else None),
        "summary": _summary(run, evaluation),
        "curves": learning,
        "distributions": distributions,
        "unit": run.domain.unit,
        "examples": examples,
        "step": step if examples else None,
        "heat_scale": heat_scale() if examples else None,
        "drawn": drawn,
        "volume": None if stored is None else _volume(stored),
        "parameters": [(key, value) for key, value in run.parameters().items() if not key.startswith("environment.")],
        "provenance": _provenance(run, evaluation),
        "next": _next(run, known, evaluation, status),
    }
    return rendered("run.html", content)


def _label(run: Run, evaluation: Evaluation | None) -> str:
    label = str(evaluation.about.get("label", "")) if evaluation is not None else ""
    return sentence(label or label_in(run.domain, run.recipe))


def _states(
    run: Run, known: Mapping[str, Curve], evaluation: Evaluation | None, status: str | None, *, illustrated: bool
) -> list[str]:
    done, steps = last_step(known), run.recipe.optimisation.steps
    lines = []
    if status == "RUNNING":
        lines.append(
            f"Being trained: step {done} of {steps} at {datetime.now():%H:%M:%S}. This page refreshes itself every "
            f"{REFRESH} seconds. If that time no longer moves, the training was cut off (mri-n2n runs list)."
        )
    elif status is not None:
        lines.append(f"Training {'has ended' if status == 'FINISHED' else 'was stopped'}: step {done} of {steps}.")
    elif done < steps:
        lines.append(f"The run is not finished: {done} of {steps} steps.")
    if evaluation is not None and _stale(run, evaluation):
        lines.append(
            "The network has changed since it was evaluated: scores and examples are of other weights. Evaluate it "
            "again, with --overwrite."
        )
    if status is None and evaluation is None:
        lines.append("Not evaluated yet: scores, and pictures to compare, come with an evaluation (see below).")
    elif status is None and not illustrated:
        lines.append(
            "Evaluated by a version that stored no examples. For pictures to compare evaluate the run again, with "
            "--overwrite, and report it again."
        )
    return lines


def _stale(run: Run, evaluation: Evaluation) -> bool:
    """Whether the evaluation is known to be of other weights than the run now has."""
    scored = evaluation.about.get("weights_sha256")
    present = run.identity()["weights_sha256"] if run.network_path.exists() else None
    return None not in (scored, present) and scored != present


def _sections(**there: Any) -> list[tuple[str, str]]:
    names = {"curves": "Learning curves", "distribution": "Distribution", "examples": "Examples", "volume": "Volume"}
    middle = [(anchor, name) for anchor, name in names.items() if there[anchor]]
    ends = [("parameters", "Parameters"), ("provenance", "Provenance"), ("next", "Next")]
    return [("summary", "Summary"), *middle, *ends]


def _figures(
    run: Run, known: Mapping[str, Curve], evaluation: Evaluation | None, before: str | None
) -> list[tuple[str, str]]:
    """The few numbers that a reader wants first, each with what it is."""
    found = []
    if evaluation is not None:
        methods = list(evaluation.estimates)
        first, last = before if before in methods else methods[0], methods[-1]
        metric = next((name for name in evaluation.estimates[last] if name.endswith("psnr")), None)
        if metric is not None:
            value = evaluation.estimates[last][metric].mean
            where = f" on {metric.removesuffix('/psnr')}" if "/" in metric else ""
            found.append((f"PSNR of {last}{where}", f"{value:.2f} dB"))
            if metric in evaluation.estimates[first] and first != last:
                gain = value - evaluation.estimates[first][metric].mean
                found.append((f"against {first}", f"{gain:+.2f} dB"))
    else:
        validation = validation_of(known)
        if validation:
            method, points = list(validation.items())[-1]
            found.append((f"PSNR of {method} while training", f"{points[-1][1]:.2f} dB"))
            first, its_points = next(iter(validation.items()))
            if first != method:
                found.append((f"against {first}", f"{points[-1][1] - its_points[-1][1]:+.2f} dB"))
    found.append((f"of {run.recipe.optimisation.steps:,} steps", f"{last_step(known):,}"))
    if "seconds" in known:
        found.append(("spent on training", spoken(sum(value for _, value in known["seconds"]))))
    if "images_per_second" in known:
        speed = median(value for _, value in known["images_per_second"])
        found.append(("images a second (median)", f"{speed:.3g}"))
    return found


def _summary(run: Run, evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    metrics = list(dict.fromkeys(metric for own in evaluation.estimates.values() for metric in own))
    rows = [
        {"method": method, "cells": [_cell(metric, own.get(metric)) for metric in metrics]}
        for method, own in evaluation.estimates.items()
    ]
    count = next((evaluation.about[name] for name in ("slices", "images", "views") if name in evaluation.about), None)
    unit = "slices" if "slices" in evaluation.about else f"{run.domain.unit}s"
    counted = "" if count is None else f"Means over {count} {unit}. "
    methods = evaluation.estimates if CONSISTENT in evaluation.estimates else ()  # elsewhere a network is another thing
    interval = evaluation.about.get("interval", "95 % intervals")
    caveats = dict.fromkeys(map(caveat, evaluation.units.values()))
    return {
        "metrics": [_metric(metric) for metric in metrics],
        "rows": rows,
        "terms": [(name, TERMS[name]) for name in (*methods, *map(_metric, metrics)) if name in TERMS],
        "about": " ".join(filter(None, (f"{counted}Brackets: {interval}.", *caveats))),
    }


def _metric(name: str) -> str:
    group, _, metric = name.rpartition("/")
    said = heading_of(metric)
    return f"{group}: {said}" if group else said


def _cell(metric: str, value: Estimate | None) -> tuple[str, str]:
    if value is None:
        return "", ""
    spec = ".2f" if metric.endswith("psnr") else ".4f"
    if value.low is None or value.high is None:
        return f"{value.mean:{spec}}", ""
    return f"{value.mean:{spec}}", f"[{value.low:{spec}}, {value.high:{spec}}]"


def _volume(volume: IllustratedVolume) -> dict[str, Any]:
    width, height = decoded_size(next(iter(volume.pictures.values()))[0], "webp")
    sources = {method: [data_uri(one, "webp") for one in own] for method, own in volume.pictures.items()}
    count = len(volume.slices)

    def picture(method: str, place: int) -> Picture:
        return Picture(sources[method][place], width, height, f"{method}, slice {volume.slices[place]}")

    places = sorted({round(count * (number + 0.5) / PRINTED - 0.5) for number in range(PRINTED)})
    return {
        "slices": list(volume.slices),
        "pictures": list(sources.values()),
        "middle": {method: picture(method, count // 2) for method in sources},
        "printed": [[picture(method, place) for method in sources] for place in places],
        "about": f"{volume.title}: {count} slices from {volume.slices[0]} to {volume.slices[-1]}, all on one scale, "
        "compressed with a little loss.",
    }


def _drawn(run: Run) -> list[tuple[str, Picture]]:
    """The pictures that were drawn while training, the latest one: for a run that stored no others."""
    path = max((run.directory / "examples").glob("step-*.png"), key=_step, default=None)
    if path is None:
        return []
    try:
        content = path.read_bytes()
        width, height = decoded_size(content, "png")
    except (OSError, ValueError) as error:
        raise _no_picture(path, error) from None
    caption = f"Drawn after {_step(path)} steps of training"
    return [(caption, Picture(data_uri(content, "png"), width, height, f"{caption}: examples by every method"))]


def _step(path: Path) -> int:
    try:
        return int(path.stem.removeprefix("step-"))
    except ValueError as error:
        raise _no_picture(path, error) from None


def _no_picture(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is no picture of a training ({one_line(error)}). Delete it, and report the run again.")


def _provenance(run: Run, evaluation: Evaluation | None) -> list[tuple[str, str]]:
    facts = {f"trained with: {key}": value for key, value in run.environment.items()}
    facts["data, fingerprint"] = str(run.data["fingerprint"])
    about = evaluation.about if evaluation else run.provenance() if run.network_path.exists() else {}
    named = {
        "evaluated_on": "evaluated on, fingerprint",
        "tested_on": "evaluated on, fingerprint",
        "weights_sha256": "weights, SHA-256",
        "recipe_sha256": "recipe, SHA-256",
        "step": "step of the weights",
        "mlflow_run_id": "MLflow run",
    }
    facts |= {name: str(about[key]) for key, name in named.items() if about.get(key) is not None}
    environment = about.get("environment", {})
    machine = [key for key in ("device", "hardware", "commit", "mri-n2n") if key in environment]
    facts |= {f"evaluated with: {key}": str(environment[key]) for key in machine}
    return list(facts.items())


def _next(run: Run, known: Mapping[str, Curve], evaluation: Evaluation | None, status: str | None) -> dict[str, str]:
    place = called(run.directory)
    command, name = run.command, shlex.quote(run.directory.name if Path(place).is_absolute() else place)
    if status == "RUNNING":
        return {"why": "While it is being trained, compare it with others:", "command": "mri-n2n runs ui"}
    if last_step(known) < run.recipe.optimisation.steps:
        return {"why": "Go on with the training:", "command": f"{command} train --resume {name}"}
    if evaluation is None:
        return {
            "why": "Score it on images it never saw:",
            "command": f"{command} evaluate {name} {run.domain.examined}",
        }
    simulate = " --simulate" if run.data.get("kind") == "images" else ""  # k-space of volumes comes from nowhere else
    return {"why": "Use it:", "command": f"{command} {run.domain.use.format(run=name)}{simulate}"}


def report_path(run: Run) -> Path:
    """Where the page of a run is, unless another place is asked for."""
    return run.directory / REPORT
