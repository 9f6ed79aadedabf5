"""Raw Cartesian k-space as it comes out of a file, whatever the format."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scan:
    """A 3-D Cartesian acquisition: two phase encodings, and a readout that is always acquired whole.

    samples: `[coil readout row column]`, complex64, every axis still encoded and unshifted (DC at 0), the averages of
    a line averaged, zero where nothing was acquired. The image's origin, where phases are zero, is voxel n // 2 of
    each axis. mask: `[row column]`, what was acquired. size: rows, columns and readout positions of the field of view
    to be shown; the rest is oversampling. affine: from voxel `[row column readout]` of that field of view to
    millimetres (RAS+). decay: λ of the sampling density exp(-λ|k|), and white: the intensity that is white, where the
    file states them. notes: what a person should know of the file. sha256: of its bytes.
    """

    samples: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    size: tuple[int, int, int]
    affine: NDArray[np.float64]
    decay: float | None
    white: float | None
    simulated: bool
    notes: tuple[str, ...] = ()
    sha256: str = ""
