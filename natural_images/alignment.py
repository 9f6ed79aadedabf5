"""Whether two exposures of a scene lie on each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

WINDOW = 512  # pixels, in the middle, that are looked at
REACH = 32  # pixels: a larger displacement is told without its size
CLEARLY = 1.05  # how much better than none a displacement must fit
SIGNIFICANT = 8  # standard deviations of the correlation that it must stand out by
SMALLEST = 64  # pixels: below, there is too little to compare
COARSE = 16  # pixels square: at this size noise has averaged out, and scenes are still told apart
CONTRAST = 0.02  # of the brightest value: what a coarse image must vary by to be judged
ALIKE = 0.8  # correlation of the coarse images of one scene, at least


def misfit(first: NDArray[Any], second: NDArray[Any]) -> str:
    """What is wrong with two images `[h w c]` as exposures of one scene, in words; empty where they fit.

    Displacements of two pixels and more are found. Noise and exposure do not matter.
    """
    if min(first.shape[:2]) < SMALLEST:
        return ""
    down, right = _displacement(first, second)
    if max(abs(down), abs(right)) > REACH:
        return f"seem displaced by more than {REACH} pixels"
    if (down, right) != (0, 0):
        return f"seem displaced by {right}×{down} pixels"
    coarse = [_coarse(image) for image in (first, second)]
    judged = min(image.std() / max(1.0, image.max()) for image in coarse) > CONTRAST
    alike = not judged or np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] >= ALIKE
    return "" if alike else "show different scenes"


def _displacement(first: NDArray[Any], second: NDArray[Any]) -> tuple[int, int]:
    """By how many pixels (down, right) the second image seems moved against the first; (0, 0) if it fits.

    From the circular cross-correlation of band-passed grey images.
    """
    bands = [_band(image) for image in (first, second)]
    spectra = [rfft2(band) for band in bands]
    correlation = irfft2(spectra[1] * np.conj(spectra[0]), bands[0].shape)
    place = np.unravel_index(int(correlation.argmax()), correlation.shape)
    down, right = (
        int(at) - size if at > size // 2 else int(at) for at, size in zip(place, correlation.shape, strict=True)
    )
    best = correlation.max()
    if max(abs(down), abs(right)) < 2 or best < SIGNIFICANT * correlation.std() or best < CLEARLY * correlation[0, 0]:
        return 0, 0
    return down, right


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(image.mean(axis=2, dtype=np.float64))


def _coarse(image: NDArray[Any]) -> NDArray[np.float64]:
    """The means of 16 × 16 blocks."""
    height, width = (size // COARSE for size in image.shape[:2])
    blocks = _grey(image[: COARSE * height, : COARSE * width]).reshape(COARSE, height, COARSE, width)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _band(image: NDArray[Any]) -> NDArray[np.float64]:
    """The middle of an image in grey, without its slow changes and finest noise, fading to zero at its borders."""
    height, width = image.shape[:2]
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    grey = _grey(image[top : top + WINDOW, left : left + WINDOW])
    band = gaussian_filter(grey, 1) - gaussian_filter(grey, 4)
    fade = np.outer(*(np.hanning(size + 2)[1:-1] for size in band.shape))
    return np.asarray(band * fade)
