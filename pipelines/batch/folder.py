"""The folder that a batch writes to: what lies where, and how a study is published in it.

OUTPUT/
  batch.json            says that the folder is ours
  status/STUDY.json     what became of each study: the last word on it
  studies/STUDY/KEY/    a published study: reconstruction.nii.gz, thumbnail.png, status.json, and of
                        a DICOM series dicom/, the derived series
  begun/STUDY           a byte for every time that work on it began, while it has not ended
  summary.html          all of them at a glance
  lock                  held by who is at work: alone, or shared by shards

  log.jsonl             what happened; no names, no paths
  heartbeat             touched while the batch is alive
  private/              sources.json (which study is which file) and errors.jsonl: for the owner's eyes
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

from mri_n2n.durable import Busy, check_writable, holding, read_json, write_json, write_text, writing
from mri_n2n.errors import UNREADABLE, UsageError
from pipelines.batch.outcome import Outcome
from pipelines.batch.shard import WHOLE, Shard

FORMAT = "mri-n2n batch 1"
STATUS_FILE = "status.json"
LONGEST_EVENT = 65536  # bytes


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
            self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.private.chmod(0o700)

    @contextmanager
    def held(self) -> Iterator["BatchFolder"]:
        """Keep the share to this process, for a turn; raises `Busy`. What was half-written is removed at both ends.

        With it goes where an earlier holder writes: one that only seemed to be dead can do no harm when it comes back.
        """
        ours = replace(self, turn=uuid.uuid4().hex[:12])
        with ExitStack() as locks:
            locks.enter_context(holding(self.path / "lock", shared=self.shard != WHOLE))
            if self.shard != WHOLE:
                locks.enter_context(holding(self.own / "lock"))
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

    def private_file(self, name: str, kind: str) -> Path:
        """One that this process alone writes to."""
        return self.private / f"{'-'.join(filter(None, (name, self.writer)))}.{kind}"

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
        """What became of all studies, by their names."""
        found = [_read(path) for path in sorted((self.path / "status").glob("*.json"))]
        return [outcome for outcome in found if outcome]

    def existing(self) -> list[Outcome]:
        """The outcomes of a batch that is or was at work here; raises if there is none."""
        if not (self.path / "batch.json").exists():
            raise UsageError(f"{self.path} holds no batch. Begin one: mri-n2n batch INPUT {self.path} --model RUN")
        return self.outcomes()

    def settle(self, outcome: Outcome) -> None:
        """Have the last word on a study."""
        outcome.write(self.status_path(outcome.study), self.staging)

    def name(self, sources: dict[str, tuple[str, ...]]) -> None:
        """Remember which study is which file; those of earlier batches, too."""
        path = self.private / "sources.json"
        known = read_json(path, "list of sources") if path.exists() else {}
        write_json(path, known | sources, self.staging)

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
        self._append(self.own / "log.jsonl", 0o644, {"time": round(time.time(), 3), "event": event, **facts})

    def last_event(self) -> dict[str, Any]:
        """The last line of the log; empty where there is none, or none that is whole."""
        with suppress(OSError, ValueError), (self.own / "log.jsonl").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LONGEST_EVENT))
            return dict(json.loads(log.read().splitlines()[-1]))
        return {}

    def shards(self) -> list[Shard]:
        """Those that are or were at work here."""
        return [Shard.named(path.name) for path in (self.path / "shards").glob("*-of-*")]

    def remember(self, name: str, **facts: Any) -> None:
        """A line in a file for the owner's eyes."""
        self._append(self.private_file(name, "jsonl"), 0o600, facts)

    def _append(self, path: Path, mode: int, facts: dict[str, Any]) -> None:
        with writing(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
            with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json.dumps(facts) + "\n")


def study_key(source_sha256: str, configuration: dict[str, Any]) -> str:
    """The hash of all that decides a study's output."""
    said = json.dumps([source_sha256, configuration], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _read(path: Path) -> Outcome | None:
    with suppress(UsageError, *UNREADABLE):
        return Outcome.read(path)
    return None
