"""Errors that a person can act on."""

import errno
import struct
import zlib
from enum import StrEnum

INTERRUPTED = 130  # the exit code of work that a signal stopped: `train && evaluate` does not go on


class UsageError(Exception):
    """The request or its input is wrong: the command line prints one line and exits with code 2.

    The message says what was expected, what was found and what to do. Any other exception is a bug and keeps
    its traceback.
    """


class Problem(StrEnum):
    """What is wrong with a volume or scan, in a word that names neither a person nor a place."""

    UNREADABLE = "unreadable"  # truncated, or not of its kind at all
    DAMAGED = "damaged"  # it contradicts itself
    INCOMPLETE = "incomplete"  # a part of it is missing
    DUPLICATE = "duplicate"  # a part of it is there twice
    NOT_FINITE = "not finite"
    NO_SIGNAL = "no signal"
    IMPLAUSIBLE = "implausible"  # it says of itself what cannot be
    UNSUPPORTED = "unsupported"  # good, but nothing that is worked on here
    INCOMPATIBLE = "incompatible"  # good, but not for this run
    OUT_OF_MEMORY = "out of memory"
    IO = "input/output error"  # of the disk or network that it is read from
    NO_PERMISSION = "no permission"


class BadVolume(UsageError):
    """One volume cannot be used; work on a folder reports it and goes on. problem: what is wrong, for statistics."""

    def __init__(self, message: str, problem: Problem = Problem.UNREADABLE) -> None:
        super().__init__(message)
        self.problem = problem

    def of(self, path: object) -> "BadVolume":
        """The same, with the path that it is said of in front."""
        return BadVolume(f"{path} {self}", self.problem)


UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What parsers raise on bytes that are not what they expect (found by feeding them rubbish)."""


BROKEN = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.EHOSTDOWN, errno.ENOTCONN)


def problem_of(error: BaseException) -> Problem:
    """What it means that a parser raised this: mostly that the bytes are not what they should be."""
    if isinstance(error, MemoryError):
        return Problem.OUT_OF_MEMORY
    if isinstance(error, PermissionError):
        return Problem.NO_PERMISSION
    broken = isinstance(error, OSError) and error.errno in BROKEN
    return Problem.IO if broken else Problem.UNREADABLE


def one_line(error: BaseException) -> str:
    """The first line of an error's text, at most 160 characters; its type where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 160 else lines[0][:159] + "…"
