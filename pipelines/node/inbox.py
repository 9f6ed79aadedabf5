"""The folder that received instances are kept in: on the disk before anybody is told so, and once each.

INBOX/inbox.json says that the folder is ours; INBOX/SERIES/ is a series (see `series_folder`). A series is open until
the batch has had the last word on all that came.
"""

import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mri_n2n.data import dicom
from mri_n2n.durable import check_writable, disk_full, read_json, write_json, writing
from mri_n2n.errors import UsageError
from pipelines.batch.discovery import Study, study_name
from pipelines.node import series_folder
from pipelines.node.answer import Answer, Refused

FORMAT = "mri-n2n inbox 1"
MARKER = "inbox.json"
PATIENCE = 20  # times the settling time that a sender may keep a series open by staying connected


@dataclass(frozen=True)
class Room:
    """How much is taken in. instances, size: of a series, the latter in bytes. reserve: bytes of disk left free."""

    instances: int = 4096
    size: int = 8 << 30
    reserve: int = 2 << 30


@dataclass
class _Open:
    """An open series. changes: how often something came to it; looked: and had when looked at."""

    instances: int
    size: int
    last: float
    writing: int = 0
    changes: int = 0
    looked: int = -1
    senders: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, folder: Path) -> "_Open":
        """With what is on the disk."""
        files = series_folder.instances(folder)
        return cls(len(files), sum(path.stat().st_size for path in files), time.monotonic())

    @property
    def unchanged(self) -> bool:
        """Whether nothing has come since it was looked at."""
        return not self.writing and self.changes == self.looked


class Inbox:
    """Received series. Instances come in any thread; the rest is one thread's."""

    def __init__(self, path: Path, room: Room) -> None:
        self.path = path
        self._room = room
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folder, for the owner's eyes only, or take up an earlier one. Raises for a foreign folder."""
        marker = self.path / MARKER
        if self.path.exists() and not marker.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path} is not of an earlier node. Choose another folder for what is received.")
        check_writable(self.path)
        with writing(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        if not marker.exists():
            write_json(marker, {"format": FORMAT})
        elif read_json(marker, "inbox").get("format") != FORMAT:
            raise UsageError(f"{self.path} is of another version of this program. Choose another folder.")

    def resume(self, settled: Collection[str]) -> None:
        """Take up what is there: a series is open unless it is one of `settled` and nothing has come since."""
        for folder in self._folders():
            series_folder.clear(folder)
            if series_folder.was_removed(folder):
                series_folder.remove(folder)
            elif not (folder.name in settled and series_folder.settled_at(folder)):
                self._open[folder.name] = _Open.of(folder)

    def keep(self, instance: dicom.Instance, sender: str) -> Answer:
        """Have an instance durably on the disk; raises `Refused` if that cannot be."""
        path = self.path / study_name(f"series {instance.series}") / f"{study_name(instance.uid)}.dcm"
        if series_folder.known(path, instance.content):
            return Answer.AGAIN
        try:
            with self._arriving(path, len(instance.content), sender):
                series_folder.write(path, instance.content)
        except UsageError as error:
            raise Refused(Answer.FULL if disk_full(error) else Answer.TROUBLE) from error
        return Answer.KEPT

    def stable(self, settle: float, connected: Collection[str]) -> list[Study]:
        """Series to which nothing has come for `settle` seconds, and whose senders are not `connected` any more."""
        found, now = [], time.monotonic()
        with self._lock:
            for name, series in list(self._open.items()):
                quiet = now - series.last
                busy = not series.senders.isdisjoint(connected) and quiet < PATIENCE * settle
                if series.writing or quiet < settle or busy:
                    continue
                files = series_folder.instances(self.path / name)
                if files:
                    series.looked = series.changes
                    relatives = tuple(path.relative_to(self.path).as_posix() for path in files)
                    found.append(Study(name, relatives, series=True))
                else:  # nothing of it could be written
                    del self._open[name]
        return found

    def unchanged(self, name: str) -> bool:
        """Whether nothing has come to a series since it was last found to be stable."""
        with self._lock:
            return self._open[name].unchanged

    def settle(self, name: str) -> bool:
        """Take it that the last word is said on a series, unless something has come to it since; whether so."""
        with self._lock:
            if not self._open[name].unchanged:
                return False
            series_folder.settle(self.path / name)
            del self._open[name]
            return True

    def settled_for(self, seconds: float) -> list[str]:
        """Series that have been settled for so long and are still there."""
        limit = time.time() - seconds
        times = {folder.name: series_folder.settled_at(folder) for folder in self._folders()}
        return [name for name, since in times.items() if since and since <= limit and name not in self._open]

    def remove(self, name: str) -> None:
        """Remove the instances of a settled series, and remember which they were."""
        with self._lock:
            if name not in self._open:
                series_folder.remove(self.path / name)

    @contextmanager
    def _arriving(self, path: Path, size: int, sender: str) -> Iterator[None]:
        """While this lasts a series is not stable. Raises `Refused` if there is no room for so many bytes."""
        if shutil.disk_usage(self.path).free < self._room.reserve + size:
            raise Refused(Answer.FULL)
        with self._lock:
            if series_folder.was_removed(path.parent):
                raise Refused(Answer.REMOVED)
            series = self._open.get(path.parent.name) or _Open.of(path.parent)
            self._open[path.parent.name] = series
            new = not path.exists()
            if series.instances + new > self._room.instances or series.size + size > self._room.size:
                raise Refused(Answer.TOO_LARGE)
            series.writing += 1
            series.senders.add(sender)
        try:
            yield
            with self._lock:
                series.instances, series.size = series.instances + new, series.size + size
        finally:
            with self._lock:
                series.writing, series.changes, series.last = series.writing - 1, series.changes + 1, time.monotonic()

    def _folders(self) -> list[Path]:
        return [path for path in sorted(self.path.iterdir()) if path.is_dir() and not path.name.startswith(".")]
