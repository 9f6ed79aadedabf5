"""BART's pairs of files: NAME.cfl with complex numbers, and NAME.hdr with their dimensions as text."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.scan import HUGE, LARGEST, MOST_VALUES, Scan, partial_echo, unplaced_affine
from mri_n2n.durable import sha256_of_all
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, one_line, problem_of

SUFFIXES = (".cfl",)
LONGEST_HEADER = 1 << 16
MOST_DIMENSIONS = 32
VOXEL_MM = 1.0
NO_GEOMETRY = "states no geometry, as is usual of its kind: voxels of 1 mm along the patient's axes are taken."


def header_of(path: Path) -> Path:
    """The .hdr that belongs to a .cfl."""
    return path.with_suffix(".HDR" if path.suffix.isupper() else ".hdr")


def read_scan(path: Path) -> Scan:
    """Read and check a pair: dimensions are readout, two phase encodings and coils; DC is in the middle.

    What is not zero was acquired. One sample along the second phase encoding: a 2-D scan of one slice; and one along
    the readout: one position of a 3-D scan. Raises `BadVolume`.
    """
    try:
        return _scan(path, _dimensions(header_of(path)))
    except BadVolume as error:
        raise error.of(path) from None
    except UNREADABLE as error:
        message = f"{path} cannot be read as BART's k-space ({one_line(error)})."
        raise BadVolume(message, problem_of(error)) from None


def _dimensions(header: Path) -> tuple[int, int, int, int]:
    """Readout, first and second phase encoding, coils."""
    if not header.is_file():
        raise BadVolume(f"lacks the file beside it that states its dimensions ({header.suffix}).", Problem.INCOMPLETE)
    with header.open("rb") as file:
        lines = file.read(LONGEST_HEADER).splitlines()
    if b"# Dimensions" not in lines[:-1]:
        raise BadVolume("has a .hdr that states no dimensions.")
    words = lines[lines.index(b"# Dimensions") + 1].split()
    if not 0 < len(words) <= MOST_DIMENSIONS or not all(word.isdigit() and len(word) < 10 for word in words):
        raise BadVolume("has a .hdr that states no dimensions.")
    sizes = [int(word) for word in words]
    readout, first, second, coils, *others = sizes + [1] * (4 - len(sizes))
    if any(size > 1 for size in others):
        raise BadVolume(
            f"has dimensions {'×'.join(map(str, sizes))}, expected readout, two phase encodings and coils alone.",
            Problem.UNSUPPORTED,
        )
    if first < 2 or not all(0 < size <= LARGEST for size in (*sizes, first)) or math.prod(sizes) > MOST_VALUES:
        raise BadVolume(f"states dimensions {'×'.join(map(str, sizes))}, which is not plausible.", Problem.IMPLAUSIBLE)
    return readout, first, second, coils


def _scan(path: Path, dimensions: tuple[int, int, int, int]) -> Scan:
    readout, _, second, _ = dimensions
    expected, found = 8 * math.prod(dimensions), path.stat().st_size
    if expected != found:
        raise BadVolume(f"is {found} bytes long, and its .hdr makes it {expected}.", Problem.DAMAGED)
    stored = np.fromfile(path, "<c8").reshape(dimensions, order="F")
    if not (np.abs(stored.reshape(-1, order="F").view(np.float32)) < HUGE).all():  # nor is a NaN
        raise BadVolume("has samples that are NaN, infinite or beyond single precision.", Problem.NOT_FINITE)
    encoded = second > 1 or readout == 1
    samples, size = _arranged(stored, encoded)
    mask = np.asarray(samples.any(axis=(0, 1)))
    if not mask.any():
        raise BadVolume("holds no signal: its k-space is zero.", Problem.NO_SIGNAL)
    read = np.asarray(samples.any(axis=(0, 2, 3)) if encoded else mask.any(axis=0))
    notes = partial_echo(int((~read).sum()), len(read), encoded=encoded)
    affine = unplaced_affine(np.full(3, VOXEL_MM), size)
    digest = sha256_of_all((path, header_of(path)))
    return Scan(
        samples=samples,
        mask=mask,
        size=size,
        affine=affine,
        decay=None,
        white=None,
        simulated=False,
        notes=(NO_GEOMETRY, *notes),
        sha256=digest,
        encoded=encoded,
    )


def _arranged(stored: NDArray[np.complex64], encoded: bool) -> tuple[NDArray[np.complex64], tuple[int, int, int]]:
    """The samples as a `Scan` has them, and its size."""
    readout, first, second, _ = stored.shape
    if encoded:
        return np.fft.ifftshift(stored.transpose(3, 0, 1, 2), axes=(1, 2, 3)), (first, second, readout)
    return np.fft.ifftshift(stored.transpose(3, 2, 1, 0), axes=(2, 3)), (first, readout, 1)
