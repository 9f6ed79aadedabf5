"""Progress of what takes long: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
EVERY = 30.0  # seconds between lines in a log
LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}"


class _Log:
    """Where a bar is drawn that nobody sees: what would be redrawn becomes a line, every so often at most."""

    def __init__(self) -> None:
        self._said, self._any, self._last = time.monotonic(), False, ""

    def write(self, text: str) -> None:
        line = text.strip()
        if line and time.monotonic() - self._said >= EVERY:
            self._said, self._any = time.monotonic(), True
            sys.stderr.write(f"{line}\n")
        elif text == "\n" and self._any:  # the end: how it stands then
            sys.stderr.write(f"{self._last}\n")
        self._last = line or self._last

    def flush(self) -> None:
        sys.stderr.flush()


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

    leave: whether it stays to be seen when it is full; not for a part of something that has a bar of its own, and on a
    terminal only. shown: not where another process shows it.
    """
    on_terminal = sys.stderr.isatty()
    return tqdm(
        items,
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        leave=leave,
        disable=not shown or not (leave or on_terminal),
        file=sys.stderr if on_terminal else _Log(),
        dynamic_ncols=on_terminal,
        mininterval=0.2 if on_terminal else EVERY,
        maxinterval=10.0 if on_terminal else EVERY,
        bar_format=None if on_terminal else LINE,
    )


def say(line: str) -> None:
    """Print a line for the person on standard error, above any progress bar."""
    tqdm.write(line, file=sys.stderr)


def spoken(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3.5 h, 20 days."""
    for unit, size, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < below:
            return f"{seconds / size:.{0 if unit != 'h' else 1}f} {unit}"
    return f"{seconds / 86400:.0f} days"
