"""Where the slab or the slices of an ISMRMRD file lie."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.mrd_header import Header
from mri_n2n.data.scan import UNORIENTED, affine_around
from mri_n2n.data.slice_spacing import SAME_PLACE, slice_step
from mri_n2n.errors import BadVolume, Problem

DIRECTIONS = ("phase_dir", "slice_dir", "read_dir")  # row, column, readout of a 3-D scan

Geometry = tuple[NDArray[np.float64], tuple[str, ...]]


def slab_affine(head: Any, header: Header) -> Geometry:
    """Of a 3-D scan: voxel `[row column readout]` to millimetres, and what a person should know about it."""
    axes, notes = _axes(head, DIRECTIONS)
    return affine_around(head["position"].astype(float), axes * header.voxel_mm, header.size), notes


def stack_affine(head: Any, places: Mapping[int, Any], header: Header) -> tuple[NDArray[np.int64], Geometry]:
    """Of a 2-D scan: the order of its slices in space, and the same as of a slab, for voxel `[row column slice]`.

    places: the position of each slice by its number. Raises `BadVolume` for a missing slice, two slices at one place,
    and slices that do not lie in line at equal distances.
    """
    axes, notes = _axes(head, ("phase_dir", "read_dir", "slice_dir"))
    row_mm, thickness, column_mm = header.voxel_mm
    positions = np.array([places[number] for number in sorted(places)], float)
    if header.slices is not None and len(positions) < header.slices:
        raise BadVolume(f"has {len(positions)} slices, and states {header.slices}.", Problem.INCOMPLETE)
    size = (header.size[0], header.size[2], len(positions))
    order = np.argsort(positions @ axes[:, 2], kind="stable")
    step, middle = axes[:, 2] * thickness, positions[0]
    if len(positions) > 1 and not (notes and (np.ptp(positions, axis=0) < SAME_PLACE).all()):
        step = slice_step(positions[order])
        middle = positions[order][0] + len(positions) // 2 * step
    elif len(positions) > 1:
        notes = (*notes, f"states no positions: its slices are taken to lie {thickness:g} mm apart.")
    return order, (affine_around(middle, np.stack([axes[:, 0] * row_mm, axes[:, 1] * column_mm, step], 1), size), notes)


def _axes(head: Any, names: tuple[str, ...]) -> Geometry:
    axes = np.stack([head[name].astype(float) for name in names], axis=-1)
    if not axes.any():
        return np.eye(3), (UNORIENTED,)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise BadVolume("has directions that are not at right angles.", Problem.UNSUPPORTED)
    return axes, ()
