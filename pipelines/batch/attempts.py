"""How often work on a study began and never ended: what kills the machine must not kill it at every start."""

import os
from pathlib import Path

from mri_n2n.durable import sync, writing

MOST = 3  # beginnings without an end


def begin(folder: Path, study: str) -> None:
    """Say in a file in `folder` that work on a study begins: on the disk, so that a machine that falls counts, too."""
    path = folder / study
    with writing(path):
        with path.open("ab") as file:
            file.write(b".")
            file.flush()
            os.fsync(file.fileno())
        sync(folder)


def end(folder: Path, study: str) -> None:
    """Say that it has ended, or that it is for another reason that it did not."""
    (folder / study).unlink(missing_ok=True)


def given_up(folder: Path, study: str) -> bool:
    """Whether it began so often without an end that it is not to be tried. The next time, it may once more."""
    path = folder / study
    try:
        if path.stat().st_size < MOST:
            return False
    except FileNotFoundError:
        return False
    with writing(path):
        os.truncate(path, MOST - 1)
    return True
