"""Who is in which split."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from mri_n2n.data.manifest import Manifest, Split
from mri_n2n.data.volumes import stem
from mri_n2n.errors import UsageError

_SPLITS: dict[str, Split] = {"train": "train", "validation": "validation"}
_SUBJECT = re.compile(r"(?<![A-Za-z0-9])(IXI\d+|sub-[A-Za-z0-9]+)")


def subject_of(name: str) -> str:
    """The subject that a file belongs to, from its name relative to the source folder.

    The IXI number (IXI012) or BIDS label (sub-07) where the folder or the file has one, else the whole relative name.
    """
    found = _SUBJECT.search(name)
    return found.group() if found else str(PurePath(name).with_name(stem(PurePath(name))))


@dataclass(frozen=True)
class SplitRequest:
    """The first `train` subjects and the next `validation` by path; or what `assigned` says of each subject."""

    train: int = 50
    validation: int = 10
    assigned: dict[str, Split] | None = None

    def __post_init__(self) -> None:
        if self.train < 1 or self.validation < 1:
            raise UsageError(
                f"both splits need a subject, asked for {self.train} to train and {self.validation} to validate."
            )

    def check_enough(self, subjects: int, where: str) -> None:
        """Raise if there are fewer subjects than asked for."""
        if subjects < 2:
            raise UsageError(
                f"{subjects} usable subjects {where}, expected two at least: one to train on and one to validate."
            )
        if self.assigned is None and subjects < self.train + self.validation:
            raise UsageError(
                f"{subjects} usable subjects {where}, asked for {self.train} to train and {self.validation} to "
                "validate. Choose other numbers with --train and --validation."
            )

    def check_filled(self, manifest: Manifest, where: str) -> None:
        """Raise if preparation ended with fewer subjects than asked for, or with an empty split."""
        train, validation = (len(manifest.subjects(name)) for name in ("train", "validation"))
        self.check_enough(train + validation, where)
        if not train or not validation:
            raise UsageError(
                f"{train} usable subjects to train and {validation} to validate {where}, both need at least one."
            )

    def of(self, name: str, manifest: Manifest) -> Split | None:
        """The split of the next file, None if it is not wanted; `manifest` holds what was placed before."""
        if self.assigned is not None:
            return self.assigned.get(subject_of(name))
        earlier = _numbers(manifest).get(subject_of(name))
        if earlier is not None:
            return "train" if earlier.startswith("train") else "validation"
        if len(manifest.subjects("train")) < self.train:
            return "train"
        return "validation" if len(manifest.subjects("validation")) < self.validation else None

    def number(self, name: str, split: Split, manifest: Manifest) -> str:
        """The subject's number within its split, such as train-001."""
        return _numbers(manifest).get(subject_of(name), f"{split}-{len(manifest.subjects(split)) + 1:03d}")


def _numbers(manifest: Manifest) -> dict[str, str]:
    return {subject_of(volume.sources[0]["file"]): volume.subject for volume in manifest.volumes}


def read_split_table(path: Path, names: Iterable[str]) -> dict[str, Split]:
    """Read a CSV with the columns `subject` and `split` (train or validation).

    A subject is what `subject_of` says of one of `names` (relative to the source folder), or a file's name.
    """
    known: dict[str, str] = {}
    for name in names:
        for alias in (subject_of(name), name, PurePath(name).name, stem(PurePath(name))):
            known.setdefault(alias, subject_of(name))
    assigned: dict[str, Split] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            rows = list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the split table {path}: {error}") from None
    if not rows or not {"subject", "split"} <= set(rows[0]):
        raise UsageError(f"{path} needs a header with the columns subject and split, and one line per subject.")
    for line, row in enumerate(rows, start=2):
        subject, part = (row["subject"] or "").strip(), (row["split"] or "").strip().lower()
        if subject not in known:
            raise UsageError(f"{path} line {line}: no volume of subject {subject!r} in the source folder.")
        split = _SPLITS.get(part)
        if split is None:
            raise UsageError(f"{path} line {line}: split {part!r}, expected train or validation.")
        if assigned.setdefault(known[subject], split) != split:
            raise UsageError(f"{path} line {line}: subject {subject!r} is in both splits. Put each subject in one.")
    return assigned
