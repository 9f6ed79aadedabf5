"""Images, their errors, spectra and masks as pictures of a page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from mri_n2n.illustrations import Illustration
from mri_n2n.metrics import psnr
from mri_n2n.pages.charts import heat
from mri_n2n.pages.page import Picture, data_uri
from mri_n2n.pictures import Pixels, as_pixels, encoded, log_spectrum

LOSSLESS = 256 * 256  # pixels of a picture, at most, that keeps every one of them
ERROR_QUANTILE = 0.995  # of the first method's error: from there on it is as bright as can be


@dataclass(frozen=True)
class Example:
    """An illustration as pictures. errors: of the methods before and after, on one scale from 0 to `error_scale`, a
    share of the range from black to white. qualities: PSNR in dB where there is a reference."""

    title: str
    images: Mapping[str, Picture]
    qualities: Mapping[str, str]
    before: str
    after: str
    errors: Mapping[str, Picture]
    error_scale: float
    spectra: Mapping[str, Picture]
    mask: Picture | None
    kept: float


def example_of(illustration: Illustration) -> Example:
    """The pictures of an illustration."""
    title, images = illustration.title, illustration.images
    shown = {name: _picture(as_pixels(image, illustration.white), f"{title}: {name}") for name, image in images.items()}
    qualities: dict[str, str] = {}
    errors: dict[str, Picture] = {}
    scale = 0.0
    if illustration.has_reference:
        reference = images[list(images)[-1]]
        qualities = {name: _quality(images[name], reference) for name in illustration.methods}
        compared = dict.fromkeys((illustration.before, illustration.after))
        maps = {name: _error(images[name], reference) for name in compared}
        span = illustration.white + 0.5
        scale = max(float(np.quantile(next(iter(maps.values())), ERROR_QUANTILE)), 1e-3 * span)
        errors = {
            name: _picture(
                heat()[np.rint(np.clip(own / scale, 0, 1) * 255).astype(np.uint8)], f"{title}: error of {name}"
            )
            for name, own in maps.items()
        }
        scale /= span
    spectra: dict[str, Picture] = {}
    if all(image.ndim == 2 for image in images.values()):
        logs = {name: log_spectrum(image) for name, image in images.items()}
        top = float(list(logs.values())[-1].max())
        spectra = {
            name: _picture(as_pixels(own, top, 0.0), f"{title}: spectrum of {name}, lowest frequencies in the middle")
            for name, own in logs.items()
        }
    mask, kept = illustration.mask, 0.0
    drawn = None
    if mask is not None:
        kept = float(mask.mean())
        alt = f"{title}: acquired frequencies in white, {kept:.1%} of all, lowest in the middle"
        drawn = _picture((mask * 255).astype(np.uint8), alt)
    before, after = illustration.before, illustration.after
    return Example(title, shown, qualities, before, after, errors, scale, spectra, drawn, kept)


def heat_scale() -> Picture:
    """The colours of an error map from left (none) to right (the scale's end)."""
    return _picture(np.repeat(heat()[None], 8, axis=0), "colours of the error map, from none to the end of the scale")


def _error(image: NDArray[np.floating], reference: NDArray[np.floating]) -> Float[np.ndarray, "h w"]:
    difference = np.abs(image - reference)
    return difference if difference.ndim == 2 else difference.mean(axis=0)


def _quality(image: NDArray[np.floating], reference: NDArray[np.floating]) -> str:
    planes = [torch.tensor(np.ascontiguousarray(one), dtype=torch.float32).reshape(1, -1, image.shape[-1])
              for one in (image, reference)]  # fmt: skip
    value = float(psnr(*planes))
    return f"{value:.2f} dB" if math.isfinite(value) else ""


def _picture(pixels: Pixels, alt: str) -> Picture:
    height, width = pixels.shape[:2]
    kind: Literal["png", "webp"] = "png" if height * width <= LOSSLESS else "webp"
    return Picture(data_uri(encoded(pixels, kind), kind), width, height, alt)
