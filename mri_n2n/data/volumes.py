"""Volumes with their geometry: read through MONAI, checked, and written back as they came."""

import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import nibabel
import numpy as np
from isal.igzip import IGzipFile
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mri_n2n.data.folders import closed_line, look_into, refuse_closed
from mri_n2n.durable import replacing
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, UsageError, one_line, problem_of

TINY, HUGE = 1e-30, 1e30  # intensities whose squares still fit into float32 after scaling
FLAT = 1e-9  # mm³, of a voxel
FLOAT_RANGE = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
MOST_VOXELS = 2**30  # 4 GiB as float32
SUFFIXES = (".nii.gz", ".nii", ".mgz")
_FOREIGN = (*UNREADABLE, ImageFileError, WrapStructError, HeaderDataError, HeaderTypeError)


@dataclass(frozen=True)
class Volume:
    """A 3-D magnitude image in the file's own axis order and intensity units.

    array: `[x y z]`, float32, finite. affine: voxel index to millimetres (RAS+). header: the file's, for
    writing back. stored_range: the smallest and largest intensity that the file's data type and slope can hold.
    sha256: of the file's bytes.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: Any
    stored_range: tuple[float, float]
    sha256: str


def suffix(path: PurePath, known: Sequence[str] = SUFFIXES) -> str:
    """The suffix of `path` that is among the known ones, or an empty string."""
    return next((one for one in known if path.name.lower().endswith(one)), "")


def stem(path: PurePath) -> str:
    """The file's name without its volume suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def find_volumes(source: Path, known: Sequence[str] = SUFFIXES) -> list[Path]:
    """All files of the known suffixes under `source` (a folder), by path; hidden ones are left out."""
    if not source.exists():
        raise UsageError(f"no folder {source}. Check the path.")
    if not source.is_dir():
        raise UsageError(f"{source} is a file, expected a folder of volumes ({', '.join(known)}).")
    looked = look_into(source)
    found = [path for path in looked.files if suffix(path, known)]
    if not found:
        if looked.closed:
            raise UsageError(closed_line(looked.closed[0]))
        raise UsageError(f"no volumes under {source}, expected files ending in {', '.join(known)}.")
    return found


def read_shape(path: Path) -> tuple[int, int, int]:
    """The matrix size of a volume from its header alone; raises `BadVolume` unless it is a real 3-D image."""
    try:
        image: Any = nibabel.load(path)
        shape, dtype = image.shape, image.get_data_dtype()
    except _FOREIGN as error:
        raise _unreadable(path, error) from None
    if len(shape) != 3:
        raise BadVolume(
            f"{path} is {len(shape)}-D with shape {tuple(shape)}, expected one 3-D volume. Split it first.",
            Problem.UNSUPPORTED,
        )
    begin = getattr(image.dataobj, "offset", math.inf)
    if begin < getattr(image.header, "single_vox_offset", 0):  # of one file
        raise BadVolume(f"{path} states that its voxels begin within its header. It is damaged.", Problem.DAMAGED)
    if np.issubdtype(dtype, np.complexfloating):
        raise BadVolume(
            f"{path} is complex, expected a magnitude image. Save its magnitude first.", Problem.UNSUPPORTED
        )
    if dtype.names or min(shape) < 1:
        raise BadVolume(
            f"{path} holds {dtype} of shape {tuple(shape)}, expected grey values. Convert it first.",
            Problem.UNSUPPORTED,
        )
    height, width, depth = (int(size) for size in shape)
    if height * width * depth > MOST_VOXELS:
        raise BadVolume(f"{path} states {height}×{width}×{depth} voxels, which is not plausible.", Problem.IMPLAUSIBLE)
    return height, width, depth


def named(source: Path, known: Sequence[str] = SUFFIXES) -> dict[str, Path]:
    """The files of the known suffixes under `source`, by their names relative to it."""
    return {file.relative_to(source).as_posix(): file for file in find_volumes(source, known)}


def common_size(paths: list[Path]) -> tuple[int, int]:
    """The smallest in-plane matrix that holds every readable volume."""
    shapes = []
    for path in paths:
        with suppress(BadVolume):  # reported when its turn comes
            shapes.append(read_shape(path))
    if not shapes:
        read_shape(paths[0])
    return max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)


