"""Errors that a person can act on."""

import struct
import zlib

INTERRUPTED = 130  # the exit code of work that a signal stopped: `train && evaluate` does not go on


class UsageError(Exception):
    """The request or its input is wrong: the command line prints one line and exits with code 2.

    The message says what was expected, what was found and what to do. Any other exception is a bug and keeps
    its traceback.
    """


class BadVolume(UsageError):
    """One volume cannot be used; `prepare` reports it and goes on, unless asked to be strict."""


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


def one_line(error: BaseException) -> str:
    """The first line of an error's text, at most 160 characters; its type where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 160 else lines[0][:159] + "…"
