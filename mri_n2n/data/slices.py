"""Prepared data: the slices of all subjects in one memory-mapped array, and a manifest that says what they are."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from mri_n2n.durable import claim_directory, read_json, write_json, writing
from mri_n2n.errors import UsageError

FORMAT = "mri-n2n slices 1"
ARRAY = "slices.npy"
MANIFEST = "manifest.json"
Split = Literal["train", "validation"]


@dataclass(frozen=True)
class StoredVolume:
    """One volume's rows of the array (for real pairs: the rows of both acquisitions).

        subject: a number within the split, such as train-001. Outside this manifest a subject is known by it alone,
    never by a file's name. sources: file (relative to the source folder) and SHA-256 of each. slices: positions on
    the volume's third axis. An intensity v of the volume is stored as (v - offset) / scale in [0, 1]. notes:
    measured on the way, for the report.
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

    kind: Literal["images", "pairs"]
    plan: str
    bits: int
    size: tuple[int, int]
    volumes: list[StoredVolume] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.bits not in (8, 16):
            raise UsageError(f"slices are stored with 8 or 16 bits, got {self.bits}.")

    @property
    def realisations(self) -> int:
        """Stored images per slice."""
        return 2 if self.kind == "pairs" else 1

    @property
    def rows(self) -> int:
        """Number of slices of all subjects."""
        return sum(len(volume.slices) for volume in self.volumes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored integer type."""
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")

    def split(self, name: Split) -> list[StoredVolume]:
        """The volumes of one split."""
        return [volume for volume in self.volumes if volume.split == name]

    def subjects(self, name: Split) -> list[str]:
        """The subjects of one split, in order."""
        return list(dict.fromkeys(volume.subject for volume in self.split(name)))


class SliceWriter:
    """Appends volumes to a data directory, one at a time; an interrupted preparation goes on where it stopped.

        The manifest is rewritten after each volume and carries a fingerprint only when all are there: until then no
    reader opens it.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, overwrite: bool) -> None:
        self.directory = directory
        self.manifest = manifest
        earlier = _earlier(directory)
        if earlier is not None and earlier.plan == manifest.plan:
            self.manifest = earlier
        else:
            claim_directory(directory, overwrite=overwrite or (earlier is not None and not earlier.fingerprint))
            self._save(manifest)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.manifest.fingerprint)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Remove the unfinished directory again if the request turns out to be impossible.

        An interruption leaves it to be gone on with.
        """
        try:
            yield
        except UsageError:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def has(self, file: str) -> bool:
        """Whether an earlier, interrupted preparation dealt with this source."""
        done = (source["file"] for volume in self.manifest.volumes for source in volume.sources)
        return file in done or any(skipped["file"] == file for skipped in self.manifest.skipped)

    def append(self, volume: StoredVolume, slices: NDArray[np.float32]) -> None:
        """Store a volume's slices `[n s h w]`, intensities in [0, 1]; padded with 0 at the far ends."""
        height, width = self.manifest.size
        missing = ((0, 0), (0, 0), (0, height - slices.shape[2]), (0, width - slices.shape[3]))
        levels = 2**self.manifest.bits - 1
        stored = np.pad(np.rint(np.clip(slices, 0, 1) * levels), missing).astype(self.manifest.dtype)
        self._refuse_leak(volume)
        placed = replace(volume, first_row=self.manifest.rows)
        path = self.directory / ARRAY
        with writing(path), path.open("r+b" if path.exists() else "w+b") as array:
            array.seek(self._place(placed.first_row))
            array.truncate()  # rows of a volume that an interruption left unfinished
            array.write(stored.tobytes())
            array.flush()
        self._save(replace(self.manifest, volumes=[*self.manifest.volumes, placed]))

    def skip(self, file: str, reason: str) -> None:
        """Note that a source was left out."""
        self._save(replace(self.manifest, skipped=[*self.manifest.skipped, {"file": file, "reason": reason}]))

    def finish(self) -> Manifest:
        """Write the array's header, and the manifest with its fingerprint."""
        path = self.directory / ARRAY
        with writing(path), path.open("r+b") as array:
            array.write(self._header(self.manifest.rows))
        self._save(replace(self.manifest, fingerprint=_fingerprint(self.manifest, path)))
        return self.manifest

    def _refuse_leak(self, volume: StoredVolume) -> None:
        hashes = {source["sha256"] for source in volume.sources}
        for other in self.manifest.volumes:
            if other.split != volume.split and hashes & {source["sha256"] for source in other.sources}:
                files = f"{other.sources[0]['file']} and {volume.sources[0]['file']}"
                raise UsageError(
                    f"{files} are the same volume, one in each split. Remove one: validation must not be trained on."
                )

    def _save(self, manifest: Manifest) -> None:
        write_json(self.directory / MANIFEST, {"format": FORMAT, **asdict(manifest)})
        self.manifest = manifest

    def _header(self, rows: int) -> bytes:
        shape = (rows, self.manifest.realisations, *self.manifest.size)
        described = {"descr": np.lib.format.dtype_to_descr(self.manifest.dtype), "fortran_order": False, "shape": shape}
        text = repr(described).encode().ljust(256 - 11) + b"\n"
        return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text

    def _place(self, row: int) -> int:
        height, width = self.manifest.size
        return len(self._header(0)) + row * self.manifest.realisations * height * width * self.manifest.dtype.itemsize


