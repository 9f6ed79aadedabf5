"""ISMRMRD files (HDF5): raw k-space with an XML header, one acquisition per line of k-space.

3-D Cartesian scans only. Lines are read in bulk through h5py: one at a time through the `ismrmrd` package takes 80
times as long.
"""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.mrd_header import ORIGIN, Header, composed, parsed
from mri_n2n.data.scan import Scan
from mri_n2n.durable import replacing, sha256_of
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, one_line, problem_of

with warnings.catch_warnings():  # to import it changes which warnings are shown
    import ismrmrd
    from ismrmrd.hdf5 import acquisition_dtype

SUFFIXES = (".h5", ".mrd")
MOST_VALUES = 2**29  # complex values of one scan, 4 GiB
LONGEST_HEADER = 1 << 20
LINES_AT_ONCE = 2048
HUGE = 1e30  # sums of such samples still fit into float32
LPS = np.diag([-1.0, -1.0, 1.0])  # ISMRMRD's patient axes are DICOM's, ours are NIfTI's
STEPS = ("kspace_encode_step_1", "kspace_encode_step_2")  # row, column
DIRECTIONS = ("phase_dir", "slice_dir", "read_dir")  # row, column, readout

NOT_IMAGING = (
    ismrmrd.ACQ_IS_NOISE_MEASUREMENT,
    ismrmrd.ACQ_IS_PARALLEL_CALIBRATION,
    ismrmrd.ACQ_IS_NAVIGATION_DATA,
    ismrmrd.ACQ_IS_PHASECORR_DATA,
    ismrmrd.ACQ_IS_HPFEEDBACK_DATA,
    ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
    ismrmrd.ACQ_IS_RTFEEDBACK_DATA,
    ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
    ismrmrd.ACQ_IS_PHASE_STABILIZATION_REFERENCE,
    ismrmrd.ACQ_IS_PHASE_STABILIZATION,
)
ALIKE = ("active_channels", "number_of_samples", "center_sample", "discard_pre", "discard_post")
ONE_OF_EACH = ("slice", "contrast", "phase", "repetition", "set")


def write_scan(path: Path, scan: Scan, facts: Mapping[str, str]) -> None:
    """Write the acquired lines of a scan, atomically; facts: text for the header. Equal scans make equal files."""
    table = _table(scan)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", (1,), h5py.string_dtype())[0] = composed(scan, facts)
        group.create_dataset("data", data=table, maxshape=(None,), chunks=(min(len(table), LINES_AT_ONCE),))


def read_scan(path: Path) -> Scan:
    """Read and check one scan: 3-D Cartesian, one contrast, lines all alike, finite; else `BadVolume`.

    Lines that do not belong to the image (noise, calibration, navigators) are left out, averages averaged.
    """
    try:
        digest = sha256_of(path)
        with h5py.File(path, "r", locking="best-effort") as file:
            group = _group(file)
            header = _header(group)
            samples, mask, head = _acquired(_inside(group, "data"), header)
        affine, notes = _affine(head, header)
    except (BadVolume, *UNREADABLE) as error:
        raise _refused(path, error) from None
    simulated = header.texts.get(ORIGIN, "").startswith("SIMULATED")
    return Scan(samples, mask, header.size, affine, header.decay, header.white, simulated, notes, digest)


