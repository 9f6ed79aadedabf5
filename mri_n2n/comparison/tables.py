"""A comparison as tables: for a terminal, Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mri_n2n.comparison.arms import Arm
from mri_n2n.comparison.compared import Comparison, Scored
from mri_n2n.comparison.curves import FLOWN, PSNR
from mri_n2n.comparison.paired import Difference, Quality
from mri_n2n.comparison.records import Curve, RunRecord
from mri_n2n.intervals import Estimate, caveat
from mri_n2n.run_files import sentence

FORMAT = "mri-n2n comparison 2"
HEADINGS = {"psnr": "PSNR, dB", "ssim": "SSIM", "nmse": "NMSE", "brightness": "brightness"}
DIGITS = {"psnr": 2}
FEW = 5  # units over which p cannot fall below 0.05, whatever is found
POINTS = 200  # of a curve that are kept
CURVES = ("loss", PSNR, FLOWN)
COLUMNS = ("run", "what", "metric", "set", "beside", "mean", "low", "high", "p")


@dataclass(frozen=True)
class Table:
    """A table of texts. note: what must be known to read it."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables_of(comparison: Comparison) -> list[Table]:
    """The tables of a comparison; those that would be empty are left out."""
    made = [
        _parameters(comparison),
        *(_qualities(comparison, scored) for scored in comparison.scored),
        *(_differences(scored) for scored in comparison.scored),
        _milestones(comparison),
        _costs(comparison),
    ]
    return [table for table in made if table.rows]


def headlines(comparison: Comparison) -> list[str]:
    """What must be known to read a comparison: its label, and its notes."""
    return [sentence(comparison.label), *comparison.notes]


def _parameters(comparison: Comparison) -> Table:
    arms, parameters = comparison.arms, comparison.parameters
    if len(parameters) >= len(arms):
        rows = tuple((name, *values) for name, values in parameters.items())
        return Table("What differs", ("parameter", *(arm.name for arm in arms)), rows)
    columns = zip(*parameters.values(), strict=True) if parameters else ()
    rows = tuple((arm.name, *values) for arm, values in zip(arms, columns, strict=False))
    return Table("What differs", ("run", *parameters), rows)


def titled(title: str, test_set: str) -> str:
    """The title of a table on one of several test sets."""
    return f"{title}: {test_set}" if test_set else title


def _qualities(comparison: Comparison, scored: Scored) -> Table:
    metrics = tuple(dict.fromkeys(quality.metric for quality in scored.qualities))
    several = _several(comparison)
    rows = [_quality_row(name, metrics, scored.references, None) for name in _names(scored.references)]
    rows += [
        _quality_row(arm.name, metrics, scored.qualities, arm if several else None)
        for arm in comparison.arms
        if arm.name in _names(scored.qualities)
    ]
    heading = ("run", *(heading_of(metric) for metric in metrics), *(("seeds, dB",) if several else ()))
    images = f"{scored.images} images. " if scored.images else ""
    said = (
        f"{images}Brackets: {comparison.interval}.",
        "Means over seeds; seeds: each one's mean." if several else "",
        caveat(scored.units),
    )
    note = " ".join(filter(None, said))
    return Table(titled("Scores", scored.set), heading, tuple(_filled(row, len(heading)) for row in rows), note)


def _quality_row(name: str, metrics: Sequence[str], qualities: Sequence[Quality], arm: Arm | None) -> tuple[str, ...]:
    own = {quality.metric: quality for quality in qualities if quality.arm == name}
    cells = [told(own[metric].value, metric) if metric in own else "" for metric in metrics]
    seeds = [_range(own["psnr"].seeds)] if arm is not None and "psnr" in own else []
    return (name, *cells, *seeds)


def _differences(scored: Scored) -> Table:
    found = scored.differences
    metrics = tuple(dict.fromkeys(difference.metric for difference in found))
    several = any(difference.metric == "psnr" and len(difference.seeds) > 1 for difference in found)
    rows = []
    for name in dict.fromkeys(difference.arm for difference in found):
        own = {difference.metric: difference for difference in found if difference.arm == name}
        cells = [cell for metric in metrics for cell in _difference_cells(own[metric], several)]
        rows.append((f"{name} − {own[metrics[0]].baseline}", *cells))
    seeds = {"psnr": ("seed by seed",)} if several else {}
    heading = ("difference", *(text for name in metrics for text in (heading_of(name), "p", *seeds.get(name, ()))))
    note = "Image by image. p: Wilcoxon's signed rank test over the units of the intervals, not corrected for several."
    if 2 <= scored.units <= FEW:
        note += f" Over {scored.units} of them it is {2.0 ** (1 - scored.units):.2g} at the least."
    return Table(titled("Differences", scored.set), heading, tuple(rows), note)


def _difference_cells(difference: Difference, several: bool) -> tuple[str, ...]:
    p = "" if difference.p is None else "< 0.001" if difference.p < 0.001 else f"{difference.p:.3f}"
    seeds = (_range(difference.seeds, "+"),) if several and difference.metric == "psnr" else ()
    return told(difference.value, difference.metric, "+"), p, *seeds


