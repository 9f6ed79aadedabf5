"""What a node answers to an instance that is sent to it."""

from enum import Enum


class Answer(Enum):
    """By name; with the status of C-STORE by the standard (PS3.4, B.2.3)."""

    KEPT = "kept", 0x0000
    AGAIN = "again", 0x0000  # it had come before
    FULL = "disk full", 0xA700  # out of resources
    TOO_LARGE = "series too large", 0xA700
    TROUBLE = "cannot be written", 0xA700
    MISMATCH = "not what was announced", 0xA900
    UNREADABLE = "unreadable", 0xC000
    DERIVED = "derived by this program", 0x0124  # not authorised: it would go round in circles
    REMOVED = "series was removed", 0x0124
    BUG = "internal error", 0x0110

    def __init__(self, said: str, status: int) -> None:
        self.said, self.status = said, status


class Refused(Exception):
    """An instance is not taken."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.said)
        self.answer = answer
