"""Raw Cartesian k-space as it comes out of a file, whatever the format."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_n2n.errors import BadVolume, Problem


@dataclass(frozen=True)
class Scan:
    """A Cartesian acquisition of a volume.

    3-D: two phase encodings (row, column), and a readout that is always acquired whole. 2-D (not `encoded`): a stack of
    slices, each with one phase encoding (row) and its readout (column).

    samples: `[coil readout row column]`, complex64, every axis still encoded and unshifted (DC at 0), the averages of
    a line averaged, zero where nothing was acquired; of a 2-D scan `[coil slice row column]`, the slices in their order
    in space. The image's origin, where phases are zero, is voxel n // 2 of each encoded axis. mask: `[row column]`,
    what was acquired, of every slice. size: rows, columns and readout positions (or slices) of the field of view to be
    shown; the rest is oversampling. affine: from voxel `[row column readout]` of that field of view to millimetres
    (RAS+). decay: λ of the sampling density exp(-λ|k|), or density: `[row column]`, unshifted, in [0, 1], and white:
    the intensity that is white, where they are known. extent: `[row column]`, unshifted, what could be acquired by the
    limits that the file states; None where it states none. notes: what a person should know of the file. sha256: of
    its bytes.
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
    encoded: bool = True
    extent: NDArray[np.bool_] | None = None
    density: NDArray[np.float32] | None = None


LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # the patient's axes of DICOM and ISMRMRD; ours are NIfTI's (RAS+)
LARGEST = 2048  # samples along one axis
MOST_VALUES = 2**29  # complex values of one scan, 4 GiB
HUGE = 1e30  # sums of such samples still fit into float32
MOST_MISSING = 0.25  # of a readout that is zero-filled: the half of its frequencies around DC is there on both sides
UNORIENTED = "states no orientation: its axes are taken for the patient's."


def partial_echo(missing: int, readout: int, *, encoded: bool) -> tuple[str, ...]:
    """What a person should know of samples of the readout that are missing in every line.

    Of 3-D scans they stay zero, as nothing fills them in along the readout: raises `BadVolume` (without a path) for
    more than `MOST_MISSING`, which would do more than blur. Of 2-D scans the network fills them in.
    """
    if not missing:
        return ()
    if not encoded:
        return (f"has partial echoes: {missing} of {readout} samples of every line are left to the network.",)
    if missing > MOST_MISSING * readout:
        raise BadVolume(
            f"has partial echoes that lack {missing} of {readout} samples, expected {MOST_MISSING:.0%} at most: along "
            "the readout of a 3-D scan nothing fills them in.",
            Problem.UNSUPPORTED,
        )
    return (
        f"has partial echoes: {missing} of {readout} samples of every line are zero, which blurs along the readout.",
    )


def unplaced_affine(voxel_mm: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[Any]:
    """Of a scan that says nothing of its place: along the patient's axes, the middle of the image at the origin."""
    return affine_around(np.zeros(3), np.diag(voxel_mm), size)


def affine_around(middle: NDArray[np.float64], steps: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[Any]:
    """The affine whose voxel n // 2 of each axis lies at `middle`, for columns of `steps` from voxel to voxel.

    Both are in the patient's axes of DICOM, in mm; the affine goes to RAS+.
    """
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ steps
    affine[:3, 3] = LPS_TO_RAS @ middle - affine[:3, :3] @ (np.array(size) // 2)
    return affine
