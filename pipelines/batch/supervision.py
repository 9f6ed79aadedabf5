"""What a batch heeds while it works: signals that ask it to stop, and a heartbeat for who watches it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

BEAT = 5.0  # seconds between heartbeats


class Abandoned(Exception):
    """Something was left as it was: the batch is to stop."""


class Supervision:
    """Asked again and again by whatever takes long.

    heartbeat: the file that is touched while the batch is alive; MRI_N2N_HEARTBEAT names one beside it, for who watches
    one process (a container) of several that share an output. grace: seconds that studies at hand still have once
    the batch is asked to stop.
    """

    def __init__(self, heartbeat: Path, grace: float) -> None:
        self.asked = False
        self._grace, self._since = grace, 0.0
        own = os.environ.get("MRI_N2N_HEARTBEAT")
        self._heartbeats = [heartbeat, *([Path(own)] if own else [])]
        self._last = -BEAT

    def ask(self, number: int, frame: FrameType | None) -> None:
        """To stop; as a handler of signals."""
        del number, frame
        if not self.asked:
            self._since = time.monotonic()
            self.asked = True  # no Event: its lock may be held by what the signal interrupts
            os.write(2, b"stopping: the study at hand may still end.\n")

    def beat(self) -> None:
        """Touch the heartbeat, if it is time."""
        if time.monotonic() - self._last >= BEAT:
            self._last = time.monotonic()
            for heartbeat in self._heartbeats:
                with suppress(OSError):  # a full disk is told by what has to be written
                    heartbeat.touch()

    def overdue(self) -> bool:
        """Whether studies at hand are to be abandoned."""
        self.beat()
        return self.asked and time.monotonic() - self._since >= self._grace

    def heed(self) -> None:
        """Raise `Abandoned` if asked to stop: for where no study is at hand."""
        self.beat()
        if self.asked:
            raise Abandoned

    def wait(self, seconds: float) -> None:
        """The same for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.heed()
            time.sleep(min(0.2, seconds))
        self.heed()


@contextmanager
def supervised(heartbeat: Path, grace: float) -> Iterator[Supervision]:
    """SIGINT and SIGTERM ask the batch to stop, until the context ends."""
    supervision = Supervision(heartbeat, grace)
    earlier = {number: signal.signal(number, supervision.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield supervision
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
