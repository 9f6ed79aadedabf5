"""Whether two exposures of a scene lie on each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

WINDOW = 512  # pixels, in the middle, that are looked at
REACH = 32  # pixels: a larger displacement is told without its size
CLEARLY = 1.05  # how much better than none a displacement must fit
SIGNIFICANT = 8  # standard deviations of the correlation that it must stand out by; noise alone reaches 5
FADED = 0.05  # of the overlap at no displacement: the least for which a correlation is judged by its own
SMALLEST = 64  # pixels: below, there is too little to compare
COARSE, CELL = 16, 8  # pixels square: blocks whose means tell scenes apart, and cells of which their noise is told
CONTRAST = 0.02  # of the brightest value: what a coarse image must vary by to be judged
CLEAR = 9  # times the variance of its noise: what a coarse image must vary by to be judged
ALIKE = 0.8  # correlation of the coarse images of one scene, at least; 0.9 where they are just clear


def misfit(first: NDArray[Any], second: NDArray[Any]) -> str:
    """What is wrong with two images `[h w c]` as exposures of one scene, in words; empty where they fit.

    Displacements of two pixels and more are found, at any exposure. Where noise hides the scene, nothing is said:
    exposures that fit are told to misfit less than once in a thousand times (measured: never in 7,500), while their
    noise does not reach over more than a few pixels.
    """
    if min(first.shape[:2]) < SMALLEST:
        return ""
    down, right = _displacement(first, second)
    if max(abs(down), abs(right)) > REACH:
        return f"seem displaced by more than {REACH} pixels"
    if (down, right) != (0, 0):
        return f"seem displaced by {right}×{down} pixels"
    return "show different scenes" if _differ(first, second) else ""


def _displacement(first: NDArray[Any], second: NDArray[Any]) -> tuple[int, int]:
    """By how many pixels (down, right) the second image seems moved against the first; (0, 0) if it fits.

    From the circular cross-correlation of band-passed grey images, each value in units of what independent noise of one
    strength everywhere would bring: less, the further the images, faded at their borders, are displaced.
    """
    bands = [_band(_middle(image)) for image in (first, second)]
    fade = _fade(bands[0].shape)
    overlap = _correlation(fade**2, fade**2)
    correlation = _correlation(*(band * fade for band in bands))
    correlation /= np.sqrt(overlap.clip(FADED * overlap[0, 0]))
    place = np.unravel_index(int(correlation.argmax()), correlation.shape)
    down, right = (
        int(at) - size if at > size // 2 else int(at) for at, size in zip(place, correlation.shape, strict=True)
    )
    best = correlation.max()
    if max(abs(down), abs(right)) < 2 or best < SIGNIFICANT * correlation.std() or best < CLEARLY * correlation[0, 0]:
        return 0, 0
    return down, right


def _differ(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two images show different scenes, as far as they can be seen through their noise."""
    coarse = []
    for image in (first, second):
        cells = _means(_grey(image), CELL, multiple=COARSE // CELL)
        odd = np.indices(cells.shape).sum(axis=0) % 2
        blocks = [_means(part, COARSE // CELL) for part in (cells * odd, cells * (1 - odd))]
        mean, noise = blocks[0] + blocks[1], (blocks[0] - blocks[1]).var()
        # Cells of one colour of a chessboard against the other's: a scene's slow changes cancel, and noise does not.
        if mean.std() < CONTRAST * max(1.0, mean.max()) or mean.var() < (1 + CLEAR) * noise:
            return False
        coarse.append(mean.ravel())
    alike: Any = np.corrcoef(coarse[0], coarse[1])
    return bool(alike[0, 1] < ALIKE)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(irfft2(rfft2(second) * np.conj(rfft2(first)), first.shape))


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(image.mean(axis=2, dtype=np.float64))


def _means(image: NDArray[np.float64], side: int, multiple: int = 1) -> NDArray[np.float64]:
    """The means of square blocks, as many as fit each way, by `multiple` together."""
    height, width = (size // (side * multiple) * multiple for size in image.shape)
    blocks = image[: side * height, : side * width].reshape(height, side, width, side)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _middle(image: NDArray[Any]) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    top, left = max(0, (height - WINDOW) // 2), max(0, (width - WINDOW) // 2)
    return _grey(image[top : top + WINDOW, left : left + WINDOW])


def _band(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image without its slow changes and its finest noise."""
    return np.asarray(gaussian_filter(grey, 1) - gaussian_filter(grey, 4))


def _fade(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """From one in the middle to zero at the borders."""
    return np.outer(*(np.hanning(size + 2)[1:-1] for size in shape))
