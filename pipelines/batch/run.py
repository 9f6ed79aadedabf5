"""A batch: every study of a folder brought to exactly one end. It can be killed at any moment, and goes on."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mri_n2n.data.dicom import Memory
from mri_n2n.data.folders import files_in
from mri_n2n.durable import Busy, disk_full, reading
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar, say
from mri_n2n.reconstruction import KNOWN
from pipelines.batch.discovery import Study, studies
from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.local import Engine, Work, on_this_machine
from pipelines.batch.names import sources
from pipelines.batch.outcome import Outcome, State
from pipelines.batch.shard import WHOLE, Shard
from pipelines.batch.study import DiskFull, Setup
from pipelines.batch.supervision import Abandoned, Supervision, supervised
from pipelines.batch.upkeep import Upkeep

LEASE = 120.0  # seconds after which a network file system has freed what a dead machine held

ONE_AT_A_TIME = on_this_machine()


@dataclass(frozen=True)
class Limits:
    """In seconds. time: of a study. grace: of the study at hand after SIGTERM or SIGINT. watch: between looks for new
    studies, or None for one look."""

    time: float = 3600.0
    grace: float = 30.0
    watch: float | None = None

    def __post_init__(self) -> None:
        if not (self.time > 0 and self.grace >= 0 and (self.watch is None or self.watch > 0)):
            raise UsageError("--time-limit and --watch must be positive, and --grace not negative.")


@dataclass(frozen=True)
class Feed:
    """Where studies come from. look: finds them, and calls its argument all the while. told: hears what became of one,
    and says whether that is the last word as long as the files stay the same; else it is worked on again when it is
    found the next time. news: whether the summary has something to tell beside what became of studies. complete:
    whether a look finds all studies that there are."""

    look: Callable[[Callable[[], None]], list[Study]]
    told: Callable[[Outcome], bool] = lambda _: True
    news: Callable[[], bool] = lambda: False
    complete: bool = False


def run_batch(
    source: Path,
    setup: Setup,
    limits: Limits,
    shard: Shard = WHOLE,
    engine: Engine = ONE_AT_A_TIME,
    feed: Feed | None = None,
) -> Exit:
    """Work on every study in `source` that is the shard's, or on those that `feed` finds there; return how it ended.

    What an earlier batch of the same configuration has settled is left as it is, and counted. To watch is to go on
    with studies that are new or have changed, once they are the same in two looks, until a signal comes. engine: how
    several studies are worked on.
    """
    if not source.is_dir():
        raise UsageError(f"no folder {source}. Check the path.")
    with reading(source):
        next(source.iterdir(), None)
    output = setup.output
    if output.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(output.resolve()):
        raise UsageError("one of input and output lies in the other. Choose another output folder.")
    feed = feed or Feed(partial(studies, source, memory=None if limits.watch is None else Memory()), complete=True)
    setup.reconstructor()  # to see that the network can be loaded
    folder = BatchFolder(output, shard)
    with supervised(folder.own / "heartbeat", limits.grace) as supervision:
        try:
            folder.open()
            with _held(folder, supervision) as held:
                return _logged(source, held, setup, limits, supervision, engine, feed)
        except Abandoned:
            return Exit.DRAINED
        except (DiskFull, UsageError) as error:
            again = isinstance(error, Busy) and shard != WHOLE
            if isinstance(error, UsageError) and not (again or disk_full(error)):
                raise
            say(f"error: {error}")
            return Exit.DRAINED if again else Exit.DISK_FULL


@contextmanager
def _held(folder: BatchFolder, supervision: Supervision) -> Iterator[BatchFolder]:
    """Keep the share to this process; a shard waits for as long as a machine that is gone may seem to be at work."""
    end = time.monotonic() + (0 if folder.shard == WHOLE else LEASE)
    with ExitStack() as holds:
        while True:
            try:
                held = holds.enter_context(folder.held())
                break
            except Busy:
                if time.monotonic() >= end:
                    raise
            supervision.wait(min(1.0, LEASE))
        yield held


def _logged(
    source: Path,
    folder: BatchFolder,
    setup: Setup,
    limits: Limits,
    supervision: Supervision,
    engine: Engine,
    feed: Feed,
) -> Exit:
    folder.log("begun", shard=str(folder.shard), **setup.configuration())
    upkeep, ended = Upkeep(folder, supervision.beat), Exit.BUG
    try:
        try:
            with engine(setup, folder, limits.time, supervision) as work:
                result = _looks(source, folder, limits.watch, supervision, work, feed, upkeep)
        except Abandoned:
            result = Exit.DRAINED
        upkeep.finish(LEASE, lambda: supervision.asked)
        ended = result
    except (DiskFull, UsageError) as error:
        ended = Exit.DISK_FULL if isinstance(error, DiskFull) or disk_full(error) else Exit.USAGE
        raise
    finally:
        with suppress(UsageError):  # the disk is full
            folder.log("ended", exit=int(ended))
    return ended


def _looks(
    source: Path,
    folder: BatchFolder,
    watch: float | None,
    supervision: Supervision,
    work: Work,
    feed: Feed,
    upkeep: Upkeep,
) -> Exit:
    """One look at the input, or one after the other until `Abandoned` is raised."""
    ended = Exit.ALL_DONE
    settled: dict[str, str] = {}
    before: dict[str, str] = {}
    now: dict[str, str] = {}
    told = dict(sources(folder))
    named = {study: hash(tuple(known)) for study, known in told.items()}
    unread = {outcome.study for outcome in folder.outcomes() if outcome.unread} if feed.complete else set()
    lost = False

    def settle(outcome: Outcome) -> None:
        if outcome.unread and feed.complete:
            unread.add(outcome.study)
        if feed.told(outcome):
            settled[outcome.study] = now[outcome.study]

    while True:
        try:
            found, lost = feed.look(supervision.heed), False
        except OSError as error:
            if watch is None:
                with reading(source):
                    raise
            if not lost:  # a file server may be away for a while
                say(f"{source} cannot be read ({error.strerror}). It is looked for every {watch:g} s.")
            lost = True
            supervision.wait(watch)
            continue
        if watch is None:
            _say_what_is_left(source, found, supervision)
        for name in unread - {study.name for study in found}:
            if folder.shard.has(name):  # what was out of reach is part of another study now, or away
                folder.forget(name)
                unread.discard(name)
        now = {study.name: _seen(source, study, supervision) for study in found if folder.shard.has(study.name)}
        settled = {name: seen for name, seen in settled.items() if name in now}  # or it would grow for ever
        due = [study for study in found if study.name in now and settled.get(study.name) != now[study.name]]
        if watch is not None:
            due = [study for study in due if before.get(study.name) == now[study.name]]
        if due:
            new = {study.name: study.files for study in due if named.get(study.name) != hash(study.files)}
            folder.name(new)
            named |= {study: hash(relatives) for study, relatives in new.items()}
            outcomes = bar(work(source, due), description="studies", unit="study", total=len(due))
            ended = max(ended, _worked_through(outcomes, folder, upkeep, settle))
        if watch is None:
            return ended
        if feed.news():
            upkeep.changed()
        upkeep.look()
        before = now
        supervision.wait(watch)


def _worked_through(
    outcomes: Iterable[Outcome], folder: BatchFolder, upkeep: Upkeep, settle: Callable[[Outcome], None]
) -> Exit:
    ended = Exit.ALL_DONE
    for outcome in outcomes:
        folder.log("study", study=outcome.study, state=outcome.state, reason=outcome.reason, seconds=outcome.seconds)
        settle(outcome)
        if outcome.state is not State.DONE:
            ended = Exit.SOME_NOT
        upkeep.changed()
    return ended


def _say_what_is_left(source: Path, found: Iterable[Study], supervision: Supervision) -> None:
    """A folder may be empty; one with nothing but foreign files is probably another than was meant."""
    known = {relative for study in found for relative in study.files}
    left = sum(1 for relative in files_in(source, supervision.heed) if relative not in known)
    expected = f"expected DICOM, or files ending in {', '.join(KNOWN)}"
    if left and not known:
        raise UsageError(f"none of the {left} files under {source} is a study: {expected}. Check INPUT.")
    if left:
        say(f"files of other kinds under {source}, left alone: {left}; {expected}.")
    elif not known:
        say(f"no studies under {source}: it is empty.")


def _seen(source: Path, study: Study, supervision: Supervision) -> str:
    """A hash of what a look shows of a study without reading it: size and time of each file."""
    digest = hashlib.sha256(str(study.missing).encode())
    for relative in study.files:
        supervision.heed()
        try:
            about = (source / relative).stat()
            digest.update(repr((relative, about.st_size, about.st_ctime_ns)).encode(errors="surrogateescape"))
        except OSError:
            digest.update(repr((relative, -1, -1)).encode(errors="surrogateescape"))
    return digest.hexdigest()
