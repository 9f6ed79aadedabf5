"""Finding DICOM series among files, and what a directory beside them says that they should have."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import uid
from pydicom.filereader import read_file_meta_info

from mri_n2n.data.dicom.directory import listed
from mri_n2n.data.dicom.files import FOREIGN, is_dicom, opened, quietly

SUFFIXES = (".dcm", ".ima")  # often there is none: files are told by what is in them
_TOLD = ["SeriesInstanceUID", "SOPInstanceUID"]


@dataclass(frozen=True)
class Found:
    """DICOM files by their SeriesInstanceUID, which is empty where it cannot be read.

    missing: how many images directories list of a series that no file is of; where there are any.
    """

    series: dict[str, list[Path]]
    missing: dict[str, int]


def find_series(files: Iterable[Path]) -> Found:
    """The DICOM series among these files. Directories (DICOMDIR) are left out: they name what lies beside them."""
    found: dict[str, list[Path]] = {}
    images: set[str] = set()
    directories = []
    for path in files:
        if is_dicom(path):
            kind, series, image = _identity(path)
            if kind == uid.MediaStorageDirectoryStorage:
                directories.append(path)
            else:
                found.setdefault(series, []).append(path)
                images.add(image)
        elif path.name.lower().endswith(SUFFIXES):
            found.setdefault("", []).append(path)
    missing: dict[str, set[str]] = {}
    for path in directories:
        for series, expected in listed(path).items():
            lost = expected - images
            if series in found and lost and lost != expected:  # else it tells of other files
                missing.setdefault(series, set()).update(lost)
    return Found(found, {series: len(lost) for series, lost in missing.items()})


@quietly()
def _identity(path: Path) -> tuple[str, str, str]:
    """SOP class, series and instance of a file; empty where it does not say, or cannot be read."""
    try:
        kind = str(read_file_meta_info(path).get("MediaStorageSOPClassUID") or "")
        if kind == uid.MediaStorageDirectoryStorage:  # which is read elsewhere, within bounds
            return kind, "", ""
        head = opened(path, stop_before_pixels=True, specific_tags=_TOLD)
        return kind, str(head.get("SeriesInstanceUID") or ""), str(head.get("SOPInstanceUID") or "")
    except FOREIGN:
        return "", "", ""
