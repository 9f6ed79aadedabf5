"""Files that lines of JSON are appended to: by several processes, any of which may end in the midst of a line."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mri_n2n.durable import reading, writing

LATEST = 65536  # bytes


def append(path: Path, mode: int, lines: Iterable[dict[str, Any]]) -> None:
    """Append lines to a file, which is made with this mode; after one that was not written to its end, on a new one."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
        with os.fdopen(descriptor, "ab") as file:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            file.write(b"\n" * torn + text.encode())


def lines_of(path: Path, latest: bool = False) -> Iterator[dict[str, Any]]:
    """The lines that are whole; none where there is no file. latest: of the file's end alone.

    Raises `UsageError` if it may not be read.
    """
    with reading(path), suppress(FileNotFoundError), path.open("rb") as file:
        if latest:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LATEST))
        for line in file:
            with suppress(ValueError, TypeError):
                yield dict(json.loads(line))
