"""Finding studies in a folder, whatever its layout."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mri_n2n.data import dicom, raw
from mri_n2n.data.folders import Heed, files_in, heeded
from mri_n2n.reconstruction import KNOWN


@dataclass(frozen=True)
class Study:
    """One piece of work: a file, or the files of a DICOM series.

    name: what it is called here, made by a hash of its place, or of the series' UID: nothing of them can be read from
    it. files: relative to the folder that was searched. missing: images of the series that a DICOMDIR lists and no file
    is of.
    """

    name: str
    files: tuple[str, ...]
    series: bool = False
    missing: int = 0


def studies(source: Path, heed: Heed = lambda: None, memory: dicom.Memory | None = None) -> list[Study]:
    """All studies in a folder: files of raw k-space and volumes by their suffixes, DICOM by what is in the files.

    What lies beside DICOM, is called as DICOM files are and is none, cannot be read as a study: a slice may be lost.
    memory: of earlier looks, for DICOM.
    """
    found: list[Study] = []
    others: list[str] = []
    for relative in files_in(source, heed):
        if relative.lower().endswith((*KNOWN, "/")):
            belonging = [path.relative_to(source).as_posix() for path in raw.files_of(source / relative)]
            found.append(Study(study_name(relative), (relative, *belonging[1:])))
        else:
            others.append(relative)
    parts = {relative for study in found for relative in study.files[1:]}
    others = [relative for relative in others if relative not in parts]
    known = set()
    series = dicom.find_series(heeded((source / relative for relative in others), heed), memory, heed)
    for uid, paths in series.series.items():
        relatives = [path.relative_to(source).as_posix() for path in paths]
        known.update(relatives)
        if uid:
            missing = series.missing.get(uid, 0)
            found.append(Study(study_name(f"series {uid}"), tuple(relatives), series=True, missing=missing))
        else:  # nobody knows what these belong to
            found += [_alone(relative) for relative in relatives]
    names = {_pattern(relative) for relative in known}
    places = {parent for parent, _ in names}
    beside = [relative for relative in others if PurePosixPath(relative).parent in places and relative not in known]
    lost = (path for path in heeded(beside, heed) if _pattern(path) in names or _seems_broken(source / path))
    found += [_alone(relative) for relative in lost]
    return found


def study_name(identity: str) -> str:
    """What a study of this identity is called here."""
    return hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]


def _alone(relative: str) -> Study:
    return Study(study_name(relative), (relative,), series=True)


def _pattern(relative: str) -> tuple[PurePosixPath, str]:
    """The folder, and what files of one series are called but for numbers."""
    path = PurePosixPath(relative)
    return path.parent, re.sub(r"\d+", "0", path.name)


def _seems_broken(path: Path) -> bool:
    """Whether a file is called as DICOM files are, not .txt or so, and is too short to say that it is, or no text."""
    if any(map(str.isalpha, path.suffix)):
        return False
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return False
        with path.open("rb") as file:
            begin = file.read(1024)
        return len(begin) < dicom.PREAMBLE or b"\0" in begin
    except OSError:
        return False
