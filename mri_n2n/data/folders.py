"""What lies in a folder, and what of it may not be read."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mri_n2n.errors import BadVolume

T = TypeVar("T")
Heed = Callable[[], object]  # called for every file: it may raise, to end the search


@dataclass(frozen=True)
class Looked:
    """The files under a folder by path, and the files and folders that may not be looked at."""

    files: list[Path]
    closed: list[Path]


def look_into(source: Path) -> Looked:
    """Find the files in `source` and below, as `files_in` does."""
    files: list[Path] = []
    closed: list[Path] = []
    try:
        found = list(files_in(source))
    except PermissionError:
        return Looked([], [source])
    for relative in found:
        path = source / relative
        try:
            if relative.endswith("/"):
                closed.append(path)
            elif stat.S_ISREG(path.stat().st_mode):
                files.append(path)
        except PermissionError:  # a folder may be listed, and what is in it not be looked at
            closed.append(path)
        except OSError:  # gone, or a link that leads nowhere
            pass
    return Looked(sorted(files), sorted(closed))


def files_in(source: Path, heed: Heed = lambda: None) -> Iterator[str]:
    """The files in `source` and below, by their paths relative to it, in order.

    Hidden files and folders are left out, and so are links to folders, which may lead round in circles. A folder that
    cannot be looked into is left out, too; it is named, with a slash at the end, so that it can be said. Raises
    `OSError` if `source` itself cannot.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(source / folder) as found:
                entries = sorted(heeded(found, heed), key=lambda entry: os.fsencode(entry.name))
        except (FileNotFoundError, NotADirectoryError):
            if not folder:
                raise
            continue  # it was moved meanwhile
        except OSError:
            if not folder:
                raise
            yield folder + "/"
            continue
        below = []
        for entry in heeded(entries, heed):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(path)
            elif not _is_folder(source / path):
                yield path
        folders += reversed(below)


def heeded(items: Iterable[T], heed: Heed) -> Iterator[T]:
    """The items, with a call of `heed` before each."""
    for item in items:
        heed()
        yield item


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False  # a link that leads nowhere, which who reads it will say


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