@dataclass(frozen=True)
class PreparedData:
    """A complete data directory, open for reading. array: `[n s h w]`, integers, mapped from disk."""

    manifest: Manifest
    array: NDArray[Any]

    def rows(self, split: Split) -> list[int]:
        """All rows of one split."""
        return [row for volume in self.manifest.split(split) for row in volume.rows]

    def images(self, rows: Sequence[int]) -> Float[Tensor, "b s h w"]:
        """Some rows as images in [-0.5, 0.5], on the CPU."""
        return as_images(torch.from_numpy(self.array[list(rows)]), self.manifest.bits)

    def resident(self, split: Split) -> Tensor:
        """All rows of one split as stored integers, for a device that has room for them; see `as_images`."""
        return torch.from_numpy(self.array[self.rows(split)])


def as_images(stored: Shaped[Tensor, "b s h w"], bits: int) -> Float[Tensor, "b s h w"]:
    """Stored integers as images in [-0.5, 0.5]."""
    images: Tensor = stored.float() / (2**bits - 1) - 0.5
    return images


def open_prepared(directory: Path) -> PreparedData:
    """Open what `prepare` made, after checking it against its fingerprint."""
    if not (directory / MANIFEST).exists():
        raise UsageError(f"{directory} is not prepared data (no {MANIFEST}). Make it with `mri-n2n prepare`.")
    manifest = _read_manifest(directory / MANIFEST)
    if not manifest.fingerprint:
        raise UsageError(f"{directory} was not prepared to the end. Run the same `mri-n2n prepare` again to finish it.")
    path = directory / ARRAY
    try:
        if _fingerprint(manifest, path) != manifest.fingerprint:
            raise UsageError(f"{path} does not match its manifest: it is damaged. Prepare it again with --overwrite.")
        array = np.load(path, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Prepare it again with --overwrite.") from None
    return PreparedData(manifest, array)


def plan_hash(options: dict[str, Any], sources: list[Path]) -> str:
    """Identify a request: its options, and name, size and time of change of its sources."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    return hashlib.sha256(json.dumps([options, stats]).encode()).hexdigest()


def _earlier(directory: Path) -> Manifest | None:
    try:
        return _read_manifest(directory / MANIFEST)
    except UsageError:
        return None


def _read_manifest(path: Path) -> Manifest:
    content = read_json(path, "manifest")
    try:
        if content.pop("format") != FORMAT:
            raise ValueError("unknown format")
        content["volumes"] = [StoredVolume(**volume) for volume in content["volumes"]]
        content["size"] = tuple(content["size"])
        return Manifest(**content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a manifest of this program ({error}). Prepare the data again.") from None


def _fingerprint(manifest: Manifest, array: Path) -> str:
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
