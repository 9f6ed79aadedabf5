"""ISMRMRD files (HDF5): raw k-space with an XML header, one acquisition per line of k-space.

Cartesian scans only, 3-D ones and stacks of 2-D slices. Lines are read in bulk through h5py: one at a time through the
`ismrmrd` package takes 80 times as long.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.hdf5 import inside, text, unfollowed
from mri_n2n.data.mrd_geometry import DIRECTIONS, slab_affine, stack_affine
from mri_n2n.data.mrd_header import Header, composed, parsed
from mri_n2n.data.scan import HUGE, LPS_TO_RAS, MOST_VALUES, Scan, partial_echo
from mri_n2n.data.slice_spacing import SAME_PLACE
from mri_n2n.durable import replacing, sha256_of
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, one_line, problem_of

with warnings.catch_warnings():  # to import it changes which warnings are shown
    import ismrmrd
    from ismrmrd.hdf5 import acquisition_dtype

SUFFIXES = (".h5", ".mrd")
LINES_AT_ONCE = 2048
STEPS = ("kspace_encode_step_1", "kspace_encode_step_2")  # row, column of a 3-D scan

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
ONE_OF_EACH = ("contrast", "phase", "repetition", "set")


def write_scan(path: Path, scan: Scan, facts: Mapping[str, str]) -> None:
    """Write the acquired lines of a scan, atomically; facts: text for the header. Equal scans make equal files."""
    table = _table(scan)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", (1,), h5py.string_dtype())[0] = composed(scan, facts)
        group.create_dataset("data", data=table, maxshape=(None,), chunks=(min(len(table), LINES_AT_ONCE),))


def read_scan(path: Path) -> Scan:
    """Read and check one scan: Cartesian, one contrast, lines all alike, finite; else `BadVolume`.

    Lines that do not belong to the image (noise, calibration, navigators) are left out, averages averaged.
    """
    try:
        digest = sha256_of(path)
        with h5py.File(path, "r", locking="best-effort") as file:
            group = _group(file)
            header = parsed(text(group, "xml"))
            table = inside(group, "data")
            _check_table(table, path.stat().st_size)
            lines = _acquired(table, header)
        return _scan(lines, header, digest)
    except (BadVolume, *UNREADABLE) as error:
        raise _refused(path, error) from None


def _group(file: h5py.File) -> h5py.Group:
    names = [name for name in ("dataset", *sorted(file)) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    group = file[names[0]] if names else None
    if not isinstance(group, h5py.Group) or "xml" not in group or "data" not in group:
        raise BadVolume("is no ISMRMRD file of raw data: expected a group with `xml` and `data`.")
    return group


@dataclass
class _Lines:
    """What was acquired. samples: `[row second coil readout]`, summed. counts: `[row second]`, how often.

    second: the second phase encoding, or of a 2-D scan the slice. head: of the first line. places: the position of
    each slice by its number.
    """

    samples: NDArray[np.complex64]
    counts: NDArray[np.int64]
    head: Any
    places: dict[int, Any]


def _scan(lines: _Lines, header: Header, digest: str) -> Scan:
    samples, acquired = lines.samples, lines.counts > 0
    samples /= np.maximum(lines.counts, 1)[:, :, None, None]
    if header.flat:
        if (acquired != acquired[:, :1]).any():
            raise BadVolume("has slices that differ in what was acquired, expected one mask.", Problem.UNSUPPORTED)
        order, (affine, notes) = stack_affine(lines.head, lines.places, header)
        samples = samples[:, order].transpose(2, 1, 0, 3)
        mask = np.asarray(samples.any(axis=(0, 1)))
        size = (header.size[0], header.size[2], len(order))
    else:
        affine, notes = slab_affine(lines.head, header)
        samples, mask, size = samples.transpose(2, 3, 0, 1), acquired, header.size
    head, readout = lines.head, header.matrix[2]
    read = int(head["number_of_samples"]) - int(head["discard_pre"]) - int(head["discard_post"])
    return Scan(
        samples=samples,
        mask=mask,
        size=size,
        affine=affine,
        decay=header.decay,
        white=header.white,
        simulated=header.simulated,
        notes=(*notes, *partial_echo(readout - read, readout, encoded=not header.flat)),
        sha256=digest,
        encoded=not header.flat,
        extent=header.extent(mask.shape),
    )


def _check_table(table: h5py.Dataset, file_size: int) -> None:
    """Whether lines are as long as their heads state, and the file could hold them all: before any is read."""
    values = h5py.check_vlen_dtype(table.dtype["data"]) if table.dtype.names == acquisition_dtype.names else None
    if values != np.float32 or table.ndim != 1:
        raise BadVolume("holds no table of acquisitions. It is no ISMRMRD file of raw data.")
    block = table.chunks[0] if table.chunks else 1
    if block > 64 * LINES_AT_ONCE:
        raise BadVolume(f"is stored in blocks of {block} lines, expected smaller ones.", Problem.IMPLAUSIBLE)
    total, step = 0, block * -(-LINES_AT_ONCE // block)
    for start in range(0, len(table), step):
        records = unfollowed(table, start, min(start + step, len(table)))
        head, stated = records["head"], records["data"].astype(np.int64)
        wrong = stated != 2 * head["active_channels"].astype(np.int64) * head["number_of_samples"]
        if wrong.any():
            coils, count = (head[name][wrong][0] for name in ("active_channels", "number_of_samples"))
            raise BadVolume(
                f"has a line that is not {count} samples of {coils} coils long. It is damaged.", Problem.DAMAGED
            )
        total += int(stated.sum()) + int(records["traj"].sum(dtype=np.int64))
    if total * values.itemsize > file_size:
        raise BadVolume("has lines that are longer than itself: they share what they hold.", Problem.IMPLAUSIBLE)


def _acquired(table: h5py.Dataset, header: Header) -> _Lines:
    rows, columns, readout = header.matrix
    slices = _slices(table) if header.flat else np.zeros(1, np.int64)
    seconds = len(slices) if header.flat else columns
    found: _Lines | None = None
    seen = np.zeros(0, np.int64)
    for start in range(0, len(table), LINES_AT_ONCE):
        lines = table[start : start + LINES_AT_ONCE]
        lines = lines[_imaging(lines["head"]["flags"])]
        if not len(lines):
            continue
        head = lines["head"]
        if found is None:
            found = _nothing_yet(head[0], (rows, seconds, readout))
        _check_lines(head, found.head, header)
        _check_places(head, found.places)
        row, second = (
            (head["idx"][name].astype(np.int64) - centre) % size
            for name, centre, size in zip(STEPS, header.centres, header.matrix, strict=False)
        )
        if header.flat:
            second = np.searchsorted(slices, head["idx"]["slice"])
        average = head["idx"]["average"].astype(np.int64)
        keys = np.concatenate([seen, (average * rows + row) * seconds + second])
        seen = np.unique(keys)
        if len(seen) < len(keys):
            raise BadVolume("holds a line of k-space twice. It may be damaged.", Problem.DUPLICATE)
        values, inside_line = _values(lines, readout)
        for number in np.unique(average):  # within one of which no line comes twice
            which = average == number
            found.samples[row[which, None], second[which, None], :, inside_line] += np.moveaxis(values[which], 1, 2)
            found.counts[row[which], second[which]] += 1
    if found is None or not found.samples.any():
        raise BadVolume(
            "holds no signal: it has no line of k-space that belongs to an image, or only zeros.", Problem.NO_SIGNAL
        )
    return found


def _nothing_yet(head: Any, shape: tuple[int, int, int]) -> _Lines:
    rows, seconds, readout = shape
    coils = int(head["active_channels"])
    if coils < 1 or coils * math.prod(shape) > MOST_VALUES:
        raise BadVolume(f"states {coils} coils, which is not plausible.", Problem.IMPLAUSIBLE)
    samples = np.zeros((rows, seconds, coils, readout), np.complex64)  # so that whole lines are written
    return _Lines(samples, np.zeros((rows, seconds), np.int64), head, {})


def _slices(table: h5py.Dataset) -> NDArray[np.int64]:
    """The numbers of the slices that lines of the image are of."""
    heads = table.fields("head")
    found = np.zeros(0, np.int64)
    for start in range(0, len(table), LINES_AT_ONCE):
        head = heads[start : start + LINES_AT_ONCE]
        found = np.union1d(found, head["idx"]["slice"][_imaging(head["flags"])])
    return found


def _imaging(flags: NDArray[Any]) -> NDArray[np.bool_]:
    other: NDArray[np.bool_] = np.any([_flagged(flags, bit) for bit in NOT_IMAGING], axis=0)
    return ~other


def _flagged(flags: NDArray[Any], bit: int) -> NDArray[np.bool_]:
    return np.asarray(flags & np.uint64(1 << (bit - 1)), bool)


def _check_lines(head: NDArray[Any], first: Any, header: Header) -> None:
    for name in ONE_OF_EACH if header.flat else (*ONE_OF_EACH, "slice"):
        if (head["idx"][name] != first["idx"][name]).any():
            raise BadVolume(f"holds more than one {name}, expected one. Split it first.", Problem.UNSUPPORTED)
    for name in ALIKE:
        if (head[name] != first[name]).any():
            raise BadVolume(f"has lines that differ in {name}, expected all alike.", Problem.UNSUPPORTED)
    for name in DIRECTIONS:
        if not (np.abs(head[name] - first[name]) <= 1e-3).all():
            raise BadVolume(f"has lines that differ in {name}, expected one slab or a stack.", Problem.UNSUPPORTED)
    if head["encoding_space_ref"].any():
        raise BadVolume("has lines of an encoding that its header does not state.", Problem.DAMAGED)
    if _flagged(head["flags"], ismrmrd.ACQ_IS_REVERSE).any():
        raise BadVolume("has lines that were read backwards, which are not supported.", Problem.UNSUPPORTED)
    for name, centre, size in zip(STEPS, header.centres, header.matrix, strict=False):
        if (head["idx"][name] >= size).any():
            raise BadVolume(
                f"has a line at {name} {head['idx'][name].max()}, expected less than {size}.", Problem.DAMAGED
            )
        frequency = head["idx"][name].astype(np.int64) - centre
        if size > 1 and not ((frequency >= -(size // 2)) & (frequency <= (size - 1) // 2)).all():
            raise BadVolume(
                f"has a line at {name} {head['idx'][name].max()}, which is beyond its matrix of {size} with DC at "
                f"{centre}.",
                Problem.DAMAGED,
            )


def _check_places(head: NDArray[Any], places: dict[int, Any]) -> None:
    """Every line of a slice, or of the one slab, is of one place; those that are new are added to `places`."""
    numbers, firsts = np.unique(head["idx"]["slice"], return_index=True)
    for number, one in zip(numbers.tolist(), firsts, strict=True):
        place = places.setdefault(number, head["position"][one])
        if not (np.abs(head["position"][head["idx"]["slice"] == number] - place) <= SAME_PLACE).all():
            raise BadVolume("has lines that differ in position, expected one slab or a stack.", Problem.UNSUPPORTED)


def _values(lines: NDArray[Any], readout: int) -> tuple[NDArray[np.complex64], NDArray[np.int64]]:
    """The samples `[line coil sample]` of lines that are all alike, and each sample's place, DC first."""
    head = lines["head"][0]
    coils, count = int(head["active_channels"]), int(head["number_of_samples"])
    if any(values.size != 2 * coils * count for values in lines["data"]):  # whatever was stated
        raise BadVolume("has a line of another length than it states. It is damaged.", Problem.DAMAGED)
    numbers = np.stack(list(lines["data"]))
    if not (np.abs(numbers) < HUGE).all():  # nor is a NaN
        raise BadVolume("has samples that are NaN, infinite or beyond single precision.", Problem.NOT_FINITE)
    inside = slice(int(head["discard_pre"]), count - int(head["discard_post"]))
    places = (np.arange(count) - int(head["center_sample"]))[inside]
    if not len(places) or places[0] < -(readout // 2) or places[-1] >= (readout + 1) // 2:
        raise BadVolume(f"has a readout of {count} samples that does not fit its matrix of {readout}.", Problem.DAMAGED)
    return numbers.view(np.complex64).reshape(len(lines), coils, count)[:, :, inside], places % readout


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
    axes = LPS_TO_RAS @ scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    for axis, name in enumerate(DIRECTIONS):
        head[name] = axes[:, axis]
    head["position"] = LPS_TO_RAS @ (scan.affine[:3, :3] @ (np.array(scan.size) // 2) + scan.affine[:3, 3])
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
