"""Scans and measurements: what is in a file of raw k-space, and what the physics works on (see `Measurement`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Inexact
from torch import Generator, Tensor

from mri_n2n.coils import ring_sensitivities, root_sum_of_squares, smooth_phase
from mri_n2n.data.scan import Scan
from mri_n2n.data.volumes import FLOAT_RANGE, Volume
from mri_n2n.densities import with_density
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace.acquisition import Measurement, acquire
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
WHITE = 6  # times the root mean square: about the brightest voxel of a head
COMPLEX_RUN = "Use a run on raw k-space: `mri-n2n prepare kspace`, then train."
COMBINED = (
    "has {coils} coils: reconstructed one by one and combined by root sum of squares; combination with coil "
    "sensitivities comes later."
)


def simulated_scan(volume: Volume, decay: float, generator: Generator, *, coils: int | None = None) -> Scan:
    """A scan of a magnitude volume, fully read out along its third axis, under one mask drawn from exp(-λ|k|).

    White is the volume's maximum, `sha256` that of its file. With `coils` the image is given a smooth random phase, and
    is seen by so many coils, whose squared sensitivities add up to 1. Raises `UsageError` for axes that are not at
    right angles, which a scan cannot have, and for a density that is impossible on this grid.
    """
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise UsageError("its axes are not at right angles, which a scan cannot have. Resample it first.")
    slices = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volume.array, -1, 0)))
    count, height, width = slices.shape
    grid, real = (height, width), coils is None
    mask = draw_mask(exponential_density(grid, decay), 1, generator, real=real)[0]
    images = slices[None]
    if coils is not None:
        shape = (count, height, width)
        images = slices * smooth_phase(shape, generator) * ring_sensitivities(coils, shape)
    kspace = torch.where(mask, _moved(to_kspace(images.flatten(0, 1)), grid, -1), 0)
    samples = readout_encoded((whole_plane(kspace, width) if real else kspace).reshape(-1, *slices.shape))
    return Scan(
        samples=samples.numpy(),
        mask=(whole_plane(mask, width) if real else mask).numpy(),
        size=(height, width, count),
        affine=volume.affine,
        decay=decay,
        white=float(volume.array.max()),
        simulated=True,
        sha256=volume.sha256,
    )


@dataclass(frozen=True)
class ScannedVolume:
    """A scan as a network takes it: its slices' measurements, in the scan's units of intensity.

    measurement: one per slice of the field of view, and of complex scans one per slice and coil, the coils of a slice
    in turn; rows and columns have their oversampling. volume: what the image will lie in, `[row column slice]`, empty
    so far. white: the intensity that is white, if it is known.
    """

    measurement: Measurement
    volume: Volume
    white: float | None
    simulated: bool
    notes: tuple[str, ...]
    coils: int = 1

    def rows(self, slices: Sequence[int]) -> list[int]:
        """The measurements of some slices."""
        return [place * self.coils + coil for place in slices for coil in range(self.coils)]

    def intensities(self, images: Inexact[Tensor, "b h w"]) -> Float[Tensor, "n h2 w2"]:
        """The slices without oversampling, in the scan's units: of real images, or of complex ones of every coil."""
        sizes = zip(images.shape[1:], self.volume.array.shape[:2], strict=True)
        rows, columns = (_middle(size, shown) for size, shown in sizes)
        shown = images[:, rows, columns]
        assert self.white
        if self.measurement.real:
            return (shown + 0.5) * self.white
        return root_sum_of_squares(shown.reshape(-1, self.coils, *shown.shape[1:])) * self.white


def scanned_volume(scan: Scan) -> ScannedVolume:
    """Prepare a scan for a network that was trained on real images.

    Raises `BadVolume` (without a path) unless there is one coil, the density is known or can be estimated, DC was
    acquired, and what was acquired is of a real image.
    """
    coils, _, height, width = scan.samples.shape
    if coils != 1:
        raise BadVolume(
            f"has {coils} coils, and this run was trained on real images of one. {COMPLEX_RUN}", Problem.INCOMPATIBLE
        )
    _check_centre(scan)
    mask = torch.from_numpy(scan.mask)
    if not torch.equal(opposite(mask), mask):
        raise BadVolume(
            f"has frequencies without their opposites, and this run was trained on real images. {COMPLEX_RUN}",
            Problem.INCOMPATIBLE,
        )
    kspace = _slices(scan)[0]
    if _norm(kspace - opposite(kspace).conj()) > 2 * math.sqrt(REAL) * _norm(kspace):
        raise BadVolume(f"has phases, and this run was trained on real images. {COMPLEX_RUN}", Problem.INCOMPATIBLE)
    kspace = (kspace + opposite(kspace).conj()) / 2  # two measurements of one number, each with noise of its own
    samples = _moved(half_plane(kspace), (height, width), 1)
    density = density_of(scan)
    if not torch.allclose(opposite(density), density, rtol=1e-3):
        raise BadVolume(
            "has another density at k than at -k, and this run was trained on real images.", Problem.INCOMPATIBLE
        )
    measurement = acquire(samples, half_plane(mask).expand(samples.shape), density)
    return ScannedVolume(measurement, _volume(scan), scan.white, scan.simulated, scan.notes)


def complex_volume(scan: Scan) -> ScannedVolume:
    """Prepare a scan for a network that was trained on complex images, coil by coil.

    What is white comes from the acquired samples: six times the root mean square of the image, all coils together,
    estimated with weights 1/p, so that it is the same number, in expectation, however much was sampled. Raises
    `BadVolume` (without a path) unless the density is known and DC was acquired.
    """
    coils, _, height, width = scan.samples.shape
    _check_centre(scan)
    density = density_of(scan)
    kspace = _slices(scan).transpose(0, 1)  # the coils of a slice in turn
    samples = _moved(kspace.flatten(0, 1), (height, width), 1)
    mask = torch.from_numpy(scan.mask)
    energy = torch.where(mask, samples.abs().square() / density, 0).mean(dtype=torch.float64) * coils
    if not energy > 0:
        raise BadVolume("holds no signal within its field of view.", Problem.NO_SIGNAL)
    measurement = acquire(samples, mask.expand(samples.shape), density, real=False)
    notes = (*scan.notes, COMBINED.format(coils=coils)) if coils > 1 else scan.notes
    return ScannedVolume(measurement, _volume(scan), WHITE * math.sqrt(energy), scan.simulated, notes, coils)


def density_of(scan: Scan) -> Float[Tensor, "h w"]:
    """The probability of each frequency of a plane; estimated if nobody knows it (see `with_density`)."""
    return torch.from_numpy(with_density(scan).density)


def _check_centre(scan: Scan) -> None:
    if not scan.mask[0, 0]:
        raise BadVolume("lacks the centre of k-space, and with it the image's brightness.", Problem.INCOMPATIBLE)


def _slices(scan: Scan) -> Complex[Tensor, "c n h w"]:
    """k-space of every slice that is to be shown."""
    samples = torch.from_numpy(scan.samples)
    return readout_decoded(samples)[:, _middle(samples.shape[1], scan.size[2])] if scan.encoded else samples


def _volume(scan: Scan) -> Volume:
    return Volume(np.broadcast_to(np.float32(0), scan.size), scan.affine, None, FLOAT_RANGE, scan.sha256)


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
