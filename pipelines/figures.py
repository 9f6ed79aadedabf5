"""Figures of the paper: curves with 95 % intervals, panel beside panel."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mri_n2n.durable import replacing

LOOKS: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 1.6},
    "dashed": {"linewidth": 1.2, "linestyle": "--"},
    "points": {"linestyle": "none", "marker": "o", "markersize": 4},
}
MARKS = (("C3", "--"), ("C2", "-."), ("C4", ":"), ("C5", (0, (5, 1, 1, 1, 1, 1))))

Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One series of a panel: its 95 % interval, if given, is a band around a line and a bar through a point.

    colour: any name matplotlib knows; None takes the next of its cycle. An empty label keeps it out of the legend.
    """

    label: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    style: Literal["line", "dashed", "points"] = "line"
    colour: str | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes. marks: places on the x axis by name, drawn as vertical lines and named in the legend."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log_x: bool = False
    log_y: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)


def draw_curves(path: Path, panels: Sequence[Panel], caption: str = "") -> None:
    """Draw the panels in a row, with one caption below them, and write a PNG at 120 dpi."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)
    figure = Figure(figsize=(5.6 * len(panels) + 0.4, 5.0), layout=layout)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, panel)
    if caption:
        figure.supxlabel("\n".join(textwrap.wrap(caption, 95 * len(panels))), fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw(axes: Any, panel: Panel) -> None:
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    for curve in panel.curves:
        _draw_curve(axes, curve)
    for (name, place), (colour, dashes) in zip(panel.marks.items(), cycle(MARKS), strict=False):
        axes.axvline(place, color=colour, linestyle=dashes, linewidth=1.4, label=name)
    if panel.log_x:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    if panel.log_y:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x_label, fontsize=9)
    axes.set_ylabel(panel.y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    names = [name for name in (*(curve.label for curve in panel.curves), *panel.marks) if name]
    if names:
        columns = max(1, min(len(names), 80 // (7 + max(map(len, names)))))  # about 80 letters fit below a panel
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=columns, fontsize=8, frameon=False)


def _plain_ticks(axis: Any) -> None:
    """0.5 and 20,000 in place of powers of ten; over a few decades 1, 2 and 5 of each."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e3 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1 else f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_curve(axes: Any, curve: Curve) -> None:
    (drawn,) = axes.plot(curve.x, curve.y, color=curve.colour, label=curve.label or None, **LOOKS[curve.style])
    if curve.low is None or curve.high is None:
        return
    if curve.style == "points":
        axes.vlines(curve.x, curve.low, curve.high, color=drawn.get_color(), linewidth=1.4)
    else:
        axes.fill_between(curve.x, curve.low, curve.high, color=drawn.get_color(), alpha=0.2, linewidth=0)