def read_volume(path: Path) -> Volume:
    """Read and check one volume: 3-D, real, complete, finite and not constant, else `BadVolume`."""
    from monai.data import NibabelReader  # two to four seconds, which whoever reads no such file need not wait

    refuse_closed(path)
    read_shape(path)
    try:
        content = path.read_bytes()
        reader = NibabelReader()
        image: Any = reader.read(str(path))
        stored = np.asarray(reader.get_data(image)[0])
    except _FOREIGN as error:
        raise _unreadable(path, error) from None
    if not (np.isfinite(image.affine).all() and abs(np.linalg.det(image.affine[:3, :3])) > FLAT):
        raise BadVolume(f"{path} has a geometry that is not finite, or flat. Mend its header.", Problem.IMPLAUSIBLE)
    bad = int(stored.size - np.isfinite(stored).sum())
    if bad:
        raise BadVolume(
            f"{path} has {bad} NaN or infinite voxels, expected finite grey values. Mask them first.",
            Problem.NOT_FINITE,
        )
    low, high = float(stored.min()), float(stored.max())
    if low == high:
        raise BadVolume(f"{path} is constant ({low:g} everywhere), expected an image.", Problem.NO_SIGNAL)
    if high <= 0:
        raise BadVolume(
            f"{path} has no positive intensity (up to {high:g}), expected a magnitude image.", Problem.NO_SIGNAL
        )
    if not TINY < high - low < HUGE:
        raise BadVolume(
            f"{path} has intensities from {low:g} to {high:g}, beyond single precision. Rescale it.",
            Problem.IMPLAUSIBLE,
        )
    array = np.ascontiguousarray(stored, np.float32)
    return Volume(array, image.affine, image.header.copy(), _stored_range(image), hashlib.sha256(content).hexdigest())


def write_volume(path: Path, array: NDArray[np.float32], like: Volume, description: str) -> None:
    """Write `array` `[x y z]` as float32 with the geometry of `like`.

    Affine, qform and sform with their codes, zooms, units.

    Intensities are clipped to the range that the source's data type can hold. Free-text header fields, which
    may name a person, are replaced by `description` (at most 79 characters).
    """
    if array.shape != like.array.shape:
        raise ValueError(f"expected an array of shape {like.array.shape}, got {array.shape}")
    clipped = np.clip(array, *like.stored_range).astype(np.float32)
    if suffix(path) == ".mgz":
        image: Any = nibabel.MGHImage(clipped, like.affine)
    else:
        header = _nifti_header(like, description)
        second = isinstance(header, nibabel.Nifti2Header)
        kind: Any = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        image = kind(clipped, like.affine, header)
        if not isinstance(like.header, nibabel.Nifti1Header):
            image.set_qform(like.affine, code="scanner")
            image.set_sform(like.affine, code="scanner")
            image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        if path.name.lower().endswith(".nii"):
            image.to_filename(temporary)
        else:
            with temporary.open("wb") as raw, _gzipped(raw) as file:
                image.to_stream(file)


def _gzipped(file: BinaryIO) -> IGzipFile:
    """Compress into `file`, seven times as fast as zlib. No name and no time in it: equal volumes make equal files."""
    return IGzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0)  # type: ignore[no-untyped-call]


def _nifti_header(like: Volume, description: str) -> Any:
    header: Any = nibabel.Nifti1Header()
    if isinstance(like.header, nibabel.Nifti1Header):
        header = like.header.copy()
        for name in {"db_name", "aux_file", "intent_name"} & set(header.keys()):  # NIfTI-2 has no db_name
            header[name] = b""
        header.extensions.clear()
        header["cal_min"] = header["cal_max"] = 0
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    return header


def _stored_range(image: Any) -> tuple[float, float]:
    dtype = image.get_data_dtype()
    if not np.issubdtype(dtype, np.integer):
        return FLOAT_RANGE
    slope = float(getattr(image.dataobj, "slope", 1.0))
    offset = float(getattr(image.dataobj, "inter", 0.0))
    limits = np.iinfo(dtype)
    ends = sorted((limits.min * slope + offset, limits.max * slope + offset))
    return ends[0], ends[1]


def _unreadable(path: Path, error: BaseException) -> BadVolume:
    return BadVolume(
        f"{path} cannot be read as a volume ({one_line(error)}). It may be truncated or of another format.",
        problem_of(error),
    )
