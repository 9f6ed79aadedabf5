"""Progress bars: redrawn on a terminal, an occasional line in a log file."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def bar(
    items: Iterable[T],
    *,
    description: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    leave: bool = True,
    shown: bool = True,
) -> "tqdm[T]":
    """`items` with a progress bar on standard error; with `total` and no `items`, one moved by hand.

    leave: whether it stays to be seen when it is full; not for a part of something that has a bar of its own. shown:
    not where another process shows it.
    """
    on_terminal = sys.stderr.isatty()
    return tqdm(
        items,
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        leave=leave,
        disable=not shown,
        dynamic_ncols=on_terminal,
        mininterval=0.2 if on_terminal else 15.0,
        ascii=None if on_terminal else True,
    )


def say(line: str) -> None:
    """Print a line for the person on standard error, above any progress bar."""
    tqdm.write(line, file=sys.stderr)
