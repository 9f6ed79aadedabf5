"""The sampling density of a scan: as its file states it, else as a person gives it, else as its mask suggests."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from mri_n2n.data.scan import LARGEST, Scan
from mri_n2n.durable import sha256_of
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, UsageError, one_line
from mri_n2n.kspace.estimation import estimated_density, line_axis, twins
from mri_n2n.kspace.extent import full_extent, reached
from mri_n2n.kspace.sampling import SMALLEST, decay_for_edge, exponential_density

BELIEVED = 6  # standard deviations of the number of samples


@dataclass(frozen=True)
class GivenDensity:
    """What a person says of scans whose files do not state their density; nothing by default.

    edge_probability: p at the end of the longer axis, for exp(-λ|k|); of lines, at the end of theirs. plane:
    `[row column]`, unshifted, and sha256 of the file that it came from.
    """

    edge_probability: float | None = None
    plane: Float[ndarray, "h w"] | None = field(default=None, compare=False, repr=False)
    sha256: str | None = None

    def facts(self) -> dict[str, Any]:
        """What decides an output."""
        return {"edge_probability": self.edge_probability, "density_sha256": self.sha256}

    @property
    def said(self) -> bool:
        """Whether anything is given."""
        return self.edge_probability is not None or self.plane is not None


def given_density(edge_probability: float | None, file: Path | None) -> GivenDensity:
    """What the command line says; raises `UsageError` for what cannot be.

    file: .npy `[row column]`, probabilities in [0, 1], 0 where nothing was ever going to be acquired, DC in the middle
    (n // 2 of each axis), where they are largest.
    """
    if edge_probability is not None and file is not None:
        raise UsageError("give --edge-probability or --density, not both.")
    if edge_probability is not None:
        decay_for_edge((2, 2), edge_probability)
    if file is None:
        return GivenDensity(edge_probability)
    plane = _read_plane(file)
    if not (((plane > SMALLEST) & (plane <= 1)) | (plane == 0)).all() or not plane.any():
        raise UsageError(f"{file} holds values beyond [0, 1], or zeros alone: expected probabilities.")
    middle = plane[plane.shape[0] // 2, plane.shape[1] // 2]
    if middle < plane.max():
        raise UsageError(
            f"{file} is {middle:g} in its middle and {plane.max():g} elsewhere: expected DC in the middle, where the "
            "probability is largest. Move it there (numpy.fft.fftshift) if it is at the corner."
        )
    return GivenDensity(None, np.fft.ifftshift(plane), sha256_of(file))


def with_density(scan: Scan, given: GivenDensity | None = None) -> Scan:
    """The scan with its density; where it had to be estimated, a note says so.

    Raises `BadVolume` (without a path) where that is impossible, or what was acquired does not fit it.
    """
    if scan.density is not None:
        return scan
    height, width = scan.mask.shape
    notes, flat = scan.notes, not scan.encoded
    stated = _stated(scan)
    if scan.decay is not None:
        density = _exponential(scan.mask, scan.decay, None)
    elif scan.mask.all():
        density = np.ones(scan.mask.shape)
    elif given is not None and given.plane is not None:
        density = given.plane
        if density.shape != scan.mask.shape:
            turned = " Transpose it." if density.T.shape == scan.mask.shape else ""
            raise BadVolume(
                f"is of {height}×{width} frequencies (rows × columns), and the density given of "
                f"{density.shape[0]}×{density.shape[1]}.{turned}",
                Problem.INCOMPATIBLE,
            )
    elif (whole := full_extent(scan.mask, stated, flat=flat)) is not None:
        density = whole.astype(float)
    elif given is not None and given.edge_probability is not None:
        axis = line_axis(scan.mask, flat=flat)
        sizes = (height, width) if axis is None else (scan.mask.shape[axis], 1)
        density = _exponential(scan.mask, decay_for_edge(sizes, given.edge_probability), axis)
        density = density * reached(scan.mask, density, stated, axis=axis, twins=twins(scan.mask))
    else:
        estimate = estimated_density(scan.mask, flat=flat, stated=stated)
        density, notes = estimate.density, (*notes, _warning(estimate.how))
    _check_count(scan, density)
    if not density.all():
        notes = (*notes, _reach(density))
    return replace(scan, density=density.astype(np.float32), notes=notes)


def _stated(scan: Scan) -> Bool[ndarray, "h w"]:
    """What could be acquired, as the file says; limits that something acquired lies beyond are not believed."""
    if scan.extent is None or (scan.mask & ~scan.extent).any():
        return np.ones(scan.mask.shape, bool)
    return scan.extent


def _reach(density: Float[ndarray, "h w"]) -> str:
    """What a person should know of a density that is 0 somewhere."""
    found = (np.any(density, axis=axis).sum() for axis in (1, 0))
    return (
        f"reaches {'×'.join(map(str, found))} of {density.shape[0]}×{density.shape[1]} frequencies (rows × columns): "
        "the rest was never acquired (zero padding or partial Fourier), and what an image shows of it is the network's."
    )


def _warning(how: str) -> str:
    return f"states no sampling density: {how}. If you know it, give --edge-probability or --density."


def _exponential(mask: Bool[ndarray, "h w"], decay: float, axis: int | None) -> Float[ndarray, "h w"]:
    """exp(-λ|k|) of points, or of lines chosen along an axis."""
    height, width = mask.shape
    try:
        if axis is None:
            return np.asarray(exponential_density((height, width), decay))
        lines = np.asarray(exponential_density((mask.shape[axis], 1), decay))
    except UsageError as error:
        raise BadVolume(f"states a density that is impossible: {error}", Problem.IMPLAUSIBLE) from None
    return np.broadcast_to(lines if axis == 0 else lines.T, mask.shape)


def _check_count(scan: Scan, density: Float[ndarray, "h w"]) -> None:
    """Of independent points, or of lines where mask and density are both of lines."""
    if (scan.mask & (density == 0)).any():
        raise BadVolume("has samples where the density that was given is 0. Give the right one.", Problem.DAMAGED)
    reach = np.ix_(*(np.any(density, axis=axis) for axis in (1, 0)))
    mask, density = scan.mask[reach], density[reach]
    axis = line_axis(mask, flat=not scan.encoded)
    if axis is not None and np.ptp(density, axis=1 - axis).max() == 0:
        mask, density = np.any(mask, axis=1 - axis), density.take(0, 1 - axis)
    spread = math.sqrt(2 * float((density * (1 - density)).sum(dtype=float)))  # twice: k and -k may go together
    if abs(float(mask.sum()) - float(density.sum(dtype=float))) > BELIEVED * spread + 1:
        raise BadVolume("was not sampled with the density that it states, or that was given.", Problem.DAMAGED)


def _read_plane(file: Path) -> Float[ndarray, "h w"]:
    try:
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(stored, np.ndarray) or stored.ndim != 2 or stored.dtype.kind != "f":
            raise UsageError(f"{file} holds no real probabilities [row column].")
        if not 0 < stored.size <= LARGEST**2:
            raise UsageError(f"{file} is of shape {stored.shape}, which is not plausible.")
        return np.array(stored, np.float64)
    except FileNotFoundError:
        raise UsageError(f"{file} cannot be read: there is no such file.") from None
    except ValueError:  # numpy's advice would be to trust the file
        raise UsageError(f"{file} cannot be read as .npy: it is no array of numbers.") from None
    except UNREADABLE as error:
        raise UsageError(f"{file} cannot be read as .npy ({one_line(error)}).") from None
