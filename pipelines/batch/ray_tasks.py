"""Studies as tasks of a Ray cluster: on several machines at once, whatever becomes of some of them.

A task is one study. Ray gives it to another process when the one that was at it is gone; that may make two of one, and
publishing makes one of two.
"""

import logging
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

from mri_n2n.durable import disk_full
from mri_n2n.errors import UsageError, one_line
from pipelines.batch import attempts
from pipelines.batch.discovery import Study
from pipelines.batch.folder import BatchFolder
from pipelines.batch.local import Work
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.publishing import published_since
from pipelines.batch.study import DiskFull, Setup
from pipelines.batch.supervision import Abandoned, Supervision
from pipelines.batch.worker import LOOK, Worker

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere; counts only before the import
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:
    raise UsageError("--engine ray needs Ray. Install it: pip install 'mri-n2n[ray]'.") from None

Task = ray.ObjectRef[Outcome | DiskFull]
Tasks = dict[Task, tuple[Study, dict[str, Outcome]]]
ENDING = 10.0  # seconds that abandoned tasks have to be gone


@contextmanager
def on_ray(setup: Setup, folder: BatchFolder, time_limit: float, supervision: Supervision) -> Iterator[Work]:
    """Studies on the cluster that RAY_ADDRESS names, or this machine belongs to; else on this machine's processors.

    All its machines see the same files in the same places. Raises `Abandoned` when the batch is to stop.
    """
    setup = replace(setup, run=setup.run.absolute(), output=setup.output.absolute())
    folder = replace(folder, path=folder.path.absolute())
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except ConnectionError as error:
        raise UsageError(f"no Ray cluster answers ({one_line(error)}). Check RAY_ADDRESS.") from None
    signal.signal(signal.SIGTERM, earlier)  # which Ray has taken
    try:
        scarce = "GPU" if setup.device != "cpu" and _there("GPU") else "CPU"
        task = ray.remote(max_retries=attempts.MOST, max_calls=0, num_cpus=1, num_gpus=int(scarce == "GPU"))(_study)

        def work(source: Path, studies: list[Study]) -> Iterator[Outcome]:
            def begin(study: Study) -> Task:
                return task.remote(setup, folder, time_limit, source.absolute(), study)

            yield from _outcomes(studies, begin, lambda: _there(scarce), folder, supervision)

        yield work
    finally:
        ray.shutdown()


def _study(setup: Setup, folder: BatchFolder, time_limit: float, source: Path, study: Study) -> Outcome | DiskFull:
    try:
        gpu = os.environ.get("CUDA_VISIBLE_DEVICES")  # which may be another one the next time
        return _worker(setup, folder, time_limit, gpu).work(source, study)
    except DiskFull as error:
        return error
    except UsageError as error:
        if disk_full(error):
            return DiskFull(str(error))
        raise


@cache
def _worker(setup: Setup, folder: BatchFolder, time_limit: float, gpu: str | None) -> Worker:
    """This process's, for all its studies on a GPU: the network is loaded once."""
    del gpu
    return Worker(setup, folder.by(uuid.uuid4().hex[:8]), time_limit, lambda: False)


def _there(resource: str) -> int:
    """How much the cluster has of it, whose machines come and go."""
    return int(ray.cluster_resources().get(resource, 0))


def _outcomes(
    studies: list[Study],
    begin: Callable[[Study], Task],
    room: Callable[[], int],
    folder: BatchFolder,
    supervision: Supervision,
) -> Iterator[Outcome]:
    """As they come. No more are begun than there is room for, so that the batch can stop."""
    waiting = iter(studies)
    tasks: Tasks = {}
    try:
        while True:
            more = 0 if supervision.asked else max(1, room()) - len(tasks)
            for study in islice(waiting, max(0, more)):
                tasks[begin(study)] = study, folder.editions(study.name)
            if not tasks:
                break
            for ended in ray.wait(list(tasks), timeout=LOOK)[0]:
                yield _outcome(ended, *tasks.pop(ended), folder)
            if supervision.overdue():
                raise Abandoned
        if next(waiting, None):
            raise Abandoned
    finally:
        _abandon(tasks, folder)


def _outcome(ended: Task, study: Study, before: dict[str, Outcome], folder: BatchFolder) -> Outcome:
    try:
        answer = ray.get(ended)
    except RayTaskError:  # not about this study: all that is, is an outcome
        raise
    except RayError:  # time and again the process was gone, or the machine
        answer = published_since(folder, study.name, before) or Outcome(study.name, Reason.CRASHED)
        folder.settle(answer)
    if isinstance(answer, DiskFull):
        raise answer
    return answer


def _abandon(tasks: Tasks, folder: BatchFolder) -> None:
    for task in tasks:
        ray.cancel(task, force=True)
    if tasks:
        ray.wait(list(tasks), num_returns=len(tasks), timeout=ENDING)
    for study, _ in tasks.values():  # it was we who ended them
        attempts.end(folder.begun, study.name)
