"""Errors that a person can act on."""


class UsageError(Exception):
    """The request or its input is wrong: the command line prints one line and exits with code 2.

        The message says what was expected, what was found and what to do. Any other exception is a bug and keeps
    its traceback.
    """


class BadVolume(UsageError):
    """One volume cannot be used; `prepare` reports it and goes on, unless asked to be strict."""
