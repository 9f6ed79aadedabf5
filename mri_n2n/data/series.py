"""DICOM series in a folder, each as one volume among those in files."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from mri_n2n.data import dicom
from mri_n2n.data.folders import look_into, refuse_closed
from mri_n2n.data.volumes import Volume, find_volumes, suffix
from mri_n2n.errors import BadVolume, Problem, UsageError

CONVERTED = "NIfTI is read, and dcm2niix makes it of most kinds of MR."
SeriesFiles = Mapping[Path, tuple[Path, ...]]  # the files of each series by the first of them, which stands for it


def find_series(source: Path, known: tuple[str, ...]) -> SeriesFiles:
    """The DICOM series under `source`; files of `known` suffixes and hidden ones are left out. Of a file, none."""
    if not source.is_dir():
        return {}
    others = [path for path in look_into(source).files if not suffix(path, known)]
    found: dict[Path, tuple[Path, ...]] = {}
    for uid, files in dicom.find_series(others).series.items():
        for group in [files] if uid else [[file] for file in files]:  # nobody knows what these belong to
            found[group[0]] = tuple(group)
    return found


def files_and_series(source: Path, known: tuple[str, ...], series: SeriesFiles) -> list[Path]:
    """The files of `known` suffixes under a folder, and of each series the first file; raises if there are none."""
    try:
        return sorted([*find_volumes(source, known), *series])
    except UsageError:
        if not series:
            raise
        return sorted(series)


def read_series(files: tuple[Path, ...]) -> Volume:
    """Read and check one series as a volume; raises `BadVolume`, which names its folder."""
    refuse_closed(*files)
    try:
        return dicom.read_series(files).volume
    except BadVolume as error:
        if error.problem is Problem.UNSUPPORTED:
            error = BadVolume(f"{error} {CONVERTED}", error.problem)
        raise error.of(folder_of(files)) from None


def folder_of(files: tuple[Path, ...]) -> Path:
    """The folder that all files of a series are in, or in folders below."""
    return Path(os.path.commonpath([file.parent for file in files]))


def series_names(source: Path, series: SeriesFiles) -> dict[Path, Path]:
    """What an output of each series is called, without a suffix, relative to `source`, by the series' first file.

    After its folder, where it is alone in it; else, in this folder, after a hash of its first file's place.
    """
    folders = {first: folder_of(files) for first, files in series.items()}
    names = {}
    for first, folder in folders.items():
        inner = folder.relative_to(source)
        if list(folders.values()).count(folder) > 1:
            place = hashlib.sha256(os.fsencode(first.relative_to(source).as_posix())).hexdigest()
            names[first] = inner / f"series-{place[:8]}"
        else:
            names[first] = inner if inner.name else Path(source.resolve().name)
    return names
