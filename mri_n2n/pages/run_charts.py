"""The charts of runs: how they learnt, and how good they are on every subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mri_n2n.comparison.curves import FLOWN, HIGH, LOW, PSNR
from mri_n2n.comparison.records import Curve
from mri_n2n.intervals import Estimate
from mri_n2n.pages.charts import curves, distribution
from mri_n2n.pages.record import Evaluation

VALIDATION = (PSNR, FLOWN)


@dataclass(frozen=True)
class Chart:
    """A chart as SVG, its name on the page, and what stands above it."""

    name: str
    caption: str
    svg: Any


def validation_of(known: Mapping[str, Curve]) -> dict[str, Curve]:
    """The PSNR on validation images while training, by method."""
    return {
        name.removeprefix(prefix): points
        for prefix in VALIDATION
        for name, points in known.items()
        if name.startswith(prefix)
    }


def learning_curves(known: Mapping[str, Curve]) -> list[Chart]:
    """Loss, validation PSNR and speed; those that were not recorded are left out."""
    bands = {
        name.removeprefix(LOW): (low, known[HIGH + name.removeprefix(LOW)])
        for name, low in known.items()
        if name.startswith(LOW) and len(known.get(HIGH + name.removeprefix(LOW), ())) == len(low)
    }
    validation = "Validation PSNR" + (", with 95 % intervals" if bands else "")
    wanted: list[tuple[str, str, str, Mapping[str, Curve], bool]] = [
        ("loss", "Loss", "loss", {name: known[name] for name in ("loss",) if name in known}, True),
        ("validation", validation, "dB", validation_of(known), False),
        (
            "speed", "Throughput", "images per second",
            {name: known[name] for name in ("images_per_second",) if name in known}, False,
        ),
    ]  # fmt: skip
    return [
        Chart(
            name,
            caption,
            _markup(curves(name, unit, own, bands if name == "validation" else None, logarithmic=logarithmic)),
        )
        for name, caption, unit, own, logarithmic in wanted
        if own
    ]


def distributions_of(unit: str, evaluation: Evaluation | None) -> list[Chart]:
    """The PSNR of every `unit` by every method, one chart for each set of images."""
    if evaluation is None:
        return []
    charts = []
    for number, (group, values) in enumerate(evaluation.psnr.items()):
        metric = f"{group}/psnr" if group else "psnr"
        means = {method: own[metric] for method, own in evaluation.estimates.items() if metric in own}
        where = f" of {group}" if group else ""
        caption = f"PSNR of every {unit}{where}; above it the mean, and its 95 % interval as a bar"
        name = f"distribution-{number}"
        charts.append(Chart(name, caption, _markup(distribution(name, "PSNR, dB", values, means))))
    return charts


def compared_curves(validation: Mapping[str, Curve], losses: Mapping[str, Curve]) -> list[Chart]:
    """The validation PSNR and the loss of several runs; what none of them recorded is left out."""
    charts = []
    if validation:
        charts.append(Chart("validation", "Validation PSNR", _markup(curves("validation", "dB", validation))))
    if losses:
        charts.append(Chart("loss", "Loss", _markup(curves("loss", "loss", losses, logarithmic=True))))
    return charts


def compared_units(
    name: str, of: str, values: Mapping[str, Sequence[float]], means: Mapping[str, Estimate]
) -> list[Chart]:
    """The PSNR of every subject, image or scene by several runs. of: the test set, if there are several."""
    if not values:
        return []
    where = f" of {of}" if of else ""
    caption = f"PSNR of each subject (image, scene){where}; above it the mean, and its 95 % interval as a bar"
    return [Chart(name, caption, _markup(distribution(name, "PSNR, dB", values, means)))]


def _markup(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)
