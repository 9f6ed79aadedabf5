"""Prepared data, open for reading: the slices of all subjects in one memory-mapped array."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from mri_n2n.data.manifest import ARRAY, MANIFEST, Manifest, Split, fingerprint_of, read_manifest, unfinished
from mri_n2n.errors import UsageError


@dataclass(frozen=True)
class PreparedData:
    """A complete data directory, open for reading. array: `[n s h w]`, integers or k-space, mapped from disk."""

    manifest: Manifest
    array: NDArray[Any]

    def rows(self, split: Split) -> list[int]:
        """All rows of one split."""
        return [row for volume in self.manifest.split(split) for row in volume.rows]

    def images(self, rows: Sequence[int]) -> Float[Tensor, "b s h w"]:
        """Some rows as images in [-0.5, 0.5], or as k-space, on the CPU."""
        return as_images(self.stored(rows), self.manifest.bits)

    def stored(self, rows: Sequence[int]) -> Shaped[Tensor, "b s h w"]:
        """Some rows as stored integers, a quarter or half of the bytes that images have; see `as_images`.

        Sixteen bits come as int16 with the same bits: CUDA does not index unsigned ones.
        """
        stored = self.array[list(rows)]
        return torch.from_numpy(stored.view(np.int16) if self.manifest.bits == 16 else stored)


def as_images(stored: Shaped[Tensor, "b s h w"], bits: int) -> Float[Tensor, "b s h w"]:
    """Stored integers as images in [-0.5, 0.5]; k-space as it is."""
    if stored.is_floating_point():
        return stored
    unsigned = stored.int() & 0xFFFF if stored.dtype == torch.int16 else stored
    images: Tensor = unsigned.float() / (2**bits - 1) - 0.5
    return images


def open_prepared(directory: Path) -> PreparedData:
    """Open what `prepare` made, after checking it against its fingerprint."""
    if not (directory / MANIFEST).exists():
        if unfinished(directory).exists():
            raise UsageError(f"{directory} was not prepared to the end. Run the same `mri-n2n prepare` again.")
        raise UsageError(f"{directory} is not prepared data (no {MANIFEST}). Make it with `mri-n2n prepare`.")
    manifest = read_manifest(directory / MANIFEST)
    path = directory / ARRAY
    try:
        if fingerprint_of(manifest, path) != manifest.fingerprint:
            raise UsageError(f"{path} does not match its manifest: it is damaged. Prepare it again with --overwrite.")
        array = np.load(path, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Prepare it again with --overwrite.") from None
    return PreparedData(manifest, array)
