"""A process that works on one study at a time, so that whatever a file does to it harms no other study."""

import os
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mri_n2n.child_process import begin
from mri_n2n.environment import memory_kills
from pipelines.batch import attempts
from pipelines.batch.discovery import Study
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.publishing import published_since
from pipelines.batch.study import DiskFull, Setup, StudyWork
from pipelines.batch.supervision import Abandoned

LOOK = 0.1  # seconds between looks at what else there is to heed
START = 300.0  # seconds that the network may take to be loaded
ONCE_MORE = (Reason.OUT_OF_MEMORY, Reason.CRASHED)


class Bug(Exception):
    """A traceback of the process."""


class Worker:
    """Has studies worked on. `give_up` is asked all the while whether to abandon the study at hand."""

    def __init__(self, setup: Setup, folder: BatchFolder, time_limit: float, give_up: Callable[[], bool]) -> None:
        self._setup, self._folder, self._time_limit, self._give_up = setup, folder, time_limit, give_up
        self._process: Any = None
        self._connection: Connection | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def work(self, source: Path, study: Study) -> Outcome:
        """What becomes of a study; one that takes too much memory, or ends the process, is tried again in small pieces.

        One that this process, too, did not outlive is not tried for ever. Raises `Abandoned`, and `DiskFull`.
        """
        if attempts.given_up(self._folder.begun, study.name):
            outcome = Outcome(study.name, Reason.CRASHED)
            self._folder.settle(outcome)
            return outcome
        try:
            outcome = self._tried(source, study, carefully=False)
            if outcome.reason in ONCE_MORE:
                self.end()
                outcome = self._tried(source, study, carefully=True)
                if outcome.reason in ONCE_MORE:
                    self.end()
            return outcome
        finally:
            attempts.end(self._folder.begun, study.name)

    def end(self) -> None:
        """End the process, at once. What it has published stays, and nothing is half published."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _tried(self, source: Path, study: Study, *, carefully: bool) -> Outcome:
        folder = self._folder
        before, kills = folder.editions(study.name), memory_kills()
        answer = self._answer(self._sent((source, study, carefully)), self._time_limit)
        if answer is Reason.CRASHED and memory_kills() > kills:  # whose, is not told; the worker offers itself first
            answer = Reason.OUT_OF_MEMORY
        if isinstance(answer, Outcome):
            return answer
        if isinstance(answer, DiskFull):
            raise answer
        self.end()
        folder.discard()
        published = published_since(folder, study.name, before)
        if published is None and answer is Abandoned:
            raise Abandoned
        outcome = published or Outcome(study.name, Reason.INTERNAL if isinstance(answer, Bug) else answer)
        if isinstance(answer, Bug) and published:  # the study is well, this program is not
            folder.report(str(answer), study=study.name)
        elif isinstance(answer, Bug):
            folder.explain(outcome, str(answer))
        folder.settle(outcome)
        return outcome

    def _sent(self, work: tuple[Path, Study, bool]) -> Connection:
        """The connection, after the work was sent; to a new process if the old one has ended meanwhile."""
        try:
            connection = self._ready()
            connection.send(work)
        except OSError:
            self.end()
            connection = self._ready()
            connection.send(work)
        return connection

    def _ready(self) -> Connection:
        if self._connection is not None:
            return self._connection
        self._process, self._connection = begin(_serve, self._setup, self._folder)
        answer = self._answer(self._connection, START)
        if answer is None:
            return self._connection
        self.end()
        if answer is Abandoned:
            raise Abandoned
        raise RuntimeError(f"the network could not be loaded: {answer}")

    def _answer(self, connection: Connection, seconds: float) -> Any:
        """What the process says; or why it says nothing: a reason, or `Abandoned`."""
        end = time.monotonic() + seconds
        while True:
            try:
                if connection.poll(min(LOOK, max(0.0, end - time.monotonic()))):
                    return connection.recv()
            except (EOFError, OSError):
                return Reason.CRASHED
            if self._give_up():
                return Abandoned
            if time.monotonic() > end:
                return Reason.TIME_LIMIT


def _serve(connection: Connection, setup: Setup, folder: BatchFolder) -> None:
    """Work on the studies that come through the connection, until it is closed."""
    said = os.open(folder.said_aloud, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):  # what libraries print may hold names
        os.dup2(said, stream)
    work = StudyWork(setup, folder)
    connection.send(None)
    while True:
        try:
            source, study, carefully = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = work(source, study, carefully=carefully)
        except DiskFull as error:
            answer = DiskFull(str(error))
        except Exception:  # noqa: BLE001 (a bug is one study's failure, and goes to the owner's eyes)
            answer = Bug(traceback.format_exc())
        connection.send(answer)
