"""Finding DICOM series among files, and what a directory beside them says that they should have."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from pydicom import uid
from pydicom.filereader import read_file_meta_info

from mri_n2n.data.dicom.directory import listed
from mri_n2n.data.dicom.files import FOREIGN, is_dicom, opened, quietly
from mri_n2n.data.folders import Heed
from mri_n2n.errors import BadVolume

SUFFIXES = (".dcm", ".ima")  # often there is none: files are told by what is in them
T = TypeVar("T")
_Stamp = tuple[int, int, int]
_TOLD = ["SeriesInstanceUID", "SOPInstanceUID"]


class _Identity(NamedTuple):
    """SOP class, series and instance of a file."""

    kind: str = ""
    series: str = ""
    image: str = ""


@dataclass(frozen=True)
class Found:
    """DICOM files by their SeriesInstanceUID, which is empty where it cannot be read.

    missing: how many images directories list of a series that no file is of; where there are any.
    """

    series: dict[str, list[Path]]
    missing: dict[str, int]


class Memory:
    """What was read of files in one look, so that the next one opens only those that are new or have changed."""

    def __init__(self) -> None:
        self._before: dict[bytes, tuple[_Stamp, Any]] = {}
        self._now: dict[bytes, tuple[_Stamp, Any]] = {}

    def told(self, what: str, path: Path, read: Callable[[], T], lasting: Callable[[T], bool] = lambda _: True) -> T:
        """What `read` says of a file; `lasting` says whether it holds as long as the file stays the same."""
        name = hashlib.blake2b(what.encode() + os.fsencode(path), digest_size=16).digest()
        stamp = _stamp(path)
        stamped, known = self._before.get(name, (None, None))
        said = cast(T, known) if stamp is not None and stamped == stamp else read()
        if stamp is not None and lasting(said):
            self._now[name] = stamp, said
        return said

    def end(self) -> None:
        """Forget files that this look did not find."""
        self._before, self._now = self._now, {}


def find_series(files: Iterable[Path], memory: Memory | None = None, heed: Heed = lambda: None) -> Found:
    """The DICOM series among these files. Directories (DICOMDIR) are left out: they name what lies beside them.

    memory: of earlier looks at the same files. heed: called for every record of a directory.
    """
    memory = memory or Memory()
    found: dict[str, list[Path]] = {}
    images: set[str] = set()
    directories = []
    for path in files:
        identity = memory.told("identity", path, partial(_identity, path), lambda said: said is None or said.kind != "")
        if identity is not None and identity.kind == uid.MediaStorageDirectoryStorage:
            directories.append(path)
        elif identity is not None:
            found.setdefault(identity.series, []).append(path)
            images.add(identity.image)
        elif path.name.lower().endswith(SUFFIXES):
            found.setdefault("", []).append(path)
    missing: dict[str, set[str]] = {}
    for path in directories:
        for series, expected in memory.told("images", path, partial(listed, path, heed)).items():
            lost = expected - images
            if series in found and lost and lost != expected:  # else it tells of other files
                missing.setdefault(series, set()).update(lost)
    memory.end()
    return Found(found, {series: len(lost) for series, lost in missing.items()})


def _stamp(path: Path) -> _Stamp | None:
    try:
        about = path.stat()
        return about.st_ino, about.st_size, about.st_ctime_ns
    except OSError:
        return None


@quietly()
def _identity(path: Path) -> _Identity | None:
    """What a file says that it is; empty where it does not say, or cannot be read. None for what is no DICOM."""
    if not is_dicom(path):
        return None
    try:
        kind = str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or "")
        if kind == uid.MediaStorageDirectoryStorage:  # which is read elsewhere, within bounds
            return _Identity(kind)
        head = opened(path, stop_before_pixels=True, specific_tags=_TOLD)
        series, image = (str(head.get(name) or "") for name in _TOLD)
        return _Identity(sys.intern(kind), sys.intern(series), image)
    except (BadVolume, *FOREIGN):
        return _Identity()
