"""A batch: every study of a folder brought to exactly one end. It can be killed at any moment, and goes on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import FrameType

from mri_n2n.durable import alone, disk_full
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar, say
from mri_n2n.reconstruction import KNOWN
from pipelines.batch.discovery import Study, studies
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, Reason, State
from pipelines.batch.study import DiskFull, Setup
from pipelines.batch.summary import write_summary
from pipelines.batch.worker import Abandoned, Worker

BEAT = 5.0  # seconds between heartbeats
SUMMARISED = 30.0  # seconds between summaries


_Seen = tuple[tuple[str, int, int], ...]


class Exit(IntEnum):
    """What the command ends with (2, for usage, is the command line's)."""

    ALL_DONE = 0
    SOME_NOT = 3
    BUG = 70
    DISK_FULL = 74
    DRAINED = 75


class _Stop:
    """Whether the batch is asked to stop, and whether the study at hand has used up its grace."""

    def __init__(self, grace: float) -> None:
        self.asked = False
        self._grace, self._since = grace, 0.0

    def ask(self, number: int, frame: FrameType | None) -> None:
        """As a handler of signals."""
        del number, frame
        if not self.asked:
            self._since = time.monotonic()
            self.asked = True  # no Event: its lock may be held by what the signal interrupts
            os.write(2, b"stopping: the study at hand may still end.\n")

    def overdue(self) -> bool:
        """Whether the study at hand is to be abandoned."""
        return self.asked and time.monotonic() - self._since >= self._grace


class _Heartbeat:
    """A file that is touched while the batch is alive, for health checks."""

    def __init__(self, folder: BatchFolder) -> None:
        self._path, self._last = folder.path / "heartbeat", -BEAT

    def beat(self) -> bool:
        """Touch it, if it is time; false, so that it may stand in a condition."""
        if time.monotonic() - self._last >= BEAT:
            self._last = time.monotonic()
            with suppress(OSError):  # a full disk is told by what has to be written
                self._path.touch()
        return False


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
    """Where studies come from. look: finds them. told: hears what became of one, and says whether that is the last word
    as long as the files stay the same; else it is worked on again when it is found the next time."""

    look: Callable[[], list[Study]]
    told: Callable[[Outcome], bool] = lambda _: True


def run_batch(source: Path, setup: Setup, limits: Limits, feed: Feed | None = None) -> Exit:
    """Work on every study in `source`, or on those that `feed` finds there; return how it ended.

    What an earlier batch of the same configuration has settled is left as it is, and counted. To watch is to go on
    with studies that are new or have changed, once they are the same in two looks, until a signal comes.
    """
    feed = feed or Feed(partial(studies, source))
    if not source.is_dir():
        raise UsageError(f"no folder {source}. Check the path.")
    output = setup.output
    if output.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(output.resolve()):
        raise UsageError("one of input and output lies in the other. Choose another output folder.")
    setup.reconstructor()  # to see that the network can be loaded
    with _stop_signals(limits.grace) as stop:
        work = feed.look()
        if not work and limits.watch is None:
            raise UsageError(f"no studies under {source}, expected DICOM, or files ending in {', '.join(KNOWN)}.")
        folder = BatchFolder(output)
        try:
            folder.open()
            with alone(output):
                folder.clear()
                try:
                    return _looks(source, work, feed, folder, setup, limits, stop)
                finally:
                    folder.clear()
        except (DiskFull, UsageError) as error:
            if isinstance(error, UsageError) and not disk_full(error):
                raise
            say(f"error: {error}")
            return Exit.DISK_FULL


def _looks(
    source: Path, work: list[Study], feed: Feed, folder: BatchFolder, setup: Setup, limits: Limits, stop: _Stop
) -> Exit:
    """One look at the input, or one after the other."""
    folder.log("begun", **setup.configuration())
    heartbeat = _Heartbeat(folder)
    ended = Exit.ALL_DONE
    settled: dict[str, _Seen] = {}
    before: dict[str, _Seen] = {}

    def settle(outcome: Outcome) -> None:
        if feed.told(outcome):
            settled[outcome.study] = now[outcome.study]

    with Worker(setup, limits.time, lambda: heartbeat.beat() or stop.overdue()) as worker:
        while True:
            now = {study.name: _seen(source, study) for study in work}
            due = [study for study in work if settled.get(study.name) != now[study.name]]
            if limits.watch is not None:
                due = [study for study in due if before.get(study.name) == now[study.name]]
            if due:
                folder.name({study.name: study.files for study in due})
                ended = max(ended, _worked_through(source, due, folder, worker, stop, settle))
                folder.clear()
                write_summary(folder)
            before = now
            if limits.watch is None or not _waited(limits.watch, stop, heartbeat):
                break
            work = feed.look()
    if limits.watch is not None:
        ended = Exit.DRAINED
    write_summary(folder)
    folder.log("ended", exit=int(ended))
    return ended


def _worked_through(
    source: Path,
    work: list[Study],
    folder: BatchFolder,
    worker: Worker,
    stop: _Stop,
    settle: Callable[[Outcome], None],
) -> Exit:
    ended = Exit.ALL_DONE
    summarised = time.monotonic()
    for study in bar(work, description="studies", unit="study"):
        if stop.asked:
            return Exit.DRAINED
        try:
            outcome = _ended(source, study, folder, worker)
        except Abandoned:
            return Exit.DRAINED
        folder.log("study", study=study.name, state=outcome.state, reason=outcome.reason, seconds=outcome.seconds)
        settle(outcome)
        if outcome.state is not State.DONE:
            ended = Exit.SOME_NOT
        if time.monotonic() - summarised > SUMMARISED:
            write_summary(folder)
            summarised = time.monotonic()
    return ended


def _waited(seconds: float, stop: _Stop, heartbeat: _Heartbeat) -> bool:
    """Whether it is time for another look, and nobody has asked to stop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        heartbeat.beat()
        time.sleep(min(0.2, seconds))
        if stop.asked:
            return False
    return True


def _seen(source: Path, study: Study) -> _Seen:
    """What a look shows of a study without reading it: size and time of each file."""
    found = []
    for relative in study.files:
        try:
            about = (source / relative).stat()
            found.append((relative, about.st_size, about.st_ctime_ns))
        except OSError:
            found.append((relative, -1, -1))
    return tuple(found)


def _ended(source: Path, study: Study, folder: BatchFolder, worker: Worker) -> Outcome:
    if study.files[0].endswith("/"):  # a folder that may not be looked into
        outcome = Outcome(study.name, Reason.NO_PERMISSION)
        folder.settle(outcome)
        return outcome
    return worker.work(source, study)


@contextmanager
def _stop_signals(grace: float) -> Iterator[_Stop]:
    stop = _Stop(grace)
    earlier = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
