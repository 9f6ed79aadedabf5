"""The folder that received instances are kept in: on the disk before anybody is told so, and once each.

INBOX/
  inbox.json             says that the folder is ours
  SERIES/INSTANCE.dcm    an instance; both names are hashes of UIDs
  SERIES/.settled        the batch has had the last word on what is there
  SERIES/.removed.json   what was there, before it was removed: SHA-256 by name
  SERIES/.replaced/      what instances were before they came again with another content
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mri_n2n.data import dicom
from mri_n2n.durable import check_writable, disk_full, read_json, replacing, sync_directory, write_json, writing
from mri_n2n.errors import UsageError
from pipelines.batch.discovery import Study, study_name
from pipelines.node.answer import Answer, Refused

FORMAT = "mri-n2n inbox 1"
MARKER, SETTLED, REMOVED, REPLACED = "inbox.json", ".settled", ".removed.json", ".replaced"
PATIENCE = 20  # times the settling time that a sender may keep a series open by staying connected


@dataclass(frozen=True)
class Room:
    """How much is taken in. instances, size: of a series, the latter in bytes. reserve: bytes of disk left free."""

    instances: int = 4096
    size: int = 8 << 30
    reserve: int = 2 << 30


@dataclass
class _Open:
    """A series without a last word yet. changes: how often something came to it; looked: and had when looked at."""

    instances: int
    size: int
    last: float
    writing: int = 0
    changes: int = 0
    looked: int = -1
    senders: set[str] = field(default_factory=set)


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
            for left in folder.glob(".partial-*"):
                left.unlink(missing_ok=True)
            if (folder / REMOVED).exists():
                _remove(folder)
            elif not (folder.name in settled and (folder / SETTLED).exists()):
                self._open[folder.name] = _opened(folder)

    def keep(self, instance: dicom.Instance, sender: str) -> Answer:
        """Have an instance durably on the disk; raises `Refused` if that cannot be."""
        folder = self.path / study_name(f"series {instance.series}")
        path = folder / f"{study_name(instance.uid)}.dcm"
        if _known(path, instance.content):
            return Answer.AGAIN
        try:
            with self._arriving(path, len(instance.content), sender), writing(path):
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / SETTLED).unlink(missing_ok=True)
                sync_directory(self.path)
                _set_aside(path)
                with replacing(path) as temporary:
                    temporary.write_bytes(instance.content)
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
                files = tuple(path.relative_to(self.path).as_posix() for path in _instances(self.path / name))
                if files:
                    series.looked = series.changes
                    found.append(Study(name, files, series=True))
                else:
                    del self._open[name]
        return found

    def unchanged(self, name: str) -> bool:
        """Whether nothing has come to a series since it was last found to be stable."""
        with self._lock:
            return self._unchanged(name)

    def settle(self, name: str) -> bool:
        """Take it that the last word is said on a series, unless something has come to it since; whether so."""
        with self._lock:
            if not self._unchanged(name):
                return False
            with suppress(OSError):  # then it is looked at again after a restart
                (self.path / name / SETTLED).touch()
            del self._open[name]
            return True

    def _unchanged(self, name: str) -> bool:
        series = self._open[name]
        return not series.writing and series.changes == series.looked

    def settled_for(self, seconds: float) -> list[str]:
        """Series that have been settled for so long and are still there."""
        found = []
        for folder in self._folders():
            with suppress(OSError):
                if time.time() - (folder / SETTLED).stat().st_mtime >= seconds and folder.name not in self._open:
                    found.append(folder.name)
        return found

    def remove(self, name: str) -> None:
        """Remove the instances of a settled series, and remember which they were."""
        folder = self.path / name
        with self._lock:
            if name in self._open:
                return
            write_json(folder / REMOVED, {path.stem: _sha256(path.read_bytes()) for path in _instances(folder)})
            _remove(folder)

    @contextmanager
    def _arriving(self, path: Path, size: int, sender: str) -> Iterator[None]:
        """While this lasts a series is not stable. Raises `Refused` if there is no room for so many bytes."""
        if shutil.disk_usage(self.path).free < self._room.reserve + size:
            raise Refused(Answer.FULL)
        with self._lock:
            if (path.parent / REMOVED).exists():
                raise Refused(Answer.REMOVED)
            series = self._open.setdefault(path.parent.name, _opened(path.parent))
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


def _opened(folder: Path) -> _Open:
    files = _instances(folder)
    return _Open(len(files), sum(path.stat().st_size for path in files), time.monotonic())


def _instances(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.dcm") if not path.name.startswith("."))


def _known(path: Path, content: bytes) -> bool:
    """Whether an instance came before, with this content."""
    removed = path.parent / REMOVED
    if removed.exists():
        return bool(read_json(removed, "list of instances").get(path.stem) == _sha256(content))
    if not path.exists() or not dicom.same(path.read_bytes(), content):
        return False
    sync_directory(path.parent)  # whoever wrote it may have ended before that
    return True


def _set_aside(path: Path) -> None:
    """Keep what an instance was, before it is replaced."""
    if not path.exists():
        return
    with writing(path):
        aside = path.parent / REPLACED
        aside.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.link(path, aside / f"{path.stem}-{_sha256(path.read_bytes())[:16]}.dcm")
        sync_directory(aside)


def _remove(folder: Path) -> None:
    for path in _instances(folder):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / REPLACED, ignore_errors=True)
    (folder / SETTLED).unlink(missing_ok=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
