"""What a prepared data directory holds: which slices of whom, on what scale, and a fingerprint of it all."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mri_n2n.durable import read_json
from mri_n2n.errors import UNREADABLE, UsageError, one_line

FORMAT = "mri-n2n slices 1"
ARRAY = "slices.npy"
MANIFEST = "manifest.json"
Split = Literal["train", "validation"]
Kind = Literal["images", "pairs", "kspace", "full-kspace"]
FLOAT_BITS = 32  # k-space is stored as it is, not as integers


@dataclass(frozen=True)
class StoredVolume:
    """One volume's rows of the array (for real pairs: the rows of both acquisitions).

    subject: a number within the split, such as train-001. Outside this manifest a subject is known by it alone,
    never by a file's name. sources: file (relative to the source folder) and SHA-256 of each. slices: positions on
    the volume's third axis, of k-space once for every coil. An intensity v of the volume is stored as
    (v - offset) / scale in [0, 1], or a sample of k-space as v / scale. notes: measured on the way, for the report.
    """

    slices: list[int]
    scale: float
    offset: float = 0.0
    subject: str = ""
    split: Split = "train"
    sources: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)
    first_row: int = 0

    @property
    def rows(self) -> range:
        """The volume's rows of the array."""
        return range(self.first_row, self.first_row + len(self.slices))

    def identity(self, position: int) -> str:
        """A name for one slice that depends on its content and place alone.

        The same on every machine and in every data set.
        """
        return f"{self.sources[0]['sha256']}/{self.slices[position]}"


@dataclass(frozen=True)
class Manifest:
    """What a prepared data directory holds. `plan` identifies the request, `fingerprint` the result."""

    kind: Kind
    plan: str
    bits: int
    size: tuple[int, int]
    volumes: list[StoredVolume] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.bits not in ((8, 16) if self.kind in ("images", "pairs") else (FLOAT_BITS,)):
            raise UsageError(f"slices are stored with 8 or 16 bits, got {self.bits}.")

    @property
    def realisations(self) -> int:
        """Stored images per slice; of k-space its planes: real and imaginary part, and signed density."""
        return {"images": 1, "pairs": 2}.get(self.kind, 3)

    @property
    def rows(self) -> int:
        """Number of slices of all subjects."""
        return sum(len(volume.slices) for volume in self.volumes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored type: integers, and of k-space numbers."""
        return np.dtype({8: "u1", 16: "<u2"}.get(self.bits, "<f4"))

    @property
    def simulated(self) -> bool:
        """Whether any raw k-space in it says that it was simulated."""
        return any("simulated" in volume.notes for volume in self.volumes)

    def split(self, name: Split) -> list[StoredVolume]:
        """The volumes of one split."""
        return [volume for volume in self.volumes if volume.split == name]

    def subjects(self, name: Split) -> list[str]:
        """The subjects of one split, in order."""
        return list(dict.fromkeys(volume.subject for volume in self.split(name)))


def unfinished(directory: Path) -> Path:
    """Where a preparation for `directory` grows until it is complete."""
    return directory.with_name(f".{directory.name}.unfinished")


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest."""
    content = read_json(path, "manifest")
    try:
        if content.pop("format") != FORMAT:
            raise ValueError("unknown format")
        content["volumes"] = [StoredVolume(**volume) for volume in content["volumes"]]
        content["size"] = tuple(content["size"])
        return Manifest(**content)
    except UNREADABLE as error:
        reason = one_line(error)
        raise UsageError(f"{path} is not a manifest of this program ({reason}). Prepare the data again.") from None


def fingerprint_of(manifest: Manifest, array: Path) -> str:
    """A hash of the stored slices and of all that gives them meaning, but not of file names."""
    digest = hashlib.sha256()
    content = asdict(replace(manifest, plan="", skipped=[], fingerprint=""))
    for volume in content["volumes"]:
        volume["sources"] = [source["sha256"] for source in volume["sources"]]
    digest.update(json.dumps(content, sort_keys=True).encode())
    for block in _blocks(array):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(size):
            yield block
