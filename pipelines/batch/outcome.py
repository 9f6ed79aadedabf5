"""What became of a study: one state, one reason out of a closed list, and where the output came from."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mri_n2n.durable import read_json, write_json
from mri_n2n.errors import Problem


class State(StrEnum):
    """Where a study ends."""

    DONE = "done"
    QUARANTINED = "quarantined"  # there is something about the input
    FAILED = "failed"  # there is something about us


class Reason(StrEnum):
    """Why. No text of an exception: it may name a person or a place."""

    RECONSTRUCTED = "reconstructed"
    UNREADABLE = Problem.UNREADABLE.value
    DAMAGED = Problem.DAMAGED.value
    INCOMPLETE = Problem.INCOMPLETE.value
    DUPLICATE = Problem.DUPLICATE.value
    NOT_FINITE = Problem.NOT_FINITE.value
    NO_SIGNAL = Problem.NO_SIGNAL.value
    IMPLAUSIBLE = Problem.IMPLAUSIBLE.value
    UNSUPPORTED = Problem.UNSUPPORTED.value
    INCOMPATIBLE = Problem.INCOMPATIBLE.value
    NO_PERMISSION = Problem.NO_PERMISSION.value
    GONE = "gone"  # between being found and being read
    CHANGED = "changed while it was read"
    TIME_LIMIT = "time limit"
    OUT_OF_MEMORY = Problem.OUT_OF_MEMORY.value
    IO = Problem.IO.value
    CRASHED = "crashed"  # the process that read it ended
    BAD_OUTPUT = "bad output"  # not finite, or not what was written when read back
    INTERNAL = "internal error"

    @property
    def state(self) -> State:
        """The state that a study with this reason is in."""
        if self is Reason.RECONSTRUCTED:
            return State.DONE
        return State.FAILED if self in (Reason.BAD_OUTPUT, Reason.INTERNAL) else State.QUARANTINED


@dataclass(frozen=True)
class Outcome:
    """What became of one study.

    study: its name here, made of its place by a hash. key: of the input's bytes, the weights, the configuration and the
    version; empty where the input could not be read. seconds: by part. clipped: voxels beyond what the input's data
    type can hold. quality: held-out PSNR (dB), residual of consistency, whether it is an outlier. files: SHA-256 by
    name. about: what made the output.
    """

    study: str
    reason: Reason
    key: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    clipped: int = 0
    quality: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """Where the study ended."""
        return self.reason.state

    @property
    def unread(self) -> bool:
        """Whether it was out of reach, so that nothing is known of it."""
        return self.key == "" and self.reason in (Reason.NO_PERMISSION, Reason.GONE)

    def write(self, path: Path, aside: Path) -> None:
        """As JSON, atomically; until it is whole, in `aside`."""
        write_json(path, {"state": self.state, **asdict(self)}, aside)

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """What `write` wrote; raises `UsageError`, or KeyError, TypeError or ValueError if it is something else."""
        content = dict(read_json(path, "status"))
        content.pop("state")
        return cls(**content | {"reason": Reason(content["reason"])})
