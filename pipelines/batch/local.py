"""Studies on this machine, several at a time if asked: beside a GPU one is read and another written meanwhile."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from mri_n2n.errors import UsageError
from pipelines.batch.discovery import Study
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome
from pipelines.batch.study import Setup
from pipelines.batch.supervision import Abandoned, Supervision
from pipelines.batch.worker import LOOK, Worker

MOST = 64

Work = Callable[[Path, list[Study]], Iterator[Outcome]]
Engine = Callable[[Setup, BatchFolder, float, Supervision], AbstractContextManager[Work]]


def on_this_machine(workers: int = 1) -> Engine:
    """Studies in `workers` processes of this machine; `Abandoned` is raised when the batch is to stop."""
    if not 1 <= workers <= MOST:
        raise UsageError(f"--workers must lie in 1 .. {MOST}, got {workers}.")

    @contextmanager
    def engine(setup: Setup, folder: BatchFolder, time_limit: float, supervision: Supervision) -> Iterator[Work]:
        over = threading.Event()
        idle: SimpleQueue[Worker] = SimpleQueue()
        with ExitStack() as stack:
            for number in range(workers):
                own = folder if workers == 1 else folder.by(str(number))
                worker = Worker(setup, own, time_limit, lambda: over.is_set() or supervision.overdue())
                idle.put(stack.enter_context(worker))
            threads = stack.enter_context(ThreadPoolExecutor(workers))
            stack.callback(over.set)  # first of all: what is still at hand is abandoned

            def one(source: Path, study: Study) -> Outcome:
                worker = idle.get()
                try:
                    return worker.work(source, study)
                finally:
                    idle.put(worker)

            def work(source: Path, studies: list[Study]) -> Iterator[Outcome]:
                return _outcomes(studies, lambda study: threads.submit(one, source, study), workers, supervision)

            yield work

    return engine


def _outcomes(
    studies: list[Study], begin: Callable[[Study], Future[Outcome]], room: int, supervision: Supervision
) -> Iterator[Outcome]:
    """As they come. No more are begun than there is room for, and none once the batch is to stop."""
    waiting = iter(studies)
    running: set[Future[Outcome]] = set()
    while True:
        running |= {begin(study) for study in islice(waiting, 0 if supervision.asked else room - len(running))}
        if not running:
            break
        ended, running = wait(running, LOOK, FIRST_COMPLETED)
        supervision.beat()
        yield from (future.result() for future in ended)
    if next(waiting, None):
        raise Abandoned
