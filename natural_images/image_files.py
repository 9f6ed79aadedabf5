"""Photographs as files: found, read and written through libvips (the only module that imports pyvips)."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from mri_n2n.durable import replacing
from mri_n2n.errors import UsageError, one_line
from mri_n2n.progress import say

WRITTEN = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
"""Suffixes of the formats that are read and written."""

READ = (*WRITTEN, ".gif")
"""Suffixes of the formats that are read."""

MOST_PIXELS = 2**28
"""The largest image that is decoded: at most 2 GiB, with four channels of 16 bit."""

MOST_BYTES = 2**31
"""The largest file that is opened: what the largest image takes uncompressed."""

UNREAD = frozenset(
    (
        *(".bmp", ".ppm", ".pgm", ".jp2", ".jxl", ".jfif", ".jpe", ".heic", ".heif", ".avif", ".psd", ".exr"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
    )
)
"""Suffixes of images that are not read."""

LOADERS = {
    b"\x89PNG\r\n\x1a\n": "pngload_buffer",
    b"\xff\xd8\xff": "jpegload_buffer",
    b"II*\0": "tiffload_buffer",
    b"MM\0*": "tiffload_buffer",
    b"II+\0": "tiffload_buffer",
    b"MM\0+": "tiffload_buffer",
    b"RIFF": "webpload_buffer",
    b"GIF8": "gifload_buffer",
}
"""The decoder by the first bytes. The content decides, not the suffix, and no other decoder of libvips is reached."""

INTERPRETATIONS = {(1, 8): "b-w", (1, 16): "grey16", (3, 8): "srgb", (3, 16): "rgb16"}
"""What libvips calls colours, by their number of channels and bits."""

PROFILE = "icc-profile-data"
KEPT = (PROFILE, "exif-data", "xmp-data", "iptc-data")
"""What is carried from file to file, by libvips' names."""

Pixels = UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]
Alpha = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]


class BadImage(UsageError):
    """One image file cannot be used; a folder's other files still can."""


@dataclass(frozen=True)
class ImageFile:
    """An image in memory, with what survives a round trip through a file.

    pixels: the colours alone, upright, in the file's own colour space; c is 1 (grey) or 3 (RGB). alpha: as it was.
    resolution: pixels per millimetre, across and down. metadata: ICC profile, EXIF, XMP and IPTC as they were, by
    libvips' names; the orientation in the EXIF is the one of the file.
    """

    pixels: Pixels
    alpha: Alpha | None
    resolution: tuple[float, float]
    metadata: Mapping[str, bytes]

    @property
    def bits(self) -> int:
        """Bits of a sample: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize


def find_images(folder: Path) -> list[Path]:
    """The image files in `folder` and below, sorted; hidden ones are skipped, linked folders are entered once.

    Images of types that are not read are counted and told: what is made of the others would look complete.
    """
    if not folder.is_dir():
        raise UsageError(
            f"expected a folder of images at {folder}, found {'a file' if folder.exists() else 'nothing'}."
        )
    found: list[Path] = []
    unread: Counter[str] = Counter()
    entered: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_unlistable):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [name for name in files if not name.startswith(".")]
        found += [Path(place, name) for name in shown if name.lower().endswith(READ)]
        unread.update(suffix for name in shown if (suffix := Path(name).suffix.lower()) in UNREAD)
    if unread:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items()))
        say(f"not read in {folder}: {kinds}. Convert them first.")
    if not found:
        raise UsageError(f"no images in {folder}. Expected files ending in {', '.join(READ)}.")
    return sorted(found)


def read_image(path: Path, *, most_pixels: int = MOST_PIXELS) -> ImageFile:
    """Read one image of 1, 8 or 16 bit (or 32-bit floats in [0, 1], taken as 16 bit).

    A palette is expanded, the EXIF orientation is applied, CMYK becomes sRGB (and is written as sRGB, without
    a profile). Any other colour space is kept: the values stay as they are and the profile goes with them. Raises
    BadImage for a file that is damaged, cut off, animated, of another kind, or larger than `most_pixels` (found
    before decoding).
    Safe in threads; libvips works without the GIL. Not safe in a process forked after its first use.
    """
    image = _opened(path, most_pixels)
    ink = image.interpretation == "cmyk"
    if image.format not in ("uchar", "ushort", *(() if ink else ("float",))):
        raise BadImage(f"{path} has samples of type {image.format}, expected 8 or 16 bits, or floats in [0, 1].")
    with _decoding(path):
        if ink:
            image = image.colourspace("srgb" if image.format == "uchar" else "rgb16")
        if image.get_typeof("orientation") and image.get("orientation") > 1:
            image = image.copy_memory().autorot()  # in memory, because turning does not read line by line
    if image.interpretation not in (*INTERPRETATIONS.values(), "scrgb"):
        raise BadImage(f"{path} has colours of the kind {image.interpretation}, expected grey, RGB or CMYK.")
    channels = image.bands - image.hasalpha()
    if channels not in (1, 3):
        raise BadImage(f"{path} has {channels} channels, expected 1 (grey) or 3 (RGB), with or without alpha.")
    with _decoding(path):
        samples = image.numpy().reshape(image.height, image.width, image.bands)
    if image.format == "float":
        samples = _from_unit_range(path, samples)
    alpha = np.ascontiguousarray(samples[..., channels]) if image.hasalpha() else None
    metadata = {name: bytes(image.get(name)) for name in KEPT if image.get_typeof(name)}
    if ink:
        metadata.pop(PROFILE, None)  # libvips leaves the one of the ink
    return ImageFile(np.ascontiguousarray(samples[..., :channels]), alpha, (image.xres, image.yres), metadata)


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises BadImage for one that cannot be read or is empty."""
    return hashlib.sha256(_content(path)).hexdigest()


