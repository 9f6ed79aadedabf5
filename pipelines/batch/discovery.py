"""Finding studies in a folder, whatever its layout."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mri_n2n.data import dicom, raw
from mri_n2n.reconstruction import KNOWN

T = TypeVar("T")


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


Heed = Callable[[], object]  # called for every file: it may raise, to end the search


def studies(source: Path, heed: Heed = lambda: None, memory: dicom.Memory | None = None) -> list[Study]:
    """All studies in a folder: files of raw k-space and volumes by their suffixes, DICOM by what is in the files.

    A file that is too short to be told, and lies beside DICOM, is a study that cannot be read: a slice may be lost.
    memory: of earlier looks, for DICOM.
    """
    found: list[Study] = []
    others: list[str] = []
    for relative in files(source, heed):
        if relative.lower().endswith((*KNOWN, "/")):
            belonging = [path.relative_to(source).as_posix() for path in raw.files_of(source / relative)]
            found.append(Study(study_name(relative), (relative, *belonging[1:])))
        else:
            others.append(relative)
    parts = {relative for study in found for relative in study.files[1:]}
    others = [relative for relative in others if relative not in parts]
    known = set()
    series = dicom.find_series(_heeded((source / relative for relative in others), heed), memory)
    for uid, paths in series.series.items():
        relatives = [path.relative_to(source).as_posix() for path in paths]
        known.update(relatives)
        if uid:
            missing = series.missing.get(uid, 0)
            found.append(Study(study_name(f"series {uid}"), tuple(relatives), series=True, missing=missing))
        else:  # nobody knows what these belong to
            found += [_alone(relative) for relative in relatives]
    places = {PurePosixPath(relative).parent for relative in known}
    beside = [relative for relative in others if PurePosixPath(relative).parent in places and relative not in known]
    found += [_alone(relative) for relative in _heeded(beside, heed) if _cut_short(source / relative)]
    return found


def files(source: Path, heed: Heed = lambda: None) -> Iterator[str]:
    """The files in `source` and below, by their paths relative to it, in order.

    Hidden files and folders are left out, and so are links to folders, which may lead round in circles. A folder that
    may not be looked into is left out, too; it is named, with a slash at the end, so that it can be said.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(source / folder) as found:
                entries = sorted(_heeded(found, heed), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            yield folder + "/"
            continue
        below = []
        for entry in _heeded(entries, heed):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(path)
            elif not _is_folder(source / path):
                yield path
        folders += reversed(below)


def study_name(identity: str) -> str:
    """What a study of this identity is called here."""
    return hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False  # a link that leads nowhere is a study that cannot be read


def _alone(relative: str) -> Study:
    return Study(study_name(relative), (relative,), series=True)


def _cut_short(path: Path) -> bool:
    """Whether a file ends before it could say that it is DICOM, and is called as DICOM files are: not .txt or so."""
    try:
        return not any(map(str.isalpha, path.suffix)) and path.is_file() and path.stat().st_size < dicom.PREAMBLE
    except OSError:
        return False


def _heeded(items: Iterable[T], heed: Heed) -> Iterator[T]:
    for item in items:
        heed()
        yield item
