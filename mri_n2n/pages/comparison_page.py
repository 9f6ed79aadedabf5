"""The page of a comparison: runs side by side, from the JSON that `runs compare` wrote."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mri_n2n.comparison.arms import SEED, Arm
from mri_n2n.comparison.compared import Comparison, Cost, Scored
from mri_n2n.comparison.curves import Milestone, course, watched
from mri_n2n.comparison.paired import Difference, Quality
from mri_n2n.comparison.records import Curve, RunRecord
from mri_n2n.comparison.tables import FORMAT, as_json, headlines, tables_of
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.illustrations import Illustration
from mri_n2n.intervals import Estimate
from mri_n2n.pages.page import rendered
from mri_n2n.pages.pictures import example_of, heat_scale
from mri_n2n.pages.run_charts import Chart, compared_curves, compared_units
from mri_n2n.pages.side_by_side import MOST, side_by_side


def page_of_runs(comparison: Comparison, method: str | None = None) -> str:
    """The page of runs that are compared by `method` (each run's result), with images where they stored some."""
    return comparison_page(as_json(comparison), "the comparison", side_by_side(comparison.arms, method))


def comparison_page(content: Any, name: str, examples: Sequence[Illustration] = ()) -> str:
    """The page of a comparison as HTML. content: of its JSON file; name: the file's; examples: images by all its runs.

    Raises `UsageError` for anything else.
    """
    try:
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        if str(content["format"]).startswith("mri-n2n run"):
            raise UsageError(f"{name} is the record of a run. Report the folder that it is in.")
        if content["format"] != FORMAT:
            raise ValueError("it is of another version")
        comparison = _comparison(content)
        tables = tables_of(comparison)
        charts = _curves(comparison)
        units = [chart for place, scored in enumerate(comparison.scored) for chart in _units(f"units{place}", scored)]
    except UNREADABLE as error:
        raise UsageError(
            f"{name} is no comparison ({one_line(error)}). Make one: mri-n2n runs compare RUN RUN --output FILE.json"
        ) from None
    label, *notes = headlines(comparison)
    page = {
        "title": " · ".join(arm.name for arm in comparison.arms),
        "kind": "A comparison of runs",
        "label": label,
        "states": notes,
        "refresh": None,
        "sections": [
            ("tables", "Tables"),
            *([("examples", "Images")] if examples else []),
            *([("charts", "Learning curves")] if charts else []),
            *([("units", "Distribution")] if units else []),
        ],
        "shown": " ".join(_shown(comparison.arms)),
        "examples": [example_of(one) for one in examples],
        "heat_scale": heat_scale() if examples else None,
        "tables": tables,
        "charts": charts,
        "units": units,
    }
    return rendered("comparison.html", page)


def _curves(comparison: Comparison) -> list[Chart]:
    validation: dict[str, Curve] = {}
    losses: dict[str, Curve] = {}
    for arm in comparison.arms:
        for run, seed in zip(arm.runs, arm.seeds, strict=True):
            title = arm.name if len(arm.runs) == 1 else f"{arm.name}, seed {seed}"
            method = watched(run)
            if method is not None:
                validation[title] = course(run, method)
            if "loss" in run.curves:
                losses[title] = run.curves["loss"]
    return compared_curves(validation, losses)


def _shown(arms: Sequence[Arm]) -> Iterator[str]:
    """What must be known of the images."""
    if len(arms) > 1 and any(len(arm.runs) > 1 for arm in arms):
        yield "Of several seeds these are the images of the first one."
    if len(arms) > MOST:
        yield f"They are of the first {MOST} of {len(arms)}."


def _units(name: str, scored: Scored) -> list[Chart]:
    means = {quality.arm: quality.value for quality in scored.qualities if quality.metric == "psnr"}
    return compared_units(name, scored.set, scored.by_unit.get("psnr", {}), means)


def _comparison(content: Mapping[str, Any]) -> Comparison:
    """What `as_json` described, as far as a page shows it."""
    return Comparison(
        arms=tuple(Arm(str(arm["name"]), tuple(_run(run) for run in arm["runs"])) for arm in content["arms"]),
        parameters={str(name): tuple(map(str, values)) for name, values in content["parameters"].items()},
        scored=tuple(_scored(own) for own in content["scored"]),
        milestones=tuple(_milestone(**own) for own in content["milestones"]),
        costs=tuple(Cost(**own) for own in content["costs"]),
        interval=str(content["interval"]),
        label=str(content["label"]),
        notes=tuple(map(str, content["notes"])),
    )


def _scored(content: Mapping[str, Any]) -> Scored:
    return Scored(
        set=str(content["set"]),
        images=int(content["images"]),
        units=int(content["units"]),
        qualities=tuple(_quality(**own) for own in content["qualities"]),
        references=tuple(_quality(**own) for own in content["references"]),
        differences=tuple(_difference(**own) for own in content["differences"]),
        by_unit={
            str(metric): {str(arm): tuple(map(float, values)) for arm, values in own.items()}
            for metric, own in content["by_unit"].items()
        },
    )


def _run(run: Mapping[str, Any]) -> RunRecord:
    curves = {str(name): [(int(step), float(value)) for step, value in own] for name, own in run["curves"].items()}
    seed = {SEED: str(run["seed"])}
    return RunRecord(str(run["name"]), "", str(run["domain"]), str(run["status"]), (0, 0), seed, curves)


def _quality(arm: str, metric: str, value: Mapping[str, Any], seeds: Sequence[float]) -> Quality:
    return Quality(arm, metric, Estimate(**value), tuple(seeds))


def _difference(value: Mapping[str, Any], seeds: Sequence[float], **rest: Any) -> Difference:
    return Difference(value=Estimate(**value), seeds=tuple(seeds), **rest)


def _milestone(final: Mapping[str, Any], best: Mapping[str, Any], seeds: Sequence[float], **rest: Any) -> Milestone:
    return Milestone(final=Estimate(**final), best=Estimate(**best), seeds=tuple(seeds), **rest)
