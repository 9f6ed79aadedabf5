"""A received series on the disk: its instances, and what is remembered of them.

SERIES/INSTANCE.dcm    an instance; both names are hashes of UIDs
SERIES/.settled        the batch has had the last word on what is there
SERIES/.removed.json   what was there, before it was removed: SHA-256 by name
SERIES/.replaced/      what instances were before they came again with another content
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from mri_n2n.data import dicom
from mri_n2n.durable import read_json, replacing, sync, write_json, writing

SETTLED, REMOVED, REPLACED = ".settled", ".removed.json", ".replaced"


def instances(folder: Path) -> list[Path]:
    """The files of a series, whole ones only."""
    return sorted(path for path in folder.glob("*.dcm") if not path.name.startswith("."))


def known(path: Path, content: bytes) -> bool:
    """Whether an instance came before, with this content; then it is durably there, or was removed."""
    if was_removed(path.parent):
        return bool(read_json(path.parent / REMOVED, "list of instances").get(path.stem) == _sha256(content))
    if not path.exists() or not dicom.same(path.read_bytes(), content):
        return False
    sync(path.parent)  # whoever wrote it may have ended before that
    return True


def write(path: Path, content: bytes) -> None:
    """Have an instance durably on the disk, and no last word on its series. Raises `UsageError`."""
    folder = path.parent
    with writing(path):
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / SETTLED).unlink(missing_ok=True)
        sync(folder.parent)
        if path.exists():
            _set_aside(path)
        with replacing(path) as temporary:
            temporary.write_bytes(content)


def settle(folder: Path) -> None:
    """Remember that the last word is said on what is there."""
    with suppress(OSError):  # then it is said once more after a restart
        (folder / SETTLED).touch()


def settled_at(folder: Path) -> float | None:
    """When that was, in seconds since 1970; None if it was not, or something has come since."""
    try:
        return (folder / SETTLED).stat().st_mtime
    except OSError:
        return None


def remove(folder: Path) -> None:
    """Remove the instances, and remember which they were; what an earlier removal did not end is ended."""
    if not was_removed(folder):
        write_json(folder / REMOVED, {path.stem: _sha256(path.read_bytes()) for path in instances(folder)})
    for path in instances(folder):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / REPLACED, ignore_errors=True)
    (folder / SETTLED).unlink(missing_ok=True)


def was_removed(folder: Path) -> bool:
    """Whether the instances of a series were removed, or are just being."""
    return (folder / REMOVED).exists()


def clear(folder: Path) -> None:
    """Remove what is half-written."""
    for left in folder.glob(".partial-*"):
        left.unlink(missing_ok=True)


def _set_aside(path: Path) -> None:
    """Keep what an instance was, before it is replaced."""
    aside = path.parent / REPLACED
    aside.mkdir(mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        os.link(path, aside / f"{path.stem}-{_sha256(path.read_bytes())[:16]}.dcm")
    sync(aside)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
