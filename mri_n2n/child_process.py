"""A process of ours that works for this one: it leaves signals to it, and ends with it."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Concatenate, ParamSpec

Parameters = ParamSpec("Parameters")
STOPPING = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1


def begin(
    work: Callable[Concatenate[Connection, Parameters], None], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> tuple[SpawnProcess, Connection]:
    """Have `work(connection, ...)` done in a process of its own, and the other end of the connection.

    It hears no Ctrl-C and no SIGTERM: kill it. When this process ends, however, the connection is closed, and on Linux
    the other one is killed. Where memory is short it offers itself first.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs, os.getpid(), args, kwargs), daemon=True)
    resource_tracker.ensure_running()  # begun meanwhile, it would let signals through
    with signals_held():
        process.start()
    theirs.close()
    return process, ours


def end_with_parent(how: signal.Signals) -> None:
    """Have this process get a signal when the one that began it ends, however that does. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)


@contextmanager
def signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end. A process that is begun meanwhile never hears them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _serve(
    work: Callable[..., None], connection: Connection, parent: int, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if os.getppid() == parent:
        work(connection, *args, **kwargs)
