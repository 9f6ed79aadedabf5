"""The same work on one file, or on every file of a folder: what is done stays done, and a bad file harms no other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mri_n2n.data.folders import closed_line
from mri_n2n.durable import check_writable, read_json, sha256_of, write_json, writing
from mri_n2n.errors import UNREADABLE, BadVolume, UsageError
from mri_n2n.overlap import Overlap
from mri_n2n.progress import bar, say

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A file to read, and the one to make of it."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Made:
    """What came of a file: `write` writes it to a path; `about` says what it is, in a .json beside it."""

    about: dict[str, Any]
    write: Callable[[Path], None]


def planned(source: Path, output: Path, files: Iterable[Path], renamed: Callable[[Path], Path]) -> list[Job]:
    """A job for every one of the `files`, which are `source` or lie in it; outputs keep their places, `renamed`.

    A single file may go to a file of any name, or into a folder that exists.
    """
    if not source.is_dir():
        if output.is_dir():
            output = output / renamed(source).name
        if output.resolve() == source.resolve():
            raise UsageError(f"{source} would be overwritten by its own output. Choose another output.")
        return [Job(source, output)]
    if output.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(output.resolve()):
        raise UsageError("one of input and output lies in the other. Choose another output folder.")
    jobs = [Job(file, output / renamed(file.relative_to(source))) for file in files]
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.target, job.source)
        if other != job.source:
            raise UsageError(f"{other} and {job.source} would both become {job.target}. Rename one of them.")
    return jobs


def work_through(
    jobs: Sequence[Job],
    read: Callable[[Path], T],
    work: Callable[[T], Made],
    identity: dict[str, Any],
    *,
    overwrite: bool,
    ahead: int = 0,
    doing: str,
    unit: str = "volume",
    closed: Sequence[Path] = (),
    digest: Callable[[Path], str] = sha256_of,
) -> list[tuple[Job, dict[str, Any]]]:
    """Read, work on and write one file after the other; return what was made now.

    `identity` says what decides the outputs but for their sources: what an earlier run made with the same one is not
    made again; `digest` is the hash that a source is known by. `ahead` files are read ahead and written behind. A bad
    file in a folder is reported and the others are still done; then the whole is a `UsageError`. So is what may not be
    looked at, `closed`.
    """
    for path in closed:
        say(f"skipped: {closed_line(path)}")
    ours = {job.target for job in jobs if _announced(job, identity, digest)}
    todo = [job for job in jobs if overwrite or not (job.target in ours and job.target.exists())]
    if len(todo) < len(jobs):
        say(f"{len(jobs) - len(todo)} of {len(jobs)} {unit}s are already done.")
    if not todo:
        _check_all_done([], jobs, closed, unit)
        return []
    others = [_about(job.target) for job in todo if job.target not in ours]
    taken = [path for path in (*(job.target for job in todo), *others) if path.exists()]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]} exists. Choose another output or add --overwrite.")
    for folder in {job.target.parent for job in todo}:
        check_writable(folder)
    done, bad = [], []
    with Overlap(ahead) as overlap:
        contents = overlap.ahead(lambda job: read(job.source), todo)
        for job, content in bar(contents, total=len(todo), description=doing, unit=unit):
            try:
                made = work(content())
            except BadVolume as error:
                if len(jobs) == 1:
                    raise
                bad.append(job.source)
                say(f"skipped: {error}")
                continue
            about = identity | made.about
            overlap.behind(_write, job.target, about, made.write)
            done.append((job, about))
            del made, content  # before the next one is read
    _check_all_done(bad, jobs, closed, unit)
    return done


def _check_all_done(bad: Sequence[Path], jobs: Sequence[Job], closed: Sequence[Path], unit: str) -> None:
    what = [f"{len(bad)} of {len(jobs)} {unit}s could not be used"] if bad else []
    what += [f"{len(closed)} files or folders may not be read"] if closed else []
    if what:
        others = "the others are done" if len(bad) < len(jobs) else "there are no others"
        raise UsageError(f"{' and '.join(what)} (named above); {others}.")


def _write(target: Path, about: dict[str, Any], write: Callable[[Path], None]) -> None:
    with writing(target):
        target.unlink(missing_ok=True)  # or it would pass for what is announced now
    write_json(_about(target), about)
    write(target)  # last: with the announcement beside it, it is done


def _announced(job: Job, identity: dict[str, Any], digest: Callable[[Path], str]) -> bool:
    """Whether an earlier, perhaps interrupted, run of the same command announced the target from the same source."""
    if not _about(job.target).exists():
        return False
    try:
        about = read_json(_about(job.target), "provenance")
        made = {name: about.get(name) for name in identity}
        return made == identity and about["source_sha256"] == digest(job.source)
    except (UsageError, *UNREADABLE):
        return False


def _about(target: Path) -> Path:
    """Where it is said what made `target`: a name that no other program uses."""
    return target.with_name(target.name + ".json")
