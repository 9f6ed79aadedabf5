"""Finding studies in a folder, whatever its layout."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path


def found(source: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """The files with one of the suffixes in `source` and below, by their paths relative to it, in order.

    Hidden files and folders are left out, and so are links to folders, which may lead round in circles. A folder that
    may not be looked into is left out, too; its name ends in a slash then, so that it can be said.
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
            elif entry.name.lower().endswith(tuple(suffixes)) and not _is_folder(source / path):
                yield path
        folders += reversed(below)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False  # a link that leads nowhere is a study that cannot be read