def read_pixels(path: Path, *, most_pixels: int = MOST_PIXELS) -> Pixels:
    """The colours alone of one image, as `read_image` reads them."""
    return read_image(path, most_pixels=most_pixels).pixels


def write_image(path: Path, pixels: Pixels, like: ImageFile) -> None:
    """Write `pixels` (the size of `like`) in the format that the suffix names, atomically, with what `like` carries.

    PNG and TIFF are lossless with 8 or 16 bit. JPEG (quality 95, full chroma) and WebP (lossless) have 8 bit: 16 are
    rounded. JPEG has no alpha: the colours are kept, not blended. The EXIF orientation becomes upright, its preview
    is dropped; TIFF has no place for EXIF here. The profile is dropped where grey has become RGB or the reverse.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise UsageError(f"cannot write {path}. Choose a name that ends in {', '.join(WRITTEN)}.")
    vips = _libvips()
    jpeg = suffix in (".jpg", ".jpeg")
    bits = 8 if jpeg or suffix == ".webp" else 8 * pixels.dtype.itemsize
    parts = [pixels] if like.alpha is None or jpeg else [pixels, like.alpha[..., None]]
    samples = np.ascontiguousarray(np.concatenate([_with_bits(part, bits) for part in parts], axis=2))
    height, width, bands = samples.shape
    image = vips.Image.new_from_memory(samples, width, height, bands, "uchar" if bits == 8 else "ushort").copy(
        interpretation=INTERPRETATIONS[pixels.shape[2], bits], xres=like.resolution[0], yres=like.resolution[1]
    )
    for name, content in like.metadata.items():
        if name != PROFILE or pixels.shape == like.pixels.shape:
            image.set_type(vips.GValue.blob_type, name, content)
    image.set_type(vips.GValue.gint_type, "orientation", 1)
    image.remove("jpeg-thumbnail-data")  # the preview in the EXIF shows the old pixels
    try:
        # libvips would make up an EXIF block, of the resolution, for a file that had none.
        content = _encoded(image, suffix, bits, "all" if "exif-data" in like.metadata else "xmp:iptc:icc:other")
    except vips.Error as error:
        raise UsageError(
            f"cannot write {path}: its format refuses it, perhaps for its {width} × {height} pixels. Choose TIFF."
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def as_floats(pixels: UInt8[np.ndarray, "*s"] | UInt16[np.ndarray, "*s"], bits: int) -> Float[np.ndarray, "*s"]:
    """Integers of 8 or 16 bits as float32 in [-0.5, 0.5]."""
    return pixels.astype(np.float32) / np.float32(2**bits - 1) - np.float32(0.5)


def as_integers(values: Float[np.ndarray, "*s"], bits: int) -> UInt8[np.ndarray, "*s"] | UInt16[np.ndarray, "*s"]:
    """Floats, where [-0.5, 0.5] is black to white, clipped and rounded to integers of 8 or 16 bits."""
    if np.isnan(values).any():
        raise ValueError("the image holds NaN: there is no integer for it.")
    peak = 2**bits - 1
    steps: Float[np.ndarray, "*s"] = np.rint((values.clip(-0.5, 0.5) + 0.5) * peak)
    return steps.astype(np.uint8 if bits == 8 else np.uint16)


@cache
def _libvips() -> Any:
    """The pyvips module, set for many small images in parallel: one thread each, no cache, silent."""
    os.environ.setdefault("VIPS_WARNING", "1")  # libvips' switch for not warning
    import pyvips

    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips._remove_log_handler()  # Python run inside libvips, where a signal's KeyboardInterrupt is swallowed
    return pyvips


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    # libvips' own text is left to the traceback: its buffer is shared by all threads and may tell of another file.
    try:
        yield
    except _libvips().Error as error:
        raise BadImage(f"{path} is damaged, cut off, or of a kind that libvips does not read.") from error


def _opened(path: Path, most_pixels: int) -> Any:
    """The image of libvips with its header read and checked, and nothing decoded."""
    content = _content(path)
    loader = next((name for start, name in LOADERS.items() if content.startswith(start)), None)
    if loader is None:
        raise BadImage(f"{path} is not an image: expected PNG, JPEG, TIFF, WebP or GIF.")
    with _decoding(path):
        image = getattr(_libvips().Image, loader)(content, access="sequential", fail_on="error")
    frames = image.get("n-pages") if image.get_typeof("n-pages") else _png_frames(content)
    if frames > 1:
        raise BadImage(f"{path} has {frames} frames, expected one. Split it into a file for each.")
    if image.width * image.height > most_pixels:
        size = f"{image.width} × {image.height} pixels"
        why = "" if most_pixels == MOST_PIXELS else ", which is what memory holds now"
        raise BadImage(f"{path} has {size}, expected at most {most_pixels} in all{why}. Cut it into parts.")
    return image


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BadImage(f"expected an image at {path}, found {'no file' if path.exists() else 'nothing'}.")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadImage(f"{path} has {size} bytes, expected at most {MOST_BYTES}.")
        content = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot read {path}: {error.strerror or one_line(error)}.") from error
    if not content:
        raise BadImage(f"{path} is empty.")
    return content


def _png_frames(content: bytes) -> int:
    """How many frames an animated PNG declares before its pixels: libvips reads the first and is silent on others."""
    at = content.find(b"acTL", 0, max(content.find(b"IDAT"), 0)) if content.startswith(b"\x89PNG") else -1
    return 1 if at < 0 else int.from_bytes(content[at + 4 : at + 8], "big")


def _from_unit_range(path: Path, samples: Float[np.ndarray, "h w c"]) -> UInt16[np.ndarray, "h w c"]:
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite(samples).all():
        raise BadImage(f"{path} holds NaN or infinite samples.")
    if low < 0 or high > 1:
        raise BadImage(f"{path} has floats from {low:g} to {high:g}, expected all in [0, 1]. Rescale it.")
    return as_integers(samples - np.float32(0.5), 16)


def _with_bits(samples: Pixels, bits: int) -> Pixels:
    own = 8 * samples.dtype.itemsize
    return samples if own == bits else as_integers(as_floats(samples, own), bits)


def _encoded(image: Any, suffix: str, bits: int, keep: str) -> bytes:
    content: bytes
    if suffix == ".png":
        content = image.pngsave_buffer(bitdepth=bits, palette=False, filter="paeth", keep=keep)
    elif suffix == ".webp":
        content = image.webpsave_buffer(lossless=True, exact=True, keep=keep)
    elif suffix in (".jpg", ".jpeg"):
        content = image.jpegsave_buffer(Q=95, subsample_mode="off", optimize_coding=True, keep=keep)
    else:
        content = image.tiffsave_buffer(compression="deflate", predictor="horizontal", keep=keep)
    return content


def _unlistable(error: OSError) -> None:
    raise UsageError(f"cannot list {error.filename}: {error.strerror}. Check its permissions.") from error
