"""Scans and measurements: what is in a file of raw k-space, and what the physics works on (see `Measurement`)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Generator, Tensor

from mri_n2n.data.scan import Scan
from mri_n2n.data.volumes import FLOAT_RANGE, Volume
from mri_n2n.densities import with_density
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace.acquisition import Measurement
from mri_n2n.kspace.fourier import (
    Grid,
    half_plane,
    opposite,
    readout_decoded,
    readout_encoded,
    to_kspace,
    translated,
    whole_plane,
)
from mri_n2n.kspace.sampling import draw_mask, exponential_density

REAL = 0.01  # the share of energy in a "real" image's imaginary part that is put down to rounding


def simulated_scan(volume: Volume, decay: float, generator: Generator) -> Scan:
    """A scan of a magnitude volume, fully read out along its third axis, under one mask drawn from exp(-λ|k|).

    White is the volume's maximum, `sha256` that of its file. Raises `UsageError` for axes that are not at right angles,
    which a scan cannot have, and for a density that is impossible on this grid.
    """
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise UsageError("its axes are not at right angles, which a scan cannot have. Resample it first.")
    slices = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume.array, -1, 0)))
    count, height, width = slices.shape
    mask = draw_mask(exponential_density((height, width), decay), 1, generator)[0]
    half = torch.where(mask, _moved(to_kspace(slices), (height, width), -1), 0)
    samples = readout_encoded(whole_plane(half, width))
    return Scan(
        samples[None].numpy(),
        whole_plane(mask, width).numpy(),
        (height, width, count),
        volume.affine,
        decay,
        float(volume.array.max()),
        simulated=True,
        sha256=volume.sha256,
    )


@dataclass(frozen=True)
class ScannedVolume:
    """A scan of a real image as a network takes it: its slices' measurements, in the scan's units of intensity.

    measurement: one per slice of the field of view; rows and columns have their oversampling. volume: what the image
    will lie in, `[row column slice]`, empty so far.
    """

    measurement: Measurement
    volume: Volume
    white: float | None
    simulated: bool
    notes: tuple[str, ...]

    def shown(self, images: Float[Tensor, "b h w"]) -> Float[Tensor, "b h2 w2"]:
        """The images without oversampling."""
        sizes = zip(images.shape[1:], self.volume.array.shape[:2], strict=True)
        rows, columns = (_middle(size, shown) for size, shown in sizes)
        return images[:, rows, columns]


def scanned_volume(scan: Scan) -> ScannedVolume:
    """Prepare a scan for a network that was trained on real images.

    Raises `BadVolume` (without a path) unless there is one coil, the density is known or can be estimated, DC was
    acquired, and what was acquired is of a real image.
    """
    coils, readout, height, width = scan.samples.shape
    if coils != 1:
        raise BadVolume(f"has {coils} coils, and this run was trained on one.", Problem.INCOMPATIBLE)
    if not scan.mask[0, 0]:
        raise BadVolume("lacks the centre of k-space, and with it the image's brightness.", Problem.INCOMPATIBLE)
    mask = torch.from_numpy(scan.mask)
    if not torch.equal(opposite(mask), mask):
        raise BadVolume(
            "has frequencies without their opposites, and this run was trained on real images.", Problem.INCOMPATIBLE
        )
    kspace = torch.from_numpy(scan.samples[0])
    if scan.encoded:
        kspace = readout_decoded(kspace)[_middle(readout, scan.size[2])]
    if _norm(kspace - opposite(kspace).conj()) > 2 * math.sqrt(REAL) * _norm(kspace):
        raise BadVolume("has phases, and this run was trained on real images.", Problem.INCOMPATIBLE)
    scan = with_density(scan)
    assert scan.density is not None
    density = torch.from_numpy(scan.density)
    if not torch.allclose(opposite(density), density, rtol=1e-3):
        raise BadVolume(
            "has another density at k than at -k, and this run was trained on real images.", Problem.INCOMPATIBLE
        )
    samples = _moved(half_plane(kspace), (height, width), 1)
    empty = np.broadcast_to(np.float32(0), scan.size)
    volume = Volume(empty, scan.affine, None, FLOAT_RANGE, scan.sha256)
    return ScannedVolume(
        Measurement(samples, half_plane(mask).expand(samples.shape), density),
        volume,
        scan.white,
        scan.simulated,
        scan.notes,
    )


def _moved(kspace: Complex[Tensor, "b h k"], grid: Grid, direction: int) -> Complex[Tensor, "b h k"]:
    """The image's origin moved from its first voxel to its middle (-1), or back (1)."""
    shift = torch.tensor([[direction * (size // 2) for size in grid]], dtype=torch.float32)
    return translated(kspace, shift.expand(len(kspace), 2), grid)


def _middle(size: int, shown: int) -> slice:
    """The middle part of an axis: voxel shown // 2 of it is voxel size // 2 of the whole."""
    first = size // 2 - shown // 2
    return slice(first, first + shown)


def _norm(values: Complex[Tensor, "..."]) -> float:
    return float(torch.linalg.vector_norm(values))
