"""Which slices of a volume are stored, and on what scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.manifest import StoredVolume
from mri_n2n.errors import BadVolume


@dataclass(frozen=True)
class SliceRequest:
    """Which slices of the third axis, counted from 0, first and last included (§3.4 takes 25..124 of IXI's volumes).

    Unless `exact`, the range is clipped to the volume.
    """

    first: int = 25
    last: int = 124
    exact: bool = False

    def within(self, path: Path, depth: int) -> range:
        """The slices to take of a volume of `depth` slices."""
        chosen = range(self.first, min(self.last, depth - 1) + 1)
        if not chosen or (self.exact and self.last >= depth):
            raise BadVolume(
                f"{path} has {depth} slices on its third axis, asked for {self.first}..{self.last}. "
                "Choose others with --slices."
            )
        return chosen


def normalised(volumes: NDArray[np.float32], positions: Sequence[int]) -> tuple[NDArray[np.float32], StoredVolume]:
    """Slices `[n s h w]` in [0, 1] of `s` acquisitions `[s h w z]` of one head, divided by the volumes' common maximum.

    `positions` are the slices to take. Blank slices are left out: they teach nothing and have no PSNR. Negative
    intensities (interpolation, subtraction) shift the range, so that nothing is clipped. Raises `BadVolume` if all
    slices are blank.
    """
    kept = [position for position in positions if np.ptp(volumes[..., position]) > 0]
    if not kept:
        raise BadVolume(f"slices {positions[0]}..{positions[-1]} are blank. Choose others with --slices.")
    offset = min(float(volumes.min()), 0.0)
    scale = float(volumes.max()) - offset
    slices = np.moveaxis(volumes[..., kept], -1, 0)
    return (slices - offset) / scale, StoredVolume(kept, scale, offset)


def evenly_spread(count: int, at_most: int) -> list[int]:
    """Places among `count`: `at_most` of them, or all if there are no more, evenly spread and always the same."""
    chosen = min(count, at_most)
    return [int((index + 0.5) * count / chosen) for index in range(chosen)]
