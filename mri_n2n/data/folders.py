"""What lies in a folder, and what of it may not be read."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mri_n2n.errors import BadVolume


@dataclass(frozen=True)
class Looked:
    """The files under a folder by path, hidden ones left out, and the files and folders that may not be looked at."""

    files: list[Path]
    closed: list[Path]


def look_into(source: Path) -> Looked:
    """Find the files in `source` and below; links to folders are not followed, as they may lead round in circles."""
    files, closed = [], []

    def refused(error: OSError) -> None:
        if isinstance(error, PermissionError):
            closed.append(Path(error.filename))

    for folder, _, names in os.walk(source, onerror=refused):
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            try:
                if path.is_file():
                    files.append(path)
            except PermissionError:  # a folder may be listed, and what is in it not be looked at
                closed.append(path)
    return Looked(sorted(files), sorted(closed))


def closed_places(*sources: Path) -> list[Path]:
    """What in folders may not be looked at; of a file, nothing."""
    return [path for source in sources if source.is_dir() for path in look_into(source).closed]


def closed_line(path: Path) -> str:
    """What is said of a file or folder that may not be read."""
    return f"{path} may not be read. Check its permissions."


def refuse_closed(*paths: Path) -> None:
    """Raise `BadVolume` if one of these files may not be read: the libraries would call it damaged, or say nothing."""
    for path in paths:
        with suppress(FileNotFoundError, IsADirectoryError):
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # a pipe would keep us waiting
            except PermissionError:
                raise BadVolume(closed_line(path)) from None
