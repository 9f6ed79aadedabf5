"""The folder that a batch writes to: what lies where, and how a study is published in it.

OUTPUT/
  batch.json            says that the folder is ours
  status/STUDY.json     what became of each study: the last word on it
  studies/STUDY/KEY/    a published study: reconstruction.nii.gz, thumbnail.png, status.json, and of
                        a DICOM series dicom/, the derived series
  begun/STUDY           a byte for every time that work on it began, while it has not ended
  private/reasons/      STUDY.json: why a study is not done, in words; for the owner's eyes
  summary.html          all of them at a glance
  lock                  held by who is at work: alone, or shared by shards

  log.jsonl             what happened; no names, no paths
  heartbeat             touched while the batch is alive
  private/              sources.jsonl (which study is which file) and errors.jsonl (of this program)
  .staging/             what is being written; not there when nothing is

  shards/2-of-8/        of a shard, the four above and a lock: what it alone writes
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mri_n2n.durable import (
    Busy,
    check_writable,
    holding,
    is_held,
    read_json,
    reading,
    sync,
    write_json,
    write_text,
    writing,
)
from mri_n2n.errors import UNREADABLE, UsageError
from pipelines.batch.lines import append, lines_of
from pipelines.batch.outcome import Outcome, State
from pipelines.batch.shard import WHOLE, Shard

FORMAT = "mri-n2n batch 1"
STATUS_FILE = "status.json"
LOOKED_AT = 1.0  # seconds; who asks whether a lock is held has it for an instant


@dataclass(frozen=True)
class BatchFolder:
    """The output of a batch, as a process sees it.

    shard: its share. turn: of those who hold the share, one after the other; only with one anything is written. writer:
    of the processes that write in one turn; empty for the one that holds the share.
    """

    path: Path
    shard: Shard = WHOLE
    turn: str = ""
    writer: str = ""

    def open(self) -> None:
        """Make the folder, or take up an earlier one. Raises for a foreign folder."""
        marker = self.path / "batch.json"
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, expected a folder.")
        check_writable(self.path)
        there = list(self.path.iterdir()) if self.path.exists() else []
        if any(not path.name.startswith(".partial-") for path in there) and not marker.exists():  # in this order:
            raise UsageError(f"{self.path} is not empty, and not of an earlier batch. Choose another folder.")
        if not marker.exists():  # another shard may be at the same
            write_json(marker, {"format": FORMAT})  # first: from now on the folder is known to be ours
        elif read_json(marker, "batch").get("format") != FORMAT:
            raise UsageError(f"{self.path} is of another version of this program. Choose another folder.")
        with writing(self.path):
            for name in ("status", "studies", "begun"):
                (self.path / name).mkdir(exist_ok=True)
            for private in (self.path / "private", self.private):
                private.mkdir(mode=0o700, parents=True, exist_ok=True)
                private.chmod(0o700)
            (self.path / "private" / "reasons").mkdir(exist_ok=True)

    @contextmanager
    def held(self) -> Iterator["BatchFolder"]:
        """Keep the share to this process, for a turn; raises `Busy`. What was half-written is removed at both ends.

        With it goes where an earlier holder writes: one that only seemed to be dead can do no harm when it comes back.
        """
        ours = replace(self, turn=uuid.uuid4().hex[:12])
        with ExitStack() as locks:
            locks.enter_context(holding(self.path / "lock", shared=self.shard != WHOLE, patience=LOOKED_AT))
            if self.shard != WHOLE:
                locks.enter_context(holding(self.own / "lock", patience=LOOKED_AT))
            try:
                self._clear()
                with writing(ours.staging):
                    ours.staging.mkdir(parents=True)
                yield ours
            finally:
                self._clear()

    def by(self, writer: str) -> "BatchFolder":
        """For another process that writes in this turn; raises when the turn is over."""
        theirs = replace(self, writer=writer)
        with writing(theirs.staging):
            theirs.staging.mkdir(exist_ok=True)
        return theirs

    def _clear(self) -> None:
        shutil.rmtree(self.own / ".staging", ignore_errors=True)
        for lock in (self.path / "shards").glob("*/lock"):
            if lock.parent != self.own:  # one that was killed, and that nobody may take up again
                with suppress(Busy), holding(lock):
                    shutil.rmtree(lock.parent / ".staging", ignore_errors=True)
        if self.shard == WHOLE:
            for left in self.path.glob(".partial-*"):
                left.unlink(missing_ok=True)

    @property
    def own(self) -> Path:
        """Where lies what this share alone writes."""
        return self.path if self.shard == WHOLE else self.path / "shards" / self.shard.name

    @property
    def private(self) -> Path:
        """Where names of people may lie."""
        return self.own / "private"

    @property
    def sources(self) -> Path:
        """Where it is said which study is which file."""
        return self.private / "sources.jsonl"

    @property
    def said_aloud(self) -> Path:
        """Where goes what this process prints."""
        return self.private / f"{'-'.join(filter(None, ('worker', self.writer)))}.txt"

    @property
    def staging(self) -> Path:
        """Where this process writes what it then moves to its place."""
        return self.own / ".staging" / self.turn / self.writer

    @property
    def begun(self) -> Path:
        """Where `attempts` are told."""
        return self.path / "begun"

    def discard(self) -> None:
        """Remove what was half-written here, once the process that wrote it has ended."""
        for left in list(self.staging.iterdir()) if self.staging.exists() else []:
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def published(self, study: str, key: str) -> Path:
        """Where a study is, once it is done."""
        return self.path / "studies" / study / key[:16]

    def status_path(self, study: str) -> Path:
        """Where it is said what became of a study."""
        return self.path / "status" / f"{study}.json"

    def outcome(self, study: str) -> Outcome | None:
        """What became of a study so far; None where nothing, or nothing legible, is said."""
        return _read(self.status_path(study))

    def said(self, study: str, key: str) -> Outcome | None:
        """What a published study says of itself: a batch may be killed before it says so, too."""
        return _read(self.published(study, key) / STATUS_FILE)

    def editions(self, study: str) -> dict[str, Outcome]:
        """What the published editions of a study say of themselves, by their folders' names."""
        found = {path.parent.name: _read(path) for path in (self.path / "studies" / study).glob(f"*/{STATUS_FILE}")}
        return {name: outcome for name, outcome in found.items() if outcome}

    def outcomes(self) -> list[Outcome]:
        """What became of all studies, by their names. Raises if that may not be read."""
        place, found = self.path / "status", []
        with reading(place), suppress(FileNotFoundError):
            for path in sorted(place.iterdir()):
                outcome = _read(path)
                if outcome:
                    found.append(outcome)
                elif not os.access(path, os.R_OK):
                    path.read_bytes()  # which says why
        return found

    def existing(self) -> list[Outcome]:
        """The outcomes of a batch that is or was at work here; raises if there is none."""
        with reading(self.path):
            there = (self.path / "batch.json").exists()
        if not there:
            raise UsageError(f"{self.path} holds no batch. Begin one: mri-n2n batch INPUT {self.path} --model RUN")
        return self.outcomes()

    def settle(self, outcome: Outcome) -> None:
        """Have the last word on a study; against one that is done nothing is said any more."""
        if outcome.state is State.DONE:
            self.reason_path(outcome.study).unlink(missing_ok=True)
        outcome.write(self.status_path(outcome.study), self.staging)

    def forget(self, study: str) -> None:
        """Say nothing more of what is no study any more, and was never done."""
        for path in (self.reason_path(study), self.status_path(study)):
            path.unlink(missing_ok=True)

    def reason_path(self, study: str) -> Path:
        """Where it is said in words why a study is not done."""
        return self.path / "private" / "reasons" / f"{study}.json"

    def explain(self, outcome: Outcome, words: str) -> None:
        """Say, for the owner's eyes, why a study is not done, before it is settled. It counts for this outcome."""
        said = {"reason": outcome.reason, "key": outcome.key, "words": words}
        write_json(self.reason_path(outcome.study), said, self.staging)

    def words(self, outcome: Outcome) -> str:
        """Why a study is not done, in words; empty where nothing is said of this outcome. Raises as `reading`."""
        path = self.reason_path(outcome.study)
        with reading(path), suppress(FileNotFoundError, ValueError, LookupError, TypeError):
            said = json.loads(path.read_bytes())
            if (said["reason"], said["key"]) == (outcome.reason, outcome.key):
                return str(said["words"])
        return ""

    def name(self, sources: dict[str, tuple[str, ...]]) -> None:
        """Remember, durably, which study is which file; what is said last of a study counts."""
        append(self.sources, 0o600, ({"study": study, "files": files} for study, files in sources.items()))
        with writing(self.sources):
            sync(self.sources)
            sync(self.private)

    @contextmanager
    def summarising(self) -> Iterator[None]:
        """Keep the summary to this process; raises `Busy`."""
        with holding(self.path / "summary.lock"):
            yield

    def summarise(self, page: str) -> None:
        """Replace the summary."""
        write_text(self.path / "summary.html", page, self.staging)

    def log(self, event: str, **facts: Any) -> None:
        """A line in the log. The facts name neither people nor places."""
        append(self.own / "log.jsonl", 0o644, [{"time": round(time.time(), 3), "event": event, **facts}])

    def latest_events(self) -> list[dict[str, Any]]:
        """The last whole lines of the log; none where there is no log. Raises if it may not be read."""
        return list(lines_of(self.own / "log.jsonl", latest=True))

    def heartbeat_age(self) -> float | None:
        """Seconds since this share's was touched, by the clock of who asks; None where it never was."""
        try:
            return time.time() - (self.own / "heartbeat").stat().st_mtime
        except OSError:
            return None

    def at_hand(self) -> int:
        """How many studies are being worked on; or were, when all was cut off."""
        return len(list(self.begun.glob("*")))

    def is_held(self) -> bool:
        """Whether a process is seen to hold the share."""
        return is_held(self.own / "lock")

    def shards(self) -> list[Shard]:
        """Those that are or were at work here."""
        place = self.path / "shards"
        with reading(place), suppress(FileNotFoundError):
            return [Shard.named(path.name) for path in place.iterdir() if "-of-" in path.name]
        return []

    def report(self, traceback: str, **facts: Any) -> None:
        """Say what went wrong with this program, and not with a study, for the owner's eyes."""
        append(self.private / "errors.jsonl", 0o600, [{"time": round(time.time(), 3), **facts, "text": traceback}])


def study_key(source_sha256: str, configuration: dict[str, Any]) -> str:
    """The hash of all that decides a study's output."""
    said = json.dumps([source_sha256, configuration], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _read(path: Path) -> Outcome | None:
    with suppress(UsageError, *UNREADABLE):
        return Outcome.read(path)
    return None
