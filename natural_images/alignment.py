"""Whether two exposures of a scene lie on each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

WINDOW = 512  # pixels, in the middle, that are looked at
REACH = 32  # pixels of displacement that are told
CLEARLY = 1.2  # how much better than none a displacement must fit
SIGNIFICANT = 8  # standard deviations of the correlation that a displacement must stand out by
SMALLEST = 64  # pixels: below, there is too little to compare


def displacement(first: NDArray[Any], second: NDArray[Any]) -> tuple[int, int]:
    """By how many pixels (down, right) the second image `[h w c]` seems moved against the first; (0, 0) if it fits.

    Compares band-passed grey images by their circular cross-correlation: noise and exposure do not matter to it.
    """
    if min(first.shape[:2]) < SMALLEST:
        return 0, 0
    spectra = [rfft2(_band(image)) for image in (first, second)]
    correlation = irfft2(spectra[1] * np.conj(spectra[0]), _band(first).shape)
    near = np.roll(correlation, (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    down, right = np.unravel_index(int(near.argmax()), near.shape)
    around = near[REACH - 1 : REACH + 2, REACH - 1 : REACH + 2].max()  # a pixel's doubt is no displacement
    if near.max() <= max(CLEARLY * around, SIGNIFICANT * correlation.std()):
        return 0, 0
    return int(down) - REACH, int(right) - REACH


def _band(image: NDArray[Any]) -> NDArray[np.float64]:
    """The middle of an image in grey, without its slow changes and finest noise, fading to zero at its borders."""
    height, width = image.shape[:2]
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    grey = image[top : top + WINDOW, left : left + WINDOW].mean(axis=2, dtype=np.float64)
    band = gaussian_filter(grey, 1) - gaussian_filter(grey, 4)
    fade = np.outer(*(np.hanning(size + 2)[1:-1] for size in band.shape))
    return np.asarray(band * fade)
