"""The tables of docs/results/, made from the numbers stored beside them: `make results` writes them anew.

A page says where each table comes from, in a comment before it: `<!-- made from FILE.json -->`, or
`<!-- made from FILE.json: NAME -->` for one of several tables, up to `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import growth, hospital, peers, photograph_baselines, photograph_loading
from mri_n2n.durable import read_json, write_text
from natural_images.baselines import BlockMatching, VarianceStabilised
from pipelines.benchmark.table import table as speed

RESULTS = Path(__file__).parents[1] / "docs" / "results"
MADE = re.compile(r"(?<=<!-- made from )((\S+\.json)(?:: ([^>]+?))?) -->\n.*?(?=<!-- end -->)", re.S)
BM3D, ANSCOMBE = BlockMatching(25.0), VarianceStabilised(30.0, "separate")
MAKERS: dict[str, Callable[[Any], str]] = {  # of files that a benchmark writes
    "performance-cpu.json": speed,
    "performance-gpu.json": speed,
    "peers-cpu.json": peers.table,
    "growth-cpu.json": growth.table,
    "hospital-cpu.json": hospital.table,
    "photograph-loading.json": photograph_loading.table,
    "photograph-baselines.json: white": lambda all: photograph_baselines.table(all, BM3D, "BM3D"),
    "photograph-baselines.json: Poisson": lambda all: photograph_baselines.table(all, ANSCOMBE, "Anscombe and BM3D"),
}


def page_from_results(page: str, folder: Path = RESULTS) -> str:
    """A page with its tables made from the files in `folder`."""

    def made(found: re.Match[str]) -> str:
        source, which = found[1], found[3]
        result = read_json(folder / found[2], "results")
        text = MAKERS[source](result) if source in MAKERS else table(result[which])
        return f"{source} -->\n\n{text}\n\n"

    return MADE.sub(made, page)


def table(result: Mapping[str, Any]) -> str:
    """A table as Markdown: columns, each with its title and digits, and rows of cells.

    A cell is text, a number, [mean, low, high] or {"from": , "to": }; {"difference": } of one of these has a sign.
    """
    columns = result["columns"]
    digits = [column.get("digits", 0) for column in columns]
    rows = [[cell(*each) for each in zip(row, digits, strict=True)] for row in result["rows"]]
    lines = [[column["title"] for column in columns], ["---"] * len(columns), *rows]
    return "\n".join("|" + "|".join(f" {each} " if each else " " for each in line) + "|" for line in lines)


def cell(value: Any, digits: int, sign: str = "") -> str:
    """What a cell reads."""

    def number(each: float) -> str:
        text = f"{each:{sign},.{digits}f}"
        return text.replace("-", "−") if sign else text

    match value:
        case None:
            return ""
        case str():
            return value
        case {"difference": inner}:
            return cell(inner, digits, "+")
        case {"from": first, "to": last}:
            return f"{number(first)} to {number(last)}"
        case [mean, low, high]:
            return f"{number(mean)} [{number(low)}, {number(high)}]"
    return number(value)


def main() -> None:
    """Write every page anew."""
    for path in sorted(RESULTS.glob("*.md")):
        write_text(path, page_from_results(path.read_text()))


if __name__ == "__main__":
    main()
