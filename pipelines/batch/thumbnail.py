"""A picture of a reconstructed volume, small enough for a table."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHOWN = 3  # slices


def draw_thumbnail(path: Path, array: NDArray[np.float32], affine: NDArray[np.float64]) -> None:
    """Three slices side by side, a quarter, a half and three quarters of the way, black to the 99.8 % quantile.

    The patient's head or front is up, whichever way the second axis runs.
    """
    second = affine[:3, 1]
    upright = bool(second[np.argmax(np.abs(second))] < 0)
    depth = array.shape[2]
    places = [depth * (place + 1) // (SHOWN + 1) for place in range(SHOWN)]
    slices = np.concatenate(
        [array[:, :, place].T if upright else np.rot90(array[:, :, place]) for place in places], axis=1
    )
    white = max(float(np.quantile(slices, 0.998)), float(np.finfo(np.float32).tiny))
    grey = (np.clip(slices / white, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((480, 160))
    image.save(path, optimize=False)
