"""fastMRI files (HDF5): the k-space of 2-D slices in one array, with the header of ISMRMRD beside it.

Nothing but the k-space, the mask and the header is looked at: attributes name the patient.
"""

import math
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.hdf5 import inside, text
from mri_n2n.data.mrd_header import Header, parsed
from mri_n2n.data.scan import HUGE, LARGEST, MOST_VALUES, Scan, partial_echo, unplaced_affine
from mri_n2n.durable import sha256_of
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, one_line, problem_of

KSPACE, MASK, HEADER = "kspace", "mask", "ismrmrd_header"
VOXEL_MM = 1.0  # where the file does not say
NO_HEADER = "states no geometry: voxels of 1 mm along the patient's axes are taken."
NO_PLACES = "states neither orientation nor positions: patient's axes and slices that touch are taken."


def is_fastmri(path: Path) -> bool:
    """Whether it is an HDF5 file of this kind, by what is in it."""
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            return KSPACE in file
    except UNREADABLE:
        return False


def read_scan(path: Path) -> Scan:
    """Read and check one file: `kspace` is `[slice coil readout phase]`, or `[slice readout phase]` of one coil.

    DC is in the middle of both axes. Where a `mask` is stated, there is nothing outside it. Raises `BadVolume`.
    """
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            samples = _samples(inside(file, KSPACE), path.stat().st_size)
            stated = _stated_mask(inside(file, MASK), samples.shape[2:]) if MASK in file else None
            header = parsed(text(file, HEADER)) if HEADER in file else None
        mask = _acquired(samples, stated)
        return _scan(samples, mask, header, sha256_of(path))
    except BadVolume as error:
        raise error.of(path) from None
    except UNREADABLE as error:
        message = f"{path} cannot be read as fastMRI's k-space ({one_line(error)}). It may be truncated."
        raise BadVolume(message, problem_of(error)) from None


def _samples(stored: h5py.Dataset, file_size: int) -> NDArray[np.complex64]:
    """`[coil slice phase readout]`, unshifted."""
    if stored.ndim not in (3, 4) or stored.dtype.kind != "c":
        raise BadVolume(
            f"has a `{KSPACE}` of {stored.dtype}, {stored.ndim}-D, expected complex numbers "
            "[slice coil readout phase].",
            Problem.UNSUPPORTED,
        )
    slices, coils, readout, phases = stored.shape if stored.ndim == 4 else (len(stored), 1, *stored.shape[1:])
    if not (min(stored.shape) >= 1 and min(readout, phases) > 1):
        raise BadVolume(f"states a k-space of {_times(stored.shape)}, which is not plausible.", Problem.IMPLAUSIBLE)
    if max(stored.shape) > LARGEST or math.prod(stored.shape) > MOST_VALUES:
        raise BadVolume(f"states a k-space of {_times(stored.shape)}, which is not plausible.", Problem.IMPLAUSIBLE)
    if stored.chunks is None and stored.nbytes > file_size:
        raise BadVolume("is shorter than the k-space that it states.", Problem.DAMAGED)
    samples = np.empty((coils, slices, phases, readout), np.complex64)
    for number in range(slices):
        one = np.asarray(stored[number], np.complex64).reshape(coils, readout, phases)
        if not (np.abs(one.view(np.float32)) < HUGE).all():  # nor is a NaN
            raise BadVolume("has samples that are NaN, infinite or beyond single precision.", Problem.NOT_FINITE)
        samples[:, number] = np.fft.ifftshift(one.transpose(0, 2, 1), axes=(1, 2))
    return samples


def _stated_mask(stored: h5py.Dataset, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """`[phase readout]`, or `[phase 1]`, unshifted."""
    phases, readout = shape
    if stored.size not in (phases, phases * readout) or stored.dtype.kind not in "biuf":
        raise BadVolume(f"has a mask of shape {_times(stored.shape)} that does not fit its k-space.", Problem.DAMAGED)
    mask = np.asarray(stored[()]) != 0
    return np.fft.ifftshift(mask.reshape(-1, phases).T, axes=(0, 1) if stored.size > phases else 0)


def _acquired(samples: NDArray[np.complex64], stated: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """What was acquired, of every slice that is not blank."""
    slices: NDArray[np.bool_] = np.any(samples, axis=0)
    mask = np.asarray(slices.any(axis=0))
    if not mask.any():
        raise BadVolume("holds no signal: its k-space is zero.", Problem.NO_SIGNAL)
    if stated is not None and (mask & ~stated).any():
        raise BadVolume("has samples outside the mask that it states.", Problem.DAMAGED)
    if (slices[slices.any(axis=(1, 2))] != mask).any():
        raise BadVolume("has slices that differ in what was acquired, expected one mask.", Problem.UNSUPPORTED)
    return mask


def _scan(samples: NDArray[np.complex64], mask: NDArray[np.bool_], header: Header | None, digest: str) -> Scan:
    _, slices, rows, columns = samples.shape
    echo = partial_echo(int((~mask.any(axis=0)).sum()), columns, encoded=False)
    if header is None:
        size = (rows, columns, slices)
        affine = unplaced_affine(np.full(3, VOXEL_MM), size)
        return Scan(
            samples=samples,
            mask=mask,
            size=size,
            affine=affine,
            decay=None,
            white=None,
            simulated=False,
            notes=(NO_HEADER, *echo),
            sha256=digest,
            encoded=False,
        )
    if not header.flat:
        raise BadVolume("states a second phase encoding, expected 2-D slices.", Problem.UNSUPPORTED)
    notes: tuple[str, ...] = (NO_PLACES, *echo)
    if header.matrix != (rows, 1, columns):
        notes = (*notes, f"states another matrix than its k-space of {rows}×{columns} has; its field of view is kept.")
    coarser = np.array([header.matrix[0] / rows, 1.0, header.matrix[2] / columns])
    shown = np.clip(np.rint(header.size / coarser), 1, (rows, 1, columns)).astype(int).tolist()
    size = (shown[0], shown[2], slices)
    affine = unplaced_affine((header.voxel_mm * coarser)[[0, 2, 1]], size)
    return Scan(
        samples=samples,
        mask=mask,
        size=size,
        affine=affine,
        decay=header.decay,
        white=header.white,
        simulated=header.simulated,
        notes=notes,
        sha256=digest,
        encoded=False,
        extent=header.extent(mask.shape),
    )


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
