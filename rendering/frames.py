"""A store of frames: half-precision arrays on disk, a manifest, and a record of which frames are complete."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_n2n.durable import alone, read_json, sync, write_json, writing
from mri_n2n.errors import UsageError
from rendering.radiance import Planes, halved

MANIFEST, RECORD, CONTACT = "manifest.json", "complete.json", "contact.png"
OWN = (MANIFEST, RECORD, CONTACT, "colour.npy", "albedo.npy", "normal.npy", "reference.npy")
FORMAT = 3  # 2: normals in the camera's axes; 3: seeds of replicates in a row
PLANES = ("colour", "albedo", "normal")  # of a render, in the order in which networks see them
Half = NDArray[np.float16]


@dataclass(frozen=True)
class Layout:
    """The store's shape. size: (height, width); reference: whether each frame has a clean one."""

    frames: int
    replicates: int
    size: tuple[int, int]
    reference: bool

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """The arrays by name: renders with their own albedo and normals `[f k 3 h w]`, references `[f 3 h w]`."""
        shape = (self.frames, self.replicates, 3, *self.size)
        arrays = dict.fromkeys(PLANES, shape)
        return arrays | ({"reference": (self.frames, 3, *self.size)} if self.reference else {})


@dataclass
class FrameStore:
    """Frames in a folder. A frame is complete, and in the record with what was counted of it, or it is absent."""

    directory: Path
    manifest: Mapping[str, Any]
    layout: Layout
    complete: dict[int, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def create(cls, directory: Path, manifest: Mapping[str, Any], layout: Layout) -> "FrameStore":
        """A new one, with all the space that it will take: a disk too small is found before the first frame."""
        paths = {directory / f"{name}.npy": shape for name, shape in layout.arrays().items()}
        shape_of = {"frames": layout.frames, "replicates": layout.replicates, "size": list(layout.size)}
        content = {"format": FORMAT, "layout": shape_of | {"reference": layout.reference}, **manifest}
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        try:
            write_json(directory / MANIFEST, content)  # first: whose the rest is shows even after a kill
            for path, shape in paths.items():
                _reserve(path, shape)
            write_json(directory / RECORD, {})  # last: until then there is no store
        except BaseException:
            for path in (*paths, directory / MANIFEST):
                path.unlink(missing_ok=True)
            raise
        return cls(directory, content, layout)

    @classmethod
    @contextmanager
    def held(cls, directory: Path, manifest: Mapping[str, Any], layout: Layout) -> Iterator["FrameStore"]:
        """One for this process alone, as it is by now; made if there is none, or if its making was killed."""
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        with alone(directory):
            for left in directory.glob(".partial-*"):  # by a process that was killed
                left.unlink()
            if not (directory / RECORD).exists():
                cls.create(directory, manifest, layout)
            yield cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> "FrameStore":
        """One that is there, complete or not. Raises `UsageError` for anything else."""
        manifest, layout = read_manifest(directory)
        try:
            record = read_json(directory / RECORD, "record of frames") if (directory / RECORD).exists() else {}
            complete = {int(place): dict(counts) for place, counts in record.items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _no_store(directory) from None
        store = cls(directory, manifest, layout, complete)
        for name, expected in layout.arrays().items():
            if store.array(name).shape != expected:
                raise UsageError(f"{directory / name}.npy is not of the manifest's shape. Render it again.")
        return store

    @property
    def fingerprint(self) -> str:
        """What the frames are made of, as a hash: the same for the same bytes."""
        about = {
            "manifest": dict(self.manifest),
            "complete": {str(place): self.complete[place] for place in self.complete},
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def scene_hashes(self) -> list[str]:
        """The SHA-256 of every scene."""
        return [scene["sha256"] for scene in self.manifest.get("scenes", ())]

    def rows(self) -> dict[str, range]:
        """The frames of each scene, by its name."""
        counts = {name: len(views) for name, views in self.manifest["views"].items()}
        ends = list(accumulate(counts.values()))
        return {name: range(end - count, end) for (name, count), end in zip(counts.items(), ends, strict=True)}

    def check_complete(self) -> None:
        """Raise `UsageError` unless every frame is there."""
        missing = self.layout.frames - len(self.complete)
        if missing:
            raise UsageError(
                f"{missing} of {self.layout.frames} frames in {self.directory} are not made yet. "
                "Give the command that makes them again: it goes on."
            )

    def array(self, name: str) -> Half:
        """One of the layout's arrays, mapped from disk and read-only. Only complete frames of it mean anything."""
        path = self.directory / f"{name}.npy"
        try:
            mapped: Half = np.load(path, mmap_mode="r")
            return mapped
        except (OSError, ValueError, EOFError):
            raise UsageError(f"cannot read {path}: it is missing or damaged. Render it again.") from None

    def write(self, place: int, planes: Mapping[str, Planes], replaced: int) -> None:
        """Keep a frame, each array as the layout says but without its first axis: data first, then the record."""
        clamped = 0
        for name, shape in self.layout.arrays().items():
            path = self.directory / f"{name}.npy"
            half, beyond = halved(planes[name])
            if half.shape != shape[1:]:
                raise ValueError(f"{name} is {half.shape}, expected {shape[1:]}")
            clamped += beyond
            with writing(path), path.open("r+b") as file:  # not by mapping: there a full disk kills the process
                file.seek(path.stat().st_size - (shape[0] - place) * half.nbytes)
                file.write(half.tobytes())
            sync(path)
        self.complete[place] = {"clamped": clamped, "replaced": replaced}
        write_json(self.directory / RECORD, {str(key): self.complete[key] for key in sorted(self.complete)})

    def counted(self, what: str) -> int:
        """Over all complete frames: values "clamped" to float16's range, or pixels "replaced" by 0."""
        return sum(counts[what] for counts in self.complete.values())


def read_manifest(directory: Path) -> tuple[Mapping[str, Any], Layout]:
    """A store's, which is written before anything else of it. Raises `UsageError` if there is none of ours."""
    manifest = read_json(directory / MANIFEST, "store of frames (made by mri-n2n render frames)")
    try:
        if not isinstance(manifest["format"], int):
            raise ValueError("another program's, or another kind of data")
        if manifest["format"] != FORMAT:
            raise UsageError(f"{directory} is of format {manifest['format']}, expected {FORMAT}. Render it again.")
        shape = manifest["layout"]
        height, width = shape["size"]
        return manifest, Layout(shape["frames"], shape["replicates"], (height, width), shape["reference"])
    except (KeyError, TypeError, ValueError):
        raise _no_store(directory) from None


def _no_store(directory: Path) -> UsageError:
    return UsageError(f"{directory} is no store of frames, or damaged. Render it again.")


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    with writing(path), path.open("wb") as file:
        header: dict[str, Any] = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        size = file.tell() + 2 * int(np.prod(shape))
        file.flush()
        if hasattr(os, "posix_fallocate"):  # real space, not a hole
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
