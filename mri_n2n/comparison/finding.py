"""Finding runs by what a person would call them."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mri_n2n.comparison.records import RunRecord, read_run
from mri_n2n.comparison.tracked import IDENTIFIER, has_store, matching, tracked_named, tracked_run, tracked_runs
from mri_n2n.durable import reading
from mri_n2n.errors import UNREADABLE, UsageError
from mri_n2n.run_files import RUN, RUNS, TRACKING, run_name

DEEP = 3  # folders below one another in which runs are looked for
COMPARES = re.compile(r"[=<>]|\s(like|ilike|in|is)\s", re.IGNORECASE)


def directories_in(folder: Path, deep: int = DEEP, unreadable: list[str] | None = None) -> Iterator[Path]:
    """The run directories in a folder and the ones below it, by name; what cannot be read goes to `unreadable`.

    Without such a list it raises `UsageError`.
    """
    try:
        with reading(folder):
            inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
            runs = {path for path in inside if (path / RUN).exists()}
    except UsageError as error:
        if unreadable is None:
            raise
        unreadable.append(str(error))
        return
    for path in inside:
        if path in runs:
            yield path
        elif deep > 1:
            yield from directories_in(path, deep - 1, unreadable)


def runs_here(damaged: list[str]) -> list[RunRecord]:
    """All runs under runs/, those that were begun last at the end; what is wrong with the others goes to `damaged`."""
    records = []
    for directory in directories_in(RUNS, unreadable=damaged) if RUNS.is_dir() else ():
        try:
            records.append((_begun(directory), read_run(directory)))
        except UsageError as error:
            damaged.append(str(error))
    return [record for _, record in sorted(records, key=lambda pair: pair[0])]


def _begun(directory: Path) -> float:
    with reading(directory / RUN):  # it may be removed meanwhile
        return (directory / RUN).stat().st_mtime


def stored_runs() -> list[RunRecord]:
    """All runs that MLflow has, those from their folders that are under runs/."""
    return tracked_runs("", _by_identifier())


def find_runs(words: Sequence[str]) -> list[RunRecord]:
    """The runs that words name, each once, in their order.

    A word is a run's directory or a folder of runs, a name under runs/, MLflow's identifier or name, or a filter in
    MLflow's language (`params.seed = '0'`), which is asked of the store if there is one and else of runs/. A run that
    has a directory here is read from that. Raises `UsageError` where a word names nothing.
    """
    found = [record for word in words for record in _named(word)]
    return list({record.directory.resolve() if record.directory else record.place: record for record in found}.values())


def find_run(word: str) -> RunRecord:
    """The one run that a word names. Raises `UsageError` where it names none, or several."""
    found = find_runs([word])
    if len(found) > 1:
        names = ", ".join(record.place for record in found[:3])
        raise UsageError(f"{word!r} names {len(found)} runs ({names}, …). Name one of them.")
    return found[0]


def _named(word: str) -> list[RunRecord]:
    if not word.strip():
        raise UsageError("an empty word names no run. See: mri-n2n runs list")
    for path in (Path(word), RUNS / word):
        if directories := _directories(path):
            return [read_run(directory) for directory in directories]
    if COMPARES.search(word):
        return _filtered(word)
    if called := [run for run in directories_in(RUNS) if run_name(run) == word] if RUNS.is_dir() else []:
        return [read_run(run) for run in called]
    here = _by_identifier()
    if IDENTIFIER.fullmatch(word):
        return [read_run(here[word])] if word in here else [tracked_run(word)]
    found = tracked_named(word, here) if has_store() else []
    if not found and is_there(word):
        raise UsageError(f"no run in {word}: it is a folder without any. See: mri-n2n runs list")
    if not found:
        where = f"in MLflow and under {RUNS}/" if has_store() else f"under {RUNS}/"
        raise UsageError(f"no run {word!r}: no such folder, and none of that name {where}. See: mri-n2n runs list")
    return found


def is_there(word: str | Path) -> bool:
    """Whether a word names something in the working directory. A filter may be too long for that, or no name at all."""
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        return False


def _directories(path: Path) -> list[Path]:
    """The run at a path, or the runs in a folder; none where there is none."""
    if not is_there(path):
        return []
    if (path / RUN).exists():
        return [path]
    return list(directories_in(path)) if path.is_dir() else []


def _filtered(text: str) -> list[RunRecord]:
    if has_store() or "MLFLOW_TRACKING_URI" in os.environ:  # one that was asked for is missed
        found = tracked_runs(text, _by_identifier())
    else:
        runs = list(directories_in(RUNS)) if RUNS.is_dir() else []
        found = matching([read_run(run) for run in runs], text)
    if not found:
        raise UsageError(f"no run is found by the filter {text!r}. See: mri-n2n runs list")
    return found


def _by_identifier() -> dict[str, Path]:
    """The run directories under runs/ by the identifier that MLflow gave each."""
    known = {}
    for run in directories_in(RUNS) if RUNS.is_dir() else ():
        try:
            known[str(json.loads((run / TRACKING).read_text(encoding="utf-8"))["run_id"])] = run
        except UNREADABLE:
            continue  # never uploaded, or damaged: it is found by its folder
    return known
