"""The folder that a batch writes to: what lies where, and how a study is published in it.

OUTPUT/
  batch.json            says that the folder is ours
  status/STUDY.json     what became of each study: the last word on it
  studies/STUDY/KEY/    a published study: reconstruction.nii.gz, thumbnail.png, status.json, and of
                            a DICOM series dicom/, the derived series
  summary.html          all of them at a glance
  log.jsonl             what happened; no names, no paths
  private/              sources.json (which study is which file) and errors.jsonl: for the owner's eyes
  .staging/             what is being written; empty when nothing is
"""

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_n2n.durable import check_writable, read_json, write_json, writing
from mri_n2n.errors import UNREADABLE, UsageError
from pipelines.batch.outcome import Outcome

FORMAT = "mri-n2n batch 1"
STATUS_FILE = "status.json"


@dataclass(frozen=True)
class BatchFolder:
    """The output of a batch."""

    path: Path

    def open(self) -> None:
        """Make the folder, or take up an earlier one. Raises for a foreign folder."""
        marker = self.path / "batch.json"
        if self.path.exists() and not marker.exists():
            if not self.path.is_dir():
                raise UsageError(f"{self.path} is a file, expected a folder.")
            if any(not path.name.startswith(".partial-") for path in self.path.iterdir()):
                raise UsageError(f"{self.path} is not empty, and not of an earlier batch. Choose another folder.")
        check_writable(self.path)
        if not marker.exists():
            write_json(marker, {"format": FORMAT})  # first: from now on the folder is known to be ours
        elif read_json(marker, "batch").get("format") != FORMAT:
            raise UsageError(f"{self.path} is of another version of this program. Choose another folder.")
        with writing(self.path):
            for name in ("status", "studies"):
                (self.path / name).mkdir(exist_ok=True)
            (self.path / "private").mkdir(mode=0o700, exist_ok=True)
            (self.path / "private").chmod(0o700)

    def clear(self) -> None:
        """Remove what was half-written. Only for the one who is alone at work here."""
        shutil.rmtree(self.staging, ignore_errors=True)
        for folder in (self.path, self.path / "status", self.path / "private"):
            for left in folder.glob(".partial-*"):
                left.unlink(missing_ok=True)

    @property
    def staging(self) -> Path:
        """Where studies are written before they are published."""
        return self.path / ".staging"

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

    def publish(self, staged: Path, outcome: Outcome) -> None:
        """Move a finished study to its place, whole, and say so."""
        place = self.published(outcome.study, outcome.key)
        outcome.write(staged / STATUS_FILE)
        with writing(place):
            for path in (*staged.rglob("*"), staged):
                _sync(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():  # and was changed since
                place.replace(self.staging / "replaced")
            staged.replace(place)
            for path in (place.parent, place.parent.parent):
                _sync(path)
        self.settle(outcome)

    def settle(self, outcome: Outcome) -> None:
        """Have the last word on a study."""
        outcome.write(self.status_path(outcome.study))

    def name(self, sources: dict[str, tuple[str, ...]]) -> None:
        """Remember which study is which file; those of earlier batches, too."""
        path = self.path / "private" / "sources.json"
        known = read_json(path, "list of sources") if path.exists() else {}
        write_json(path, known | sources)

    def log(self, event: str, **facts: Any) -> None:
        """A line in the log. The facts name neither people nor places."""
        self._append(self.path / "log.jsonl", 0o644, {"time": round(time.time(), 3), "event": event, **facts})

    def remember(self, name: str, **facts: Any) -> None:
        """A line in a file for the owner's eyes."""
        self._append(self.path / "private" / f"{name}.jsonl", 0o600, facts)

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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
