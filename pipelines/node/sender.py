"""Published series brought to a peer, one after the other, until it has taken them; what it took is remembered."""

import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mri_n2n.durable import sha256_of
from mri_n2n.errors import UsageError
from pipelines.batch.delivery import Delivery, Hindrance, deliveries, delivery
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome
from pipelines.batch.study import DERIVED
from pipelines.node.association import NotSent, associated
from pipelines.node.peers import Peer

POLL = 0.2  # seconds
FIRST, LONGEST = 5.0, 900.0  # seconds until a series, or a peer, is tried again: doubled each time, up to the latter
ABSENT = (Hindrance.UNREACHABLE, Hindrance.REJECTED)
REMEMBERED = 1.0  # seconds between two records while a series is sent
TAKEN = (0x0000, 0xB000, 0xB006, 0xB007)  # success, and warnings with which an instance is stored nevertheless


class Sender:
    """Sends to one peer, in a thread of its own, what it is told to."""

    def __init__(self, folder: BatchFolder, peer: Peer, title: str, first: float = FIRST) -> None:
        self._folder, self.peer, self._title, self._first = folder, peer, title, first
        self._waiting: dict[tuple[str, str], float] = {}  # when the edition of a series is due
        self._sending: tuple[str, str] | None = None
        self._failures, self._rest = 0, 0.0  # of the peer in a row; until when it is left alone
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.attempts = 0  # since we began

    def __enter__(self) -> "Sender":
        """Begin, with what an earlier sender left."""
        for record in deliveries(self._folder):
            if record.peer == self.peer.title and not record.done:
                self._waiting[record.study, record.key] = 0.0
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def tell(self, outcome: Outcome) -> None:
        """Have the last word on a study: what it published is to be sent, and what was not sent of it before is not."""
        files = _derived(outcome)
        known = delivery(self._folder, self.peer.title, outcome.study, outcome.key) if files else None
        if files and not known:
            Delivery(self.peer.title, outcome.study, outcome.key, len(files)).write(self._folder)
        with self._lock:
            for study, key in list(self._waiting):
                if study == outcome.study and key != outcome.key and not self._begun(study, key):
                    del self._waiting[study, key]
            if files and not (known and known.done):
                self._waiting.setdefault((outcome.study, outcome.key), 0.0)

    def delivered(self, outcome: Outcome) -> bool:
        """Whether the peer has all that a study published."""
        known = delivery(self._folder, self.peer.title, outcome.study, outcome.key)
        return known is not None and known.done

    def _begun(self, study: str, key: str) -> bool:
        """Whether the peer may have a part of an edition: then it is to get the rest."""
        known = delivery(self._folder, self.peer.title, study, key)
        return (study, key) == self._sending or bool(known and known.begun)

    def _run(self) -> None:
        while not self._stop.wait(POLL):
            now = time.monotonic()
            with self._lock:
                due = [edition for edition, when in self._waiting.items() if when <= now] if now >= self._rest else []
            for edition in due:
                if self._stop.is_set() or not self._brought(*edition):
                    break

    def _brought(self, study: str, key: str) -> bool:
        """Try to bring a series to the peer; whether there is sense in trying the next one now."""
        with self._lock:
            if (study, key) not in self._waiting:  # there is a later edition by now
                return True
            self._sending = (study, key)
        self.attempts += 1
        try:
            record = self._sent(study, key)
        except Exception:  # noqa: BLE001 (for the owner's eyes; the disk may be full: later it may not be)
            with suppress(UsageError):
                self._folder.report(traceback.format_exc(), study=study)
            record = None
        absent = record is not None and record.hindrance in ABSENT
        self._failures = self._failures + 1 if absent else 0
        with self._lock:
            self._sending = None
            if absent:  # the peer is left alone, and so are the others
                self._rest = time.monotonic() + self._pause(self._failures)
            elif record and record.done:
                self._waiting.pop((study, key), None)
            elif (study, key) in self._waiting:  # this one is left alone, and is in no other's way
                self._waiting[study, key] = time.monotonic() + (self._pause(record.attempts) if record else LONGEST)
        return not absent

    def _pause(self, failures: int) -> float:
        return min(LONGEST, self._first * 2.0 ** min(failures - 1, 20))

    def _sent(self, study: str, key: str) -> Delivery:
        """One attempt."""
        outcome = self._folder.said(study, key)
        files = _derived(outcome) if outcome else {}
        place = self._folder.published(study, key)
        record = delivery(self._folder, self.peer.title, study, key) or Delivery(
            self.peer.title, study, key, len(files)
        )
        record = replace(record, attempts=record.attempts + 1, hindrance=Hindrance.NONE, status="")
        if not files or not all(_unchanged(place / name, digest) for name, digest in files.items()):
            record = replace(record, hindrance=Hindrance.CHANGED)
        else:
            record = self._with_association(record, place, [name for name in files if name not in record.accepted])
        record.write(self._folder)
        self._folder.log("sent", study=study, key=key[:16], peer=record.peer, state=record.said)
        return record

    def _with_association(self, record: Delivery, place: Path, names: list[str]) -> Delivery:
        remembered = time.monotonic()
        try:
            with associated(self.peer, self._title) as send:
                record.write(self._folder)  # that it has begun
                for name in names:
                    if self._stop.is_set():
                        break
                    status = send(place / name)
                    if status in TAKEN:
                        record = replace(record, accepted=(*record.accepted, name))
                    else:
                        record = replace(record, hindrance=Hindrance.REFUSED, status=f"{status:04X}")
                    if time.monotonic() - remembered > REMEMBERED:
                        record.write(self._folder)
                        remembered = time.monotonic()
        except NotSent as error:
            record = replace(record, hindrance=error.hindrance)
        return record


def _derived(outcome: Outcome) -> dict[str, str]:
    """The files of the series that a study published, with their SHA-256."""
    return {name: digest for name, digest in outcome.files.items() if name.startswith(f"{DERIVED}/")}


def _unchanged(path: Path, digest: str) -> bool:
    try:
        return sha256_of(path) == digest
    except OSError:
        return False
