"""A batch: every study of a folder brought to exactly one end. It can be killed at any moment, and goes on."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
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

SUMMARISED = 30.0  # seconds between summaries


class Exit(IntEnum):
    """What the command ends with (2, for usage, is the command line's)."""

    ALL_DONE = 0
    SOME_NOT = 3
    BUG = 70
    DISK_FULL = 74
    DRAINED = 75


def run_batch(source: Path, setup: Setup, *, time_limit: float, grace: float) -> Exit:
    """Work on every study in `source`; return how it ended.

    time_limit: seconds for a study. grace: seconds that the study at hand still has after SIGTERM or SIGINT. What an
    earlier batch of the same configuration has settled is left as it is, and counted.
    """
    if not (time_limit > 0 and grace >= 0):
        raise UsageError("--time-limit must be positive, and --grace not negative.")
    if not source.is_dir():
        raise UsageError(f"no folder {source}. Check the path.")
    output = setup.output
    if output.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(output.resolve()):
        raise UsageError("one of input and output lies in the other. Choose another output folder.")
    setup.reconstructor()  # to see that the network can be loaded
    work = studies(source)
    if not work:
        raise UsageError(f"no studies under {source}, expected DICOM, or files ending in {', '.join(KNOWN)}.")
    folder = BatchFolder(output)
    folder.open()
    with alone(output):
        try:
            folder.clear()
            return _worked_through(source, work, folder, setup, time_limit, grace)
        except (DiskFull, UsageError) as error:
            if isinstance(error, UsageError) and not disk_full(error):
                raise
            say(f"error: {error}")
            return Exit.DISK_FULL


def _worked_through(
    source: Path, work: list[Study], folder: BatchFolder, setup: Setup, time_limit: float, grace: float
) -> Exit:
    folder.name({study.name: study.files for study in work})
    folder.log("begun", studies=len(work), **setup.configuration())
    ended = Exit.ALL_DONE
    summarised = time.monotonic()
    with _stop_signals(grace) as stop, Worker(setup, time_limit, stop.overdue) as worker:
        for study in bar(work, description="studies", unit="study"):
            if stop.asked.is_set():
                ended = Exit.DRAINED
                break
            try:
                outcome = _ended(source, study, folder, worker)
            except Abandoned:
                ended = Exit.DRAINED
                break
            folder.log("study", study=study.name, state=outcome.state, reason=outcome.reason, seconds=outcome.seconds)
            if outcome.state is not State.DONE:
                ended = Exit.SOME_NOT
            if time.monotonic() - summarised > SUMMARISED:
                write_summary(folder)
                summarised = time.monotonic()
    folder.clear()
    write_summary(folder)
    folder.log("ended", exit=int(ended))
    return ended


def _ended(source: Path, study: Study, folder: BatchFolder, worker: Worker) -> Outcome:
    if study.files[0].endswith("/"):  # a folder that may not be looked into
        outcome = Outcome(study.name, Reason.NO_PERMISSION)
        folder.settle(outcome)
        return outcome
    return worker.work(source, study)


class _Stop:
    """Whether the batch is asked to stop, and whether the study at hand has used up its grace."""

    def __init__(self, grace: float) -> None:
        self.asked = threading.Event()
        self._grace, self._since = grace, 0.0

    def ask(self, number: int, frame: FrameType | None) -> None:
        """As a handler of signals."""
        del number, frame
        if not self.asked.is_set():
            self._since = time.monotonic()
            self.asked.set()
            os.write(2, b"stopping: the study at hand may still end.\n")

    def overdue(self) -> bool:
        """Whether the study at hand is to be abandoned."""
        return self.asked.is_set() and time.monotonic() - self._since >= self._grace


@contextmanager
def _stop_signals(grace: float) -> Iterator[_Stop]:
    stop = _Stop(grace)
    earlier = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
