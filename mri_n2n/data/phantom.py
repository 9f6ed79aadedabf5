"""Procedural 3-D heads, for trying things out without data: they differ in shape, folding, contrast and texture."""

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mri_n2n.durable import replacing
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar

Field = NDArray[np.float32]

TISSUES = {"scalp": 0.85, "skull": 0.08, "marrow": 0.55, "fluid": 0.15, "grey": 0.45, "white": 0.68}
"""Brightness on a T1-weighted scan; varied by a few per cent from head to head."""


def draw_head(shape: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A T1-like head `[x y z]`, 0 to 255: scalp, skull, folded cortex, white matter, ventricles, nuclei, eyes."""
    half = np.array(shape) / 2
    axes = np.meshgrid(
        *((np.arange(size) - centre) / centre for size, centre in zip(shape, half, strict=True)), indexing="ij"
    )
    lean, nod = rng.uniform(-0.08, 0.08, 2)
    x, y, z = axes[0] + lean * axes[1], axes[1] + nod * axes[2], axes[2]
    wide, long, tall = rng.uniform(0.68, 0.76), rng.uniform(0.82, 0.9), rng.uniform(0.8, 0.88)
    bumps = 0.02 * _smooth(shape, 14, rng)
    radius = np.sqrt((x / wide) ** 2 + (y / long) ** 2 + (z / tall) ** 2).astype(np.float32) + bumps
    folds = _smooth(shape, 2.2, rng)  # sulci: where this field is high, fluid reaches inwards
    cortex = 0.80 - 0.05 * np.clip(folds, 0, 2.5)
    white = cortex - rng.uniform(0.06, 0.08) - 0.05 * np.abs(_smooth(shape, 2.5, rng))
    head = np.zeros(shape, np.float32)
    level = {name: value * rng.uniform(0.94, 1.06) for name, value in TISSUES.items()}
    for name, inside in (
        ("scalp", radius < 1.0),
        ("skull", radius < 0.93),
        ("marrow", np.abs(radius - 0.89) < 0.015),
        ("fluid", radius < 0.85),
        ("grey", radius < cortex),
        ("white", radius < white),
        ("fluid", (np.abs(x) < 0.012) & (radius < 0.82) & (z > -0.2)),  # between the hemispheres
    ):
        head[inside] = level[name]
    for side in (-1, 1):
        swing = rng.uniform(0.9, 1.15)
        for name, centre, size in (
            ("fluid", (0.10 * side, 0.05, 0.10), (0.055 * swing, 0.30 * swing, 0.12)),  # lateral ventricle
            ("grey", (0.20 * side, 0.08, 0.00), (0.09, 0.16, 0.12)),  # deep nuclei
            ("fluid", (0.26 * side, 0.62 * long / 0.86, -0.30), (0.11, 0.11, 0.11)),  # eye
        ):
            near = sum(((axis - c) / s) ** 2 for axis, c, s in zip((x, y, z), centre, size, strict=True))
            head[near < 1] = level[name]
    texture = 1 + 0.03 * _smooth(shape, 0.8, rng) + 0.03 * _smooth(shape, 4, rng)
    coil = 1 + 0.10 * _smooth(shape, max(shape) / 4, rng)  # slowly varying coil sensitivity
    scan = gaussian_filter(head * texture * coil, 0.6) + 0.008 * rng.rayleigh(size=shape)
    stored: NDArray[np.uint8] = np.rint(np.clip(scan / scan.max(), 0, 1) * 255).astype(np.uint8)
    return stored


def write_heads(
    destination: Path,
    *,
    subjects: int = 8,
    size: int = 96,
    voxel_mm: float = 2.4,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Write `subjects` different heads as NIfTI named phantom-001.nii.gz, ... into `destination`."""
    if subjects < 1 or size < 32:
        raise UsageError(f"need at least 1 subject and a size of 32, got {subjects} and {size}.")
    paths = [destination / f"phantom-{number + 1:03d}.nii.gz" for number in range(subjects)]
    taken = [path for path in paths if path.exists()]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]} exists. Choose another place or add --overwrite.")
    for number, path in enumerate(bar(paths, description="drawing heads", unit="head")):
        save_head(path, draw_head((size, size, size * 3 // 4), np.random.default_rng([seed, number])), voxel_mm)
    return paths


def save_head(path: Path, head: NDArray[np.uint8], voxel_mm: float) -> None:
    """Write a head as NIfTI, the origin in its middle."""
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -np.array(head.shape) * voxel_mm / 2
    image = nibabel.Nifti1Image(head, affine)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        image.to_filename(temporary)


def _smooth(shape: tuple[int, int, int], width: float, rng: np.random.Generator) -> Field:
    """Gaussian random field with unit standard deviation and a correlation length of about `width` voxels."""
    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), np.float32)