def _milestones(comparison: Comparison) -> Table:
    several = _several(comparison)
    rows = tuple(
        (
            found.arm,
            found.method,
            f"{found.final:.2f}",
            *((_range(found.seeds),) if several else ()),
            f"{found.best:.2f}",
            f"{found.best_step:.0f}",
        )
        for found in comparison.milestones
    )
    note = "Of the validation images that a training looks at. Brackets: 95 % over subjects (images, scenes)" + (
        "; of several seeds of their mean, Student's over seeds." if several else "."
    )
    last = ("last PSNR, dB", "seeds, dB") if several else ("last PSNR, dB",)
    return Table("While training", ("run", "method", *last, "best PSNR, dB", "best at step"), rows, note)


def _costs(comparison: Comparison) -> Table:
    rows = tuple(
        (
            cost.arm,
            f"{len(arm.runs)}",
            f"{cost.seconds:.0f}",
            "" if cost.evaluation_seconds is None else f"{cost.evaluation_seconds:.0f}",
            "" if cost.images_per_second is None else f"{cost.images_per_second:.1f}",
            cost.device,
        )
        for arm, cost in zip(comparison.arms, comparison.costs, strict=True)
    )
    return Table(
        "Cost",
        ("run", "runs", "time, s", "of it evaluating, s", "images/s", "on"),
        rows,
        "Means over the runs of each, from the first step to the last, without the pages of --report"
        + (
            "; without evaluations where their time was not recorded."
            if any(cost.evaluation_seconds is None for cost in comparison.costs)
            else "."
        ),
    )


def _several(comparison: Comparison) -> bool:
    """Whether any arm has several seeds."""
    return any(len(arm.runs) > 1 for arm in comparison.arms)


def _names(qualities: Sequence[Quality]) -> list[str]:
    return list(dict.fromkeys(quality.arm for quality in qualities))


def heading_of(metric: str) -> str:
    """What a column of a metric is called."""
    return HEADINGS.get(metric, metric)


def told(value: Estimate, metric: str, sign: str = "") -> str:
    """An estimate with as many digits as its metric deserves."""
    return f"{value:{sign}.{DIGITS.get(metric, 4)}f}"


def _range(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:{sign}.2f}" if len(values) == 1 else f"{low:{sign}.2f} to {high:{sign}.2f}"


def _filled(row: Sequence[str], width: int) -> tuple[str, ...]:
    return (*row, *[""] * (width - len(row)))


def markdown(comparison: Comparison) -> str:
    """All tables as Markdown, below what must be known to read them."""
    parts = ["\n".join(f"- {line}" for line in headlines(comparison))]
    for table in tables_of(comparison):
        lines = [table.heading, ("---",) * len(table.heading), *table.rows]
        text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"## {table.title}\n\n{text}" + (f"\n\n{table.note}" if table.note else ""))
    return "\n\n".join(parts) + "\n"


def rows_of(comparison: Comparison) -> list[dict[str, Any]]:
    """Every number in a row of its own, for a spreadsheet: of which run, what it is, its interval, p."""
    rows: list[dict[str, Any]] = [{"what": "note", "beside": line} for line in headlines(comparison)]

    def add(run: str, what: str, metric: str, value: Estimate, **more: Any) -> None:
        rows.append({"run": run, "what": what, "metric": metric, **asdict(value), **more})

    for scored in comparison.scored:
        for quality in (*scored.references, *scored.qualities):
            add(quality.arm, "score", quality.metric, quality.value, set=scored.set)
        for own in scored.differences:
            add(own.arm, "difference", own.metric, own.value, set=scored.set, beside=own.baseline, p=own.p)
    for milestone in comparison.milestones:
        add(milestone.arm, "last while training", "psnr", milestone.final)
        add(milestone.arm, "best while training", "psnr", milestone.best)
    for cost in comparison.costs:
        add(cost.arm, "cost", "seconds", Estimate(cost.seconds, None, None))
        if cost.evaluation_seconds is not None:
            add(cost.arm, "cost", "evaluation_seconds", Estimate(cost.evaluation_seconds, None, None))
        if cost.images_per_second is not None:
            add(cost.arm, "cost", "images_per_second", Estimate(cost.images_per_second, None, None))
    return rows


def as_csv(comparison: Comparison) -> str:
    """`rows_of` as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(comparison))
    return text.getvalue()


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything, for a program or a page: the numbers, and every run's curves. Places are nobody's business."""
    content = {name: _plain(value) for name, value in vars(comparison).items() if name != "arms"}
    arms = [
        {"name": arm.name, "runs": [_run(run, seed) for run, seed in zip(arm.runs, arm.seeds, strict=True)]}
        for arm in comparison.arms
    ]
    return {"format": FORMAT, "arms": arms, **content}


def _run(run: RunRecord, seed: str) -> dict[str, Any]:
    shown = {name: _thinned(curve) for name, curve in run.curves.items() if name.startswith(CURVES)}
    curves = {name: [list(point) for point in curve] for name, curve in shown.items()}
    return {"name": run.name, "seed": seed, "domain": run.domain, "status": run.status, "curves": curves}


def _thinned(curve: Curve) -> Curve:
    """At most about POINTS points, the last one among them."""
    every = max(1, -(-len(curve) // POINTS))
    return [*curve[:-1:every], *curve[-1:]]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
