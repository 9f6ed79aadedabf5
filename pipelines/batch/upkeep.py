"""The summary, kept up to date while a batch works, and as seldom as its size asks for."""

import time
from collections.abc import Callable
from contextlib import suppress

from mri_n2n.durable import Busy
from pipelines.batch.folder import BatchFolder
from pipelines.batch.summary import write_summary

LEAST = 30.0  # seconds between summaries, times the number of shards
SHARE = 20  # times what the last one took


class Upkeep:
    """Writes the summary when something has changed and it is time. beat: called before each try."""

    def __init__(self, folder: BatchFolder, beat: Callable[[], None]) -> None:
        self._folder, self._beat = folder, beat
        self._changed, self._due = False, 0.0

    def changed(self) -> None:
        """There is something to tell: now, or when it is time."""
        self._changed = True
        self.look()

    def look(self) -> None:
        """Tell it if it is time, and no other shard is at it."""
        if self._changed and time.monotonic() >= self._due:
            self._written()

    def finish(self, patience: float, asked: Callable[[], bool] = lambda: False) -> None:
        """Tell all, once no other shard is at it: the last one tells what all did.

        One that hangs at it keeps nobody for longer than `patience` seconds, nor who is asked to stop.
        """
        end = time.monotonic() + patience
        while not self._written() and time.monotonic() < end and not asked():
            time.sleep(0.1)

    def _written(self) -> bool:
        self._beat()
        began = time.monotonic()
        with suppress(Busy), self._folder.summarising():
            write_summary(self._folder)
            now = time.monotonic()
            self._changed, self._due = False, now + max(LEAST * self._folder.shard.count, SHARE * (now - began))
            return True
        return False
