"""The files of a run directory, and what they say as text. Without torch, so that what lists runs starts at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = "mri-n2n run 1"
RUNS = Path("runs")
RUN = "run.json"
NETWORK = "network.json"
METRICS = "metrics.jsonl"
EVALUATION = "evaluation"
SUMMARY = Path(EVALUATION, "summary.json")
LEFT_OUT = "left-out.txt"  # the files of a folder that a run does not use
TRACKING = "tracking.json"  # what MLflow has of a run
SEEDS_SUMMARY = "summary.json"  # in a folder of seeds: how they ended
PARENT = "experiment.json"  # in a folder of runs: they are children of one run of this name
NAME = re.compile(r"\w[\w .,+()=@%-]{0,199}")  # of a run: one folder, in any system, and one line
NAME_IS = "letters, digits, spaces and .,+()=@%-_, at most 100 bytes, a letter, digit or _ first"
SIMULATED = "k-space simulated from magnitude images; not for diagnostic use"  # the label of such data
PLACES = ("path", "paths")  # where a run's data lies: nobody's business but its own
LONG = ("poses", "scenes")  # lists that say nothing to a person


@dataclass(frozen=True)
class ScoreTable:
    """Where an evaluation keeps its scores image by image; its summary says so, for whoever compares runs.

    file: a CSV beside the summary, with a row per image and method. Of its columns, image: those that tell an image;
    unit: those that tell what intervals are drawn over; metrics: the scores. result: the method that is the run's own.
    A column `set`, if there is one, names test sets that have means of their own.
    """

    file: str
    image: tuple[str, ...]
    unit: tuple[str, ...]
    metrics: tuple[str, ...]
    result: str


def sentence(label: str) -> str:
    """A label of data as it stands by itself."""
    return f"{label[:1].upper()}{label[1:].removesuffix('.')}."


def run_name(directory: Path) -> str:
    """What a run is called: as its folder, after the experiment's name where it belongs to one (`x10-seed-0`)."""
    family, own = family_of(directory), directory.resolve().name
    return f"{family}-{own}" if family else own


def family_of(directory: Path) -> str:
    """The name of the experiment, or run under several seeds, that a run belongs to; empty where it is of none."""
    above = directory.resolve().parent
    return above.name if (above / PARENT).exists() else ""


def called(directory: Path) -> str:
    """What finds a run again from the same folder: its place under runs/, or the whole of it."""
    return str(directory.relative_to(RUNS) if directory.is_relative_to(RUNS) else directory)


def flat(description: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A description as flat text, for a table or a tracker: {"task.corruption.acceleration": "10", ...}."""
    lines: dict[str, str] = {}
    for name, value in description.items():
        if isinstance(value, Mapping):
            lines |= flat(value, f"{prefix}{name}.")
        else:
            lines[prefix + name] = str(list(value) if isinstance(value, tuple) else value)  # as JSON has it
    return lines


def parameters_of(run: Mapping[str, Any]) -> dict[str, str]:
    """What a tracker shows of a run, given the content of its run.json.

    The full recipe, what it is on, the data's fingerprint and size (not its place), device, versions, commit.
    """
    data = {f"data.{name}": str(value) for name, value in run["data"].items() if name not in (*PLACES, *LONG)}
    environment = {f"environment.{key}": value for key, value in run["environment"].items()}
    return flat(run["recipe"]) | {"domain": str(run.get("domain", "MRI"))} | data | environment
