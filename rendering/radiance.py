"""Radiance as it is kept and shown: linear and unclipped, in half precision, tone-mapped for the eye."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 65504.0  # of float16
GAMMA = 2.2

Planes = NDArray[Any]  # [c h w]


def tone_map(radiance: Planes) -> Planes:
    """T(v) = (v / (1 + v))^(1/2.2), in [0, 1) (Noise2Noise, §3.3). What is below 0 counts as 0."""
    radiance = np.maximum(radiance.astype(np.float64), 0.0)
    return np.asarray((radiance / (1.0 + radiance)) ** (1.0 / GAMMA))


def without_gaps(planes: Planes) -> tuple[Planes, int]:
    """Pixels with a value that is no finite number become 0 in all their channels; and how many there were."""
    broken = ~np.isfinite(planes).all(axis=0)
    return np.where(broken, np.float32(0.0), planes), int(broken.sum())


def halved(planes: Planes) -> tuple[NDArray[np.float16], int]:
    """The same as float16, values beyond ±65504 clamped; and how many there were."""
    beyond = np.abs(planes) > LARGEST
    return np.clip(planes, -LARGEST, LARGEST).astype(np.float16), int(beyond.sum())


def in_8_bit(shown: Planes) -> NDArray[np.uint8]:
    """Planes `[c h w]` in [0, 1], as an image file takes them: `[h w c]`."""
    return np.asarray(np.moveaxis(shown, 0, -1).clip(0.0, 1.0) * 255 + 0.5).astype(np.uint8)
