"""How far published series have got on their way to others, in OUTPUT/delivered/: one record for each and peer."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from mri_n2n.durable import read_json, write_json
from mri_n2n.errors import UNREADABLE, UsageError
from pipelines.batch.folder import BatchFolder


class Hindrance(StrEnum):
    """Why a series was not taken when it was last tried. No text of a peer: it may name a person."""

    NONE = ""
    UNREACHABLE = "unreachable"
    REJECTED = "association rejected"
    BROKEN = "association broken"
    REFUSED = "refused"
    CHANGED = "changed on disk"  # it is not what was published


@dataclass(frozen=True)
class Delivery:
    """One edition of a series on its way to one peer.

    peer: an AE title. key: of the edition. files: how many there are. accepted: those that the peer has taken.
    attempts: how often it was tried. status: of C-STORE, where the peer refused.
    """

    peer: str
    study: str
    key: str
    files: int
    accepted: tuple[str, ...] = ()
    attempts: int = 0
    hindrance: Hindrance = Hindrance.NONE
    status: str = ""

    @property
    def done(self) -> bool:
        """Whether the peer has all of it."""
        return len(self.accepted) == self.files

    @property
    def begun(self) -> bool:
        """Whether the peer has a part of it, or may have: the last attempt did not come to an end."""
        return bool(self.accepted) or (self.attempts > 0 and self.hindrance in (Hindrance.NONE, Hindrance.BROKEN))

    @property
    def said(self) -> str:
        """The state in words."""
        if self.done:
            return "delivered"
        why = f": {self.hindrance} {self.status}".rstrip() if self.hindrance else ""
        return f"waiting{why}"

    def write(self, folder: BatchFolder) -> None:
        """Remember it, atomically."""
        write_json(_path(folder, self.peer, self.study, self.key), asdict(self))


def tidy(folder: BatchFolder) -> None:
    """Remove what was half-written. Only while nobody sends."""
    for left in (folder.path / "delivered").glob("*/.partial-*"):
        left.unlink(missing_ok=True)


def delivery(folder: BatchFolder, peer: str, study: str, key: str) -> Delivery | None:
    """How far an edition has got on its way to a peer; None where nothing, or nothing legible, is said."""
    return _read(_path(folder, peer, study, key))


def deliveries(folder: BatchFolder) -> list[Delivery]:
    """All that count: those of the present editions, and of earlier ones that went out, or began to."""
    paths = sorted((folder.path / "delivered").glob("*/[!.]*.json"))  # hidden is what is being written
    found = [record for path in paths if (record := _read(path))]
    present = {outcome.study: outcome.key for outcome in folder.outcomes()} if found else {}
    return [record for record in found if record.begun or present.get(record.study) == record.key]


def delivery_table(records: Sequence[Delivery]) -> str:
    """How many series are with whom, ending in a line break; empty where nothing is sent."""
    if not records:
        return ""
    counts = Counter((record.peer, record.said) for record in records)
    lines = [f"| {peer} | {said} | {count} |" for (peer, said), count in sorted(counts.items())]
    return "\n".join(["", "| sent to | state | series |", "| --- | --- | --- |", *lines, ""])


def _path(folder: BatchFolder, peer: str, study: str, key: str) -> Path:
    return folder.path / "delivered" / study / f"{key[:16]}-{hashlib.sha256(peer.encode()).hexdigest()[:8]}.json"


def _read(path: Path) -> Delivery | None:
    with suppress(UsageError, *UNREADABLE):
        content = read_json(path, "record of a delivery")
        hindrance = Hindrance(content["hindrance"])
        return Delivery(**content | {"accepted": tuple(content["accepted"]), "hindrance": hindrance})
    return None
