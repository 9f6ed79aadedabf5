"""Whether slices make up a volume: in line, at equal distances, none missing and none twice."""

import numpy as np
from numpy.typing import NDArray

from mri_n2n.errors import BadVolume, Problem

SAME_PLACE = 0.01  # mm


def slice_step(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """From slice to slice, in the unit of `positions` (mm), which are `[slice axis]`, finite, in order, two or more.

    Raises `BadVolume`: `DUPLICATE` for two slices at one place, `INCOMPLETE` for a gap, and `UNSUPPORTED` for slices
    that do not lie in line at equal distances, to a fiftieth.
    """
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = np.median(steps, axis=0)
    if lengths.min() < SAME_PLACE:
        raise BadVolume("has two slices at one place.", Problem.DUPLICATE)
    if lengths.max() > 1.5 * lengths.min():  # the median of two steps is no step
        raise BadVolume("has a gap: a slice is missing.", Problem.INCOMPLETE)
    if np.abs(steps - usual).max() > max(0.02 * float(np.linalg.norm(usual)), 0.02):
        raise BadVolume("has slices that do not lie in line at equal distances.", Problem.UNSUPPORTED)
    mean: NDArray[np.float64] = (positions[-1] - positions[0]) / len(steps)
    return mean
