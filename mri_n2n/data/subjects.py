"""Who is in which split."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mri_n2n.data.slices import Manifest, Split
from mri_n2n.data.volumes import stem
from mri_n2n.errors import UsageError

_SPLITS: dict[str, Split] = {"train": "train", "validation": "validation"}


def subject_of(path: Path) -> str:
    """The subject that a file belongs to: the IXI number where the name has one, else the whole name."""
    found = re.match(r"IXI\d+", path.name)
    return found.group() if found else stem(path)


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

    def of(self, subject: str, manifest: Manifest, numbers: dict[str, str]) -> Split | None:
        """The split of the next subject, None if it is not wanted.

        `numbers` holds the subjects that were placed before.
        """
        if self.assigned is not None:
            return self.assigned.get(subject)
        if subject in numbers:
            return "train" if numbers[subject].startswith("train") else "validation"
        if len(manifest.subjects("train")) < self.train:
            return "train"
        return "validation" if len(manifest.subjects("validation")) < self.validation else None


def number_of(subject: str, split: Split, manifest: Manifest, numbers: dict[str, str]) -> str:
    """The subject's number within its split, such as train-001, remembered in `numbers`."""
    return numbers.setdefault(subject, f"{split}-{len(manifest.subjects(split)) + 1:03d}")


def numbers_so_far(manifest: Manifest) -> dict[str, str]:
    """The numbers that an interrupted preparation has given to subjects."""
    return {subject_of(Path(volume.sources[0]["file"])): volume.subject for volume in manifest.volumes}


def read_split_table(path: Path, files: Iterable[Path]) -> dict[str, Split]:
    """Read a CSV with the columns `subject` (an IXI number, or a file's name) and `split` (train or validation)."""
    known = {name: subject_of(file) for file in files for name in (subject_of(file), stem(file), file.name)}
    assigned: dict[str, Split] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as table:
            rows = list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the split table {path}: {error}") from None
    if not rows or not {"subject", "split"} <= set(rows[0]):
        raise UsageError(f"{path} needs a header with the columns subject and split, and one line per subject.")
    for line, row in enumerate(rows, start=2):
        name, part = (row["subject"] or "").strip(), (row["split"] or "").strip()
        if name not in known:
            raise UsageError(f"{path} line {line}: no volume of subject {name!r} in the source folder.")
        split = _SPLITS.get(part)
        if split is None:
            raise UsageError(f"{path} line {line}: split {part!r}, expected train or validation.")
        if assigned.setdefault(known[name], split) != split:
            raise UsageError(f"{path} line {line}: subject {name!r} is in both splits. Put each subject in one.")
    return assigned
