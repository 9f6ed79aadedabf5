"""Finding studies in a folder, whatever its layout."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mri_n2n.data import dicom, raw
from mri_n2n.reconstruction import KNOWN


@dataclass(frozen=True)
class Study:
    """One piece of work: a file, or the files of a DICOM series.

    name: what it is called here, made by a hash of its place, or of the series' UID: nothing of them can be read from
    it. files: relative to the folder that was searched.
    """

    name: str
    files: tuple[str, ...]
    series: bool = False


def studies(source: Path) -> list[Study]:
    """All studies in a folder: files of raw k-space and volumes by their suffixes, DICOM by what is in the files."""
    found, others = [], []
    for relative in files(source):
        if relative.lower().endswith((*KNOWN, "/")):
            belonging = [path.relative_to(source).as_posix() for path in raw.files_of(source / relative)]
            found.append(Study(study_name(relative), (relative, *belonging[1:])))
        else:
            others.append(relative)
    for uid, paths in dicom.find_series(source / relative for relative in others).items():
        relatives = [path.relative_to(source).as_posix() for path in paths]
        if uid:
            found.append(Study(study_name(f"series {uid}"), tuple(relatives), series=True))
        else:  # nobody knows what these belong to
            found += [Study(study_name(relative), (relative,), series=True) for relative in relatives]
    return found


def files(source: Path) -> Iterator[str]:
    """The files in `source` and below, by their paths relative to it, in order.

    Hidden files and folders are left out, and so are links to folders, which may lead round in circles. A folder that
    may not be looked into is left out, too; it is named, with a slash at the end, so that it can be said.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(source / folder), key=lambda entry: os.fsencode(entry.name))
        except OSError:
            yield folder + "/"
            continue
        below = []
        for entry in entries:
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
