"""What a batch ends with."""

from enum import IntEnum


class Exit(IntEnum):
    """What the command ends with."""

    ALL_DONE = 0
    USAGE = 2
    SOME_NOT = 3
    BUG = 70
    DISK_FULL = 74
    DRAINED = 75
