"""Charts as SVG whose colours the page decides: they follow it from light to dark."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from io import StringIO
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mri_n2n.comparison.records import Curve
from mri_n2n.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#010203", "#030201"  # stand for the page's own colours, and occur nowhere else
SERIES = tuple(f"#0{place}0{place}0f" for place in range(1, 7))
VARIABLES = {INK: "currentColor", FAINT: "var(--faint)"} | {
    colour: f"var(--series-{place})" for place, colour in enumerate(SERIES, 1)
}
# Told apart without colours; one fewer than colours, so that only the 31st curve looks like the first.
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (4, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 4.3  # inches of a chart: on a phone it is shown at nearly that size
LONGEST = 40  # characters of a name
MOST_DOTS = 200  # of a method, before they are summed up in a box


def curves(
    name: str,
    unit: str,
    known: Mapping[str, Curve],
    bands: Mapping[str, tuple[Curve, Curve]] | None = None,
    *,
    logarithmic: bool = False,
) -> str:
    """Values against steps, one line for each title, with a band from low to high for those that have one.

    `name` is unique on its page.
    """
    from matplotlib.ticker import MaxNLocator, NullFormatter

    def draw(axes: "Axes") -> None:
        for (label, points), colour, style in zip(known.items(), cycle(SERIES), cycle(STYLES), strict=False):
            steps, heights = zip(*points, strict=True)
            marker = "o" if len(points) < 3 else None
            for low, high in [bands[label]] if bands and label in bands else []:
                where, below = zip(*low, strict=True)
                above = [value for _, value in high]
                axes.fill_between(where, below, above, color=colour, alpha=0.15, linewidth=0)
            shown = f"\u200b{_short(label)}"  # else a name that begins with an underscore would be left out
            look = {"linestyle": style, "linewidth": 1.8, "marker": marker, "markersize": 4}
            axes.plot(steps, heights, color=colour, label=shown, **look)
        values = [value for points in known.values() for _, value in points]
        if logarithmic and min(values) > 0 and max(values) > 10 * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())  # or it would write formulas
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(unit)
        if len(known) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=1, frameon=False, handlelength=3)

    return _svg(name, draw, 2.7 + (0.2 * len(known) if len(known) > 1 else 0))


def distribution(name: str, unit: str, known: Mapping[str, Sequence[float]], means: Mapping[str, Estimate]) -> str:
    """Each method's values as dots (of many: as a box), its mean as a line, and the interval of the mean as a bar."""

    def draw(axes: "Axes") -> None:
        shapes = zip(known.items(), cycle(SERIES), cycle(MARKERS), strict=False)
        for place, ((method, values), colour, marker) in enumerate(shapes):
            if len(values) > MOST_DOTS:
                dress = {"color": FAINT, "linewidth": 1}
                axes.boxplot(
                    [values], positions=[place], orientation="horizontal", widths=0.4, showfliers=False,
                    boxprops=dress, whiskerprops=dress, capprops=dress, medianprops=dress, manage_ticks=False,
                )  # fmt: skip
            else:
                axes.plot(values, np.full(len(values), place), marker, color=colour, markersize=4, alpha=0.55)
            mean = means.get(method)
            if mean is None:
                continue
            if mean.low is not None and mean.high is not None:
                axes.plot([mean.low, mean.high], [place - 0.28] * 2, color=INK, linewidth=2.5)
            axes.plot([mean.mean], [place - 0.28], "|", color=INK, markersize=9, markeredgewidth=1.8)
            said = (mean.mean, place - 0.36)
            axes.annotate(f"{mean.mean:.2f}", said, (0, 3), textcoords="offset points", ha="center", fontsize=9)
        axes.set_yticks(range(len(known)), [_short(name) for name in known])
        axes.set_ylim(len(known) - 0.5, -0.85)
        axes.set_xlabel(unit)

    return _svg(name, draw, 1.0 + 0.55 * len(known), width=2 * WIDTH)


@cache
def heat() -> NDArray[np.uint8]:
    """256 colours `[256 3]` from black to light yellow, whose brightness alone tells them apart."""
    from matplotlib import colormaps

    return np.asarray(colormaps["inferno"](np.arange(256), bytes=True)[:, :3], dtype=np.uint8)


def _svg(name: str, draw: Callable[["Axes"], None], height: float, width: float = WIDTH) -> str:
    from matplotlib.figure import Figure

    with _style(name), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the browser has it: text stays text
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        draw(axes)
        text = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        whole = {"bbox_inches": "tight", "pad_inches": 0.04}  # or a label beside wide numbers is cut off
        figure.savefig(text, format="svg", transparent=True, metadata=nothing, **whole)
    svg = text.getvalue()
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-caption" ', 1)


def _short(name: str) -> str:
    """A name that leaves room for what it names."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _style(name: str) -> AbstractContextManager[Any]:
    import matplotlib

    return matplotlib.rc_context(
        {
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "font.family": "sans-serif",
            "font.size": 10,
            "legend.labelcolor": INK,
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "text.color": INK,
            "text.parse_math": False,  # names are no formulas
            "xtick.color": INK,
            "xtick.labelcolor": INK,
            "ytick.color": INK,
            "ytick.labelcolor": INK,
        }
    )
