"""Which studies are not done, and why in words: with names of files, for the owner's eyes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath

from mri_n2n.durable import reading
from pipelines.batch.folder import BatchFolder
from pipelines.batch.lines import lines_of
from pipelines.batch.outcome import Outcome, State

LONGEST = 400  # characters of a reason in words


def sources(folder: BatchFolder) -> Iterator[tuple[str, list[str]]]:
    """The studies that a share has met and their files, relative to INPUT; of one said twice the later counts."""
    for line in lines_of(folder.sources):
        with suppress(LookupError):
            yield line["study"], line["files"]


def all_sources(folder: BatchFolder) -> dict[str, list[str]]:
    """The same of all shares. Raises `UsageError` if they may not be read."""
    shares = [BatchFolder(folder.path), *(BatchFolder(folder.path, shard) for shard in folder.shards())]
    return {study: files for share in shares for study, files in sources(share)}


def listing(folder: BatchFolder, outcomes: Sequence[Outcome]) -> str:
    """Every study that is not done, newest first, ending in a line break; empty where all are.

    Raises `UsageError` if what is private may not be read.
    """
    with reading(folder.private):
        next(folder.private.iterdir(), None)
    files = all_sources(folder)
    when = {outcome.study: _settled(folder, outcome) for outcome in outcomes if outcome.state is not State.DONE}
    latest = sorted((o for o in outcomes if o.study in when), key=lambda outcome: when[outcome.study], reverse=True)
    return "".join(_entry(folder, outcome, files, when[outcome.study]) for outcome in latest)


def _entry(folder: BatchFolder, outcome: Outcome, files: Mapping[str, Sequence[str]], when: float) -> str:
    said = f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = [f"{outcome.state}: {outcome.reason}, {said}, {outcome.study}", f"  {place(files.get(outcome.study, ()))}"]
    words = folder.words(outcome).strip().splitlines()
    if words:
        lines.append(f"  {_printable(words[-1])[:LONGEST]}")  # of a traceback what was raised
    if len(words) > 1:
        lines.append(f"  all of it: {folder.reason_path(outcome.study)}")
    return "".join(f"{line}\n" for line in ["", *lines])


def place(files: Sequence[str]) -> str:
    """Where a study's files lie: a file, or a series' folder and how many they are."""
    if not files:
        return "(of an earlier batch: it is not said which file)"
    if len(files) == 1 or files[0].lower().endswith(".cfl"):
        return _printable(files[0])
    parents = {PurePosixPath(file).parent for file in files}
    common = os.path.commonpath(parents)
    where = f"{_printable(common)}/" if common else "in INPUT itself" if len(parents) == 1 else "in several folders"
    return f"{where} ({len(files)} files)"


def _settled(folder: BatchFolder, outcome: Outcome) -> float:
    try:
        return folder.status_path(outcome.study).stat().st_mtime
    except OSError:
        return 0.0


def _printable(text: str) -> str:
    """A name may hold what a terminal would obey."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
