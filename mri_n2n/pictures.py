"""Arrays as pictures: grey or colour values, and the bytes of PNG and WebP files."""

from io import BytesIO
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

Pixels = UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]
QUALITIES = (88, 75, 50, 25, 5)  # of pictures that are compressed with loss: the first that makes them small enough


def as_pixels(
    image: Float[np.ndarray, "h w"] | Float[np.ndarray, "3 h w"], white: float, black: float = -0.5
) -> Pixels:
    """8-bit values of a grey image `[h w]`, or of a colour image `[3 h w]`."""
    scaled = np.clip((image.astype(np.float32) - black) / max(white - black, 1e-6), 0, 1)
    values: NDArray[np.uint8] = np.rint(scaled * 255).astype(np.uint8)
    return np.moveaxis(values, 0, -1) if values.ndim == 3 else values


def log_spectrum(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The logarithm of an image's spectrum, DC in the middle: 0 where there is nothing."""
    spectrum = np.fft.fftshift(np.fft.fft2(image, norm="ortho"))
    return np.asarray(np.log1p(np.abs(spectrum) * 50))


def encoded(
    pixels: Pixels, kind: Literal["png", "webp"], *, longest: int | None = None, most: int | None = None
) -> bytes:
    """A file's bytes: PNG without loss, WebP with a little.

    longest: pixels of the longer side, at most. most: bytes that a WebP should not have more of; noise loses the most.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    if longest is not None:
        picture.thumbnail((longest, longest))
    content = BytesIO()
    if kind == "png":
        picture.save(content, "PNG", compress_level=6)
        return content.getvalue()
    for quality in QUALITIES:
        content = BytesIO()
        picture.save(content, "WEBP", quality=quality, method=2)
        if most is None or content.tell() <= most:
            break
    return content.getvalue()


def decoded_size(content: bytes, kind: Literal["png", "webp"]) -> tuple[int, int]:
    """Width and height of a picture of this kind. Raises `ValueError` for anything else."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content), formats=[kind]) as picture:
            return picture.size
    except UnidentifiedImageError:
        raise ValueError(f"no {kind} picture") from None
    except Image.DecompressionBombError:
        raise ValueError("too large a picture") from None
