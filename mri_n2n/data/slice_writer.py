"""Prepared data, being written: volume after volume, to be gone on with after an interruption."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.manifest import (
    ARRAY,
    FORMAT,
    MANIFEST,
    Manifest,
    StoredVolume,
    fingerprint_of,
    read_manifest,
    unfinished,
)
from mri_n2n.durable import clear, write_json, writing
from mri_n2n.errors import UsageError

OWN_FILES = (ARRAY, MANIFEST)


class SliceWriter:
    """Appends volumes to a directory beside `destination`, which takes its place when all are there.

    The manifest is rewritten after each volume. What an interruption left is gone on with if the request is the same,
    and begun afresh if not. `complete` data at the destination is replaced only with `overwrite`, and only at the end.
    """

    def __init__(self, destination: Path, manifest: Manifest, *, overwrite: bool) -> None:
        self.destination = destination
        self.directory = unfinished(destination)
        self.complete = False
        there = _manifest_in(destination)
        if there is not None and there.plan == manifest.plan:
            self.manifest, self.complete = there, True
            return
        clear(destination, OWN_FILES, overwrite=overwrite, dry_run=True)
        growing = _manifest_in(self.directory)
        if growing is not None and growing.plan == manifest.plan:
            self.manifest = growing
            return
        clear(self.directory, OWN_FILES, overwrite=True)
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        self._save(manifest)

    def has(self, file: str) -> bool:
        """Whether an earlier, interrupted preparation dealt with this source."""
        done = (source["file"] for volume in self.manifest.volumes for source in volume.sources)
        return file in done or any(skipped["file"] == file for skipped in self.manifest.skipped)

    def append(self, volume: StoredVolume, slices: NDArray[np.float32]) -> None:
        """Store a volume's slices `[n s h w]`, intensities in [0, 1] or k-space; padded with 0 at the far ends."""
        self._refuse_leak(volume)
        height, width = self.manifest.size
        missing = ((0, 0), (0, 0), (0, height - slices.shape[2]), (0, width - slices.shape[3]))
        if np.issubdtype(self.manifest.dtype, np.integer):
            slices = np.rint(np.clip(slices, 0, 1) * (2**self.manifest.bits - 1))
        stored = np.pad(slices, missing).astype(self.manifest.dtype)
        placed = replace(volume, first_row=self.manifest.rows)
        path = self.directory / ARRAY
        with writing(path), path.open("r+b" if path.exists() else "w+b") as array:
            array.seek(self._place(placed.first_row))
            array.truncate()  # rows of a volume that an interruption left unfinished
            array.write(stored.tobytes())
            array.flush()
            os.fsync(array.fileno())  # before the manifest that counts on it
        self._save(replace(self.manifest, volumes=[*self.manifest.volumes, placed]))

    def skip(self, file: str, reason: str) -> None:
        """Note that a source was left out."""
        self._save(replace(self.manifest, skipped=[*self.manifest.skipped, {"file": file, "reason": reason}]))

    def discard(self) -> None:
        """Forget the unfinished directory: the request turned out to be impossible."""
        clear(self.directory, OWN_FILES, overwrite=True)

    def finish(self, *, overwrite: bool) -> Manifest:
        """Write the array's header and the fingerprint, and put everything in its place."""
        path = self.directory / ARRAY
        with writing(path), path.open("r+b") as array:
            array.write(self._header(self.manifest.rows))
            os.fsync(array.fileno())
        self._save(replace(self.manifest, fingerprint=fingerprint_of(self.manifest, path)))
        clear(self.destination, OWN_FILES, overwrite=overwrite)
        with writing(self.destination):
            self.directory.replace(self.destination)
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


def _manifest_in(directory: Path) -> Manifest | None:
    try:
        return read_manifest(directory / MANIFEST)
    except UsageError:
        return None
