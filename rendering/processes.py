"""Frames rendered by several processes at once, each of which holds one scene at a time."""

import traceback
from collections.abc import Collection, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from mri_n2n.child_process import begin
from mri_n2n.errors import UsageError
from rendering.jobs import Job, Rendered, Renderers
from rendering.renderer import use_threads

MOST = 64


def rendered_by_processes(
    jobs: Sequence[Job], processes: int, size: tuple[int, int], variant: str
) -> Generator[Rendered, None, None]:
    """The jobs done, as they are. Close it, and the processes end at once.

    Raises `UsageError` for a scene that cannot be rendered, and for one that a process did not outlive.
    """
    from mri_n2n.environment import cores  # with PyTorch, which those who render need not load

    left = list(jobs)
    children: dict[Connection, SpawnProcess] = {}
    at_hand: dict[Connection, Job] = {}  # the last one of each, done or not

    def hand_out(connection: Connection) -> bool:
        own = at_hand[connection].scene.name if connection in at_hand else None
        job = next_job(left, own, {job.scene.name for other, job in at_hand.items() if other is not connection})
        if job is None:
            return False
        left.remove(job)
        at_hand[connection] = job
        try:
            connection.send(job)
        except OSError:
            raise _death(job, children[connection]) from None
        return True

    try:
        for _ in range(min(processes, len(jobs))):
            process, connection = begin(_serve, size, variant, max(1, cores() // processes))
            children[connection] = process
        busy = [connection for connection in children if hand_out(connection)]
        while busy:
            spoken = wait(busy)
            for connection in [each for each in busy if each in spoken]:
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    raise _death(at_hand[connection], children[connection]) from None
                if isinstance(answer, BaseException):
                    raise answer
                if not hand_out(connection):
                    busy.remove(connection)
                yield answer
    finally:
        for process in children.values():
            process.kill()
        for process in children.values():
            process.join()


def next_job(left: Sequence[Job], own: str | None, others: Collection[str]) -> Job | None:
    """What a process is to do next: of its own scene, else of one that no other has, else where most is left."""
    numbers: dict[str, int] = {}
    for job in left:
        numbers[job.scene.name] = numbers.get(job.scene.name, 0) + 1
    if not numbers:
        return None
    scene = max(numbers, key=lambda name: (name == own, name not in others, numbers[name]))
    return next(job for job in left if job.scene.name == scene)


def _serve(connection: Connection, size: tuple[int, int], variant: str, threads: int) -> None:
    if variant != "scalar_rgb":  # whose noise depends on their number, where a frame is of few blocks
        use_threads(threads)
    renderers = Renderers(size, variant)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            answer: Rendered | Exception = renderers.rendered(job)
        except UsageError as error:
            answer = error
        except Exception:  # noqa: BLE001 (its traceback goes on in the other process)
            answer = RuntimeError(traceback.format_exc())
        connection.send(answer)


def _death(job: Job, process: SpawnProcess) -> UsageError:
    process.join()
    return UsageError(
        f"{job.scene.path}: the process that rendered it ended (code {process.exitcode}); memory may have run out. "
        "Complete frames are kept. Give the same command with fewer --processes."
    )
