"""Finding DICOM series among files, and what a directory beside them says that they should have."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import uid
from pydicom.filereader import read_file_meta_info

from mri_n2n.data.dicom.directory import listed
from mri_n2n.data.dicom.files import FOREIGN, is_dicom, opened, quietly

SUFFIXES = (".dcm", ".ima")  # often there is none: files are told by what is in them
_Stamp = tuple[int, int, int]
_Identity = tuple[str, str, str]
_TOLD = ["SeriesInstanceUID", "SOPInstanceUID"]


@dataclass(frozen=True)
class Found:
    """DICOM files by their SeriesInstanceUID, which is empty where it cannot be read.

    missing: how many images directories list of a series that no file is of; where there are any.
    """

    series: dict[str, list[Path]]
    missing: dict[str, int]


class Memory:
    """What was read of DICOM files in one look, so that the next one opens only those that are new or have changed."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[_Stamp, _Identity]] = {}
        self._now: dict[str, tuple[_Stamp, _Identity]] = {}

    def identity(self, path: Path) -> _Identity | None:
        """SOP class, series and instance of a file, empty where it does not say; None for what is no DICOM."""
        name, stamp = str(path), _stamp(path)
        stamped, known = self._before.get(name, (None, None))
        if known is None or stamp is None or stamped != stamp:
            known = _identity(path) if is_dicom(path) else None
        if known and known[1] and stamp:
            self._now[name] = stamp, known
        return known

    def end(self) -> None:
        """Forget files that this look did not find."""
        self._before, self._now = self._now, {}


def find_series(files: Iterable[Path], memory: Memory | None = None) -> Found:
    """The DICOM series among these files. Directories (DICOMDIR) are left out: they name what lies beside them.

    memory: of earlier looks at the same files.
    """
    memory = memory or Memory()
    found: dict[str, list[Path]] = {}
    images: set[str] = set()
    directories = []
    for path in files:
        identity = memory.identity(path)
        if identity is not None:
            kind, series, image = identity
            if kind == uid.MediaStorageDirectoryStorage:
                directories.append(path)
            else:
                found.setdefault(series, []).append(path)
                images.add(image)
        elif path.name.lower().endswith(SUFFIXES):
            found.setdefault("", []).append(path)
    memory.end()
    missing: dict[str, set[str]] = {}
    for path in directories:
        for series, expected in listed(path).items():
            lost = expected - images
            if series in found and lost and lost != expected:  # else it tells of other files
                missing.setdefault(series, set()).update(lost)
    return Found(found, {series: len(lost) for series, lost in missing.items()})


def _stamp(path: Path) -> _Stamp | None:
    try:
        about = path.stat()
        return about.st_ino, about.st_size, about.st_ctime_ns
    except OSError:
        return None


@quietly()
def _identity(path: Path) -> _Identity:
    """SOP class, series and instance of a file; empty where it does not say, or cannot be read."""
    try:
        kind = str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or "")
        if kind == uid.MediaStorageDirectoryStorage:  # which is read elsewhere, within bounds
            return kind, "", ""
        head = opened(path, stop_before_pixels=True, specific_tags=_TOLD)
        return kind, sys.intern(str(head.get("SeriesInstanceUID") or "")), str(head.get("SOPInstanceUID") or "")
    except FOREIGN:
        return "", "", ""