def _group(file: h5py.File) -> h5py.Group:
    names = [name for name in ("dataset", *sorted(file)) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    group = file[names[0]] if names else None
    if not isinstance(group, h5py.Group) or "xml" not in group or "data" not in group:
        raise BadVolume("is no ISMRMRD file of raw data: expected a group with `xml` and `data`.")
    return group


def _inside(group: h5py.Group, name: str) -> h5py.Dataset:
    """A data set that lies in this very file: links and external storage could name any file of the machine."""
    dataset = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise BadVolume(
            f"keeps its `{name}` outside itself or not as a data set, which is refused.", Problem.UNSUPPORTED
        )
    return dataset


def _header(group: h5py.Group) -> Header:
    dataset = _inside(group, "xml")
    if dataset.size != 1:
        raise BadVolume(f"has {dataset.size} headers, expected one.")
    text = dataset[()] if dataset.ndim == 0 else dataset[0]
    if not isinstance(text, bytes) or len(text) > LONGEST_HEADER:
        raise BadVolume(f"has a header that is no text of at most {LONGEST_HEADER} bytes.")
    return parsed(text)


def _acquired(table: h5py.Dataset, header: Header) -> tuple[NDArray[np.complex64], NDArray[np.bool_], Any]:
    """Samples `[coil readout row column]`, mask `[row column]`, and the head of the first line."""
    if table.dtype.names != acquisition_dtype.names or table.ndim != 1:
        raise BadVolume("holds no table of acquisitions. It is no ISMRMRD file of raw data.")
    if table.chunks and table.chunks[0] > 64 * LINES_AT_ONCE:
        raise BadVolume(f"is stored in blocks of {table.chunks[0]} lines, expected smaller ones.", Problem.IMPLAUSIBLE)
    rows, columns, readout = header.matrix
    first: Any = None
    samples = np.zeros(0, np.complex64)  # [row column coil readout]: whole lines are written to it
    counts = np.zeros((rows, columns), np.int64)
    seen = np.zeros(0, np.int64)
    for start in range(0, len(table), LINES_AT_ONCE):
        lines = table[start : start + LINES_AT_ONCE]
        lines = lines[_imaging(lines["head"]["flags"])]
        if not len(lines):
            continue
        head = lines["head"]
        if first is None:
            first, coils = head[0], int(head["active_channels"][0])
            if coils < 1 or coils * math.prod(header.matrix) > MOST_VALUES:
                raise BadVolume(f"states {coils} coils, which is not plausible.", Problem.IMPLAUSIBLE)
            samples = np.zeros((rows, columns, coils, readout), np.complex64)
        _check_lines(head, first, header)
        row, column = (
            (head["idx"][name].astype(np.int64) - centre) % size
            for name, centre, size in zip(STEPS, header.centres, header.matrix, strict=False)
        )
        average = head["idx"]["average"].astype(np.int64)
        keys = np.concatenate([seen, (average * rows + row) * columns + column])
        seen = np.unique(keys)
        if len(seen) < len(keys):
            raise BadVolume("holds a line of k-space twice. It may be damaged.", Problem.DUPLICATE)
        values, places = _values(lines, readout)
        for number in np.unique(average):  # within one of which no line comes twice
            which = average == number
            samples[row[which, None], column[which, None], :, places] += np.moveaxis(values[which], 1, 2)
            counts[row[which], column[which]] += 1
    if first is None or not samples.any():
        raise BadVolume(
            "holds no signal: it has no line of k-space that belongs to an image, or only zeros.", Problem.NO_SIGNAL
        )
    samples /= np.maximum(counts, 1)[:, :, None, None]
    return np.moveaxis(samples, (2, 3), (0, 1)), counts > 0, first


def _imaging(flags: NDArray[Any]) -> NDArray[np.bool_]:
    other: NDArray[np.bool_] = np.any([_flagged(flags, bit) for bit in NOT_IMAGING], axis=0)
    return ~other


def _flagged(flags: NDArray[Any], bit: int) -> NDArray[np.bool_]:
    return np.asarray(flags & np.uint64(1 << (bit - 1)), bool)


def _check_lines(head: NDArray[Any], first: Any, header: Header) -> None:
    for name in ONE_OF_EACH:
        if (head["idx"][name] != first["idx"][name]).any():
            raise BadVolume(f"holds more than one {name}, expected one. Split it first.", Problem.UNSUPPORTED)
    for name in ALIKE:
        if (head[name] != first[name]).any():
            raise BadVolume(f"has lines that differ in {name}, expected all alike.", Problem.UNSUPPORTED)
    for name, tolerance in (*((name, 1e-3) for name in DIRECTIONS), ("position", 1e-2)):
        if not (np.abs(head[name] - first[name]) <= tolerance).all():
            raise BadVolume(f"has lines that differ in {name}, expected one slab.", Problem.UNSUPPORTED)
    if head["encoding_space_ref"].any():
        raise BadVolume("has lines of an encoding that its header does not state.", Problem.DAMAGED)
    if _flagged(head["flags"], ismrmrd.ACQ_IS_REVERSE).any():
        raise BadVolume("has lines that were read backwards, which are not supported.", Problem.UNSUPPORTED)
    for name, size in zip(STEPS, header.matrix, strict=False):
        if (head["idx"][name] >= size).any():
            raise BadVolume(
                f"has a line at {name} {head['idx'][name].max()}, expected less than {size}.", Problem.DAMAGED
            )


def _values(lines: NDArray[Any], readout: int) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
    """The samples `[line coil sample]` of lines that are all alike, and each sample's place, DC first."""
    head = lines["head"][0]
    coils, count = int(head["active_channels"]), int(head["number_of_samples"])
    if any(values.size != 2 * coils * count for values in lines["data"]):
        raise BadVolume(
            f"has a line that is not {count} samples of {coils} coils long. It is damaged.", Problem.DAMAGED
        )
    numbers = np.stack(list(lines["data"]))
    if not (np.abs(numbers) < HUGE).all():  # nor is a NaN
        raise BadVolume("has samples that are NaN, infinite or beyond single precision.", Problem.NOT_FINITE)
    inside = slice(int(head["discard_pre"]), count - int(head["discard_post"]))
    places = (np.arange(count) - int(head["center_sample"]))[inside]
    if not len(places) or places[0] < -(readout // 2) or places[-1] >= (readout + 1) // 2:
        raise BadVolume(f"has a readout of {count} samples that does not fit its matrix of {readout}.", Problem.DAMAGED)
    return numbers.view(np.complex64).reshape(len(lines), coils, count)[:, :, inside], places % readout


def _affine(head: Any, header: Header) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Voxel `[row column readout]` to millimetres, and what a person should know about it."""
    axes = np.stack([head[name].astype(float) for name in DIRECTIONS], axis=-1)
    notes: tuple[str, ...] = ()
    if not axes.any():
        axes, notes = np.eye(3), ("states no orientation: its axes are taken for the patient's.",)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise BadVolume("has directions that are not at right angles.", Problem.UNSUPPORTED)
    affine = np.eye(4)
    affine[:3, :3] = LPS @ axes * header.voxel_mm
    affine[:3, 3] = LPS @ head["position"] - affine[:3, :3] @ _middle(header.size)
    return affine, notes


def _middle(size: tuple[int, int, int]) -> NDArray[np.int64]:
    """The voxel that lies at a line's position."""
    return np.array(size) // 2


def _table(scan: Scan) -> NDArray[Any]:
    coils, readout, rows, columns = scan.samples.shape
    row, column = np.nonzero(scan.mask)
    table = np.zeros(len(row), acquisition_dtype)
    head = table["head"]
    head["version"] = 1
    head["scan_counter"] = np.arange(len(row))
    head["number_of_samples"] = readout
    head["available_channels"] = head["active_channels"] = coils
    head["center_sample"] = readout // 2
    for name, places, size in zip(STEPS, (row, column), (rows, columns), strict=True):
        head["idx"][name] = (places + size // 2) % size
    head["flags"][-1] = 1 << (ismrmrd.ACQ_LAST_IN_MEASUREMENT - 1)
    axes = LPS @ scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    for axis, name in enumerate(DIRECTIONS):
        head[name] = axes[:, axis]
    head["position"] = LPS @ (scan.affine[:3, :3] @ _middle(scan.size) + scan.affine[:3, 3])
    ordered = np.roll(scan.samples, readout // 2, axis=1)[:, :, row, column]
    lines = np.ascontiguousarray(np.moveaxis(ordered, 2, 0)).view(np.float32).reshape(len(row), -1)
    for place, line in enumerate(lines):
        table["data"][place], table["traj"][place] = line, line[:0]
    return table


def _refused(path: Path, error: BaseException) -> BadVolume:
    if isinstance(error, BadVolume):
        return error.of(path)
    message = f"{path} cannot be read as raw data ({one_line(error)}). It may be truncated or of another kind."
    return BadVolume(message, problem_of(error))
