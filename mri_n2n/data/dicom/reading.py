"""Reading a DICOM MR series as a volume, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from mri_n2n.data.dicom.files import FOREIGN, files_sha256, opened, quietly
from mri_n2n.data.dicom.pixels import LOSSY, READABLE, stored_values
from mri_n2n.data.slice_spacing import SAME_PLACE, slice_step
from mri_n2n.data.volumes import MOST_VOXELS, Volume
from mri_n2n.errors import BadVolume, Problem, one_line, problem_of

UNSUPPORTED = Problem.UNSUPPORTED
MAKER = "mri-n2n"  # as the headers of derived images call this program
MOST_SLICES = 4096
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLACE = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "FrameOfReferenceUID")
ALIKE = (*PLACE, "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
SEVERAL = (  # what may tell images of one place apart
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TriggerTime",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
)
ALIKE_STORED = ("BitsAllocated", "BitsStored", "PixelRepresentation")


@dataclass(frozen=True)
class Series:
    """A series as a volume `[column row slice]`, and the file of each slice. slope: what a stored value counts.

    derived: whether this program has made it of another one.
    """

    volume: Volume
    files: tuple[Path, ...]
    slope: float
    derived: bool


def is_derived(dataset: Dataset) -> bool:
    """Whether this program has made it of another instance."""
    makers = dataset.get("ContributingEquipmentSequence") or ()
    return MAKER in [str(item.get("ManufacturerModelName")) for item in makers]


@quietly()
def read_series(files: Sequence[Path]) -> Series:
    """Read and check a series: MR, one geometry, no gap, no slice twice, every byte decoded; else `BadVolume`."""
    if not 0 < len(files) <= MOST_SLICES:
        raise BadVolume(f"is a series of {len(files)} files, which is not plausible.", Problem.IMPLAUSIBLE)
    try:
        return _read_series(files)
    except InvalidDicomError:
        raise BadVolume("is no DICOM file: it may be damaged at its beginning.") from None
    except FOREIGN as error:
        message = f"cannot be read as DICOM ({one_line(error)}). It may be truncated."
        raise BadVolume(message, problem_of(error)) from None


def _read_series(files: Sequence[Path]) -> Series:
    digest = files_sha256(files)
    slices = []
    first = opened(files[0])
    instances = set()
    for path in files:
        dataset = opened(path)
        _check(dataset, first, len(files))
        instances.add(dataset.SOPInstanceUID)
        slices.append((_place(dataset), path, dataset, _values(dataset)))
    if len(instances) < len(files):
        raise BadVolume("has two slices under one name (SOPInstanceUID).", Problem.DUPLICATE)
    slices.sort(key=lambda one: one[0])
    datasets = [dataset for _, _, dataset, _ in slices]
    _check_one_image_each([place for place, *_ in slices], datasets)
    array = np.stack([values.T for _, _, _, values in slices], axis=-1)
    if not np.isfinite(array).all():
        raise BadVolume("has values that are not finite.", Problem.NOT_FINITE)
    if array.min() == array.max() or array.max() <= 0:
        raise BadVolume("has no signal: it is constant, or nowhere positive.", Problem.NO_SIGNAL)
    slope, intercept = scale(datasets)
    low, high = stored_limits(first)
    ends = (low * slope + intercept, high * slope + intercept)
    volume = Volume(np.ascontiguousarray(array), _affine(datasets), None, ends, digest)
    return Series(volume, tuple(path for _, path, _, _ in slices), slope, is_derived(first))


def _check(dataset: Dataset, first: Dataset, count: int) -> None:
    if not all(dataset.get(name) for name in IDENTITY):
        raise BadVolume("does not say what it is. It may be truncated.")
    if any(tag.group == 0 for tag in dataset.keys()):  # noqa: SIM118 (its items would all be decoded)
        raise BadVolume("has something behind its end. It is damaged.", Problem.DAMAGED)
    if dataset.get("Modality") != "MR" or dataset.get("SOPClassUID") != uid.MRImageStorage:
        raise BadVolume(
            f"is {_named(dataset)}, expected classic MR, one slice per file.{_advice(dataset)}", UNSUPPORTED
        )
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.get("PhotometricInterpretation") != "MONOCHROME2":
        raise BadVolume("is not grey (MONOCHROME2).", UNSUPPORTED)
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise BadVolume("has several frames in a file, expected one slice per file.", UNSUPPORTED)
    syntax = uid.UID(str(dataset.file_meta.get("TransferSyntaxUID")))
    if syntax in LOSSY:
        raise BadVolume(f"is compressed with loss ({syntax.name}). Have it sent uncompressed, or without.", UNSUPPORTED)
    if syntax not in READABLE:
        raise BadVolume(
            f"is compressed in a way that is not read ({syntax.name}). Have it sent uncompressed.", UNSUPPORTED
        )
    if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) * count > MOST_VOXELS:
        raise BadVolume("states more voxels than is plausible.", Problem.IMPLAUSIBLE)
    for name in ALIKE:
        one, other = dataset.get(name), first.get(name)
        if name == "ImageOrientationPatient" and one is not None and other is not None:
            one, other = (np.round([float(value) for value in values], 3).tolist() for values in (one, other))
        if one != other:
            raise BadVolume(f"has slices that differ in {name}, expected one geometry.", UNSUPPORTED)
    for name in ALIKE_STORED:
        if dataset.get(name) != first.get(name):
            raise BadVolume(f"has slices that differ in {name}.", UNSUPPORTED)


def _named(dataset: Dataset) -> str:
    kind = uid.UID(str(dataset.SOPClassUID))
    return f"{kind.name}, {dataset.get('Modality') or 'of no modality'}"


def _advice(dataset: Dataset) -> str:
    enhanced = dataset.SOPClassUID in (uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage)
    return " Convert it, with dcm4che's emf2sf or so." if enhanced else ""


def _check_one_image_each(places: Sequence[float], datasets: Sequence[Dataset]) -> None:
    """Raise where images of one place are of several echoes, times or weightings, and no copies."""
    for number in range(1, len(places)):
        if places[number] - places[number - 1] < SAME_PLACE:
            one, other = datasets[number - 1], datasets[number]
            apart = [name for name in SEVERAL if one.get(name) != other.get(name)]
            if apart:
                advice = "Have each sent as a series of its own."
                raise BadVolume(f"has images of one place that differ in {apart[0]}. {advice}", UNSUPPORTED)


def _values(dataset: Dataset) -> NDArray[np.float32]:
    """`[row column]` with slope and intercept applied."""
    pixels = stored_values(dataset)
    if pixels.shape != (dataset.Rows, dataset.Columns) or min(pixels.shape) < 1:
        raise BadVolume(f"has slices of shape {pixels.shape}.", Problem.DAMAGED)
    slope, intercept = _own_scale(dataset)
    return (pixels * slope + intercept).astype(np.float32)


def _stated(dataset: Dataset, name: str, usual: float) -> float:
    value = dataset.get(name)
    return usual if value in (None, "") else float(value)


def _own_scale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = _stated(dataset, "RescaleSlope", 1.0), _stated(dataset, "RescaleIntercept", 0.0)
    if not (np.isfinite([slope, intercept]).all() and slope > 0):
        raise BadVolume(f"has a rescale slope of {slope:g}.", Problem.IMPLAUSIBLE)
    return slope, intercept


def scale(datasets: Sequence[Dataset]) -> tuple[float, float]:
    """One slope and intercept for all slices, so that brightness does not jump: those that reach furthest."""
    scales = [_own_scale(dataset) for dataset in datasets]
    return max(slope for slope, _ in scales), min(intercept for _, intercept in scales)


def stored_limits(dataset: Dataset) -> tuple[int, int]:
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)


def _normal(dataset: Dataset) -> NDArray[np.float64]:
    along = np.array([float(value) for value in dataset.ImageOrientationPatient]).reshape(2, 3)
    if not np.allclose(along @ along.T, np.eye(2), atol=1e-3):
        raise BadVolume("has directions that are not at right angles.", Problem.IMPLAUSIBLE)
    return np.cross(along[0], along[1])


def _place(dataset: Dataset) -> float:
    """Millimetres along the normal of the slices."""
    if "ImageOrientationPatient" not in dataset or "ImagePositionPatient" not in dataset:
        raise BadVolume("does not say where its slices lie.", UNSUPPORTED)
    place = float(_normal(dataset) @ [float(value) for value in dataset.ImagePositionPatient])
    if not np.isfinite(place):
        raise BadVolume("has a slice at no finite place.", Problem.IMPLAUSIBLE)
    return place


def _affine(datasets: Sequence[Dataset]) -> NDArray[np.float64]:
    """Voxel `[column row slice]` to millimetres (RAS+); raises for gaps, slices at one place, and none in line."""
    first = datasets[0]
    positions = np.array([[float(value) for value in dataset.ImagePositionPatient] for dataset in datasets])
    if len(datasets) > 1:
        step = slice_step(positions)
    else:
        step = _normal(first) * float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1)
    along = np.array([float(value) for value in first.ImageOrientationPatient]).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along[0] * between_columns, along[1] * between_rows, step
    affine[:3, 3] = positions[0]
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-9):
        raise BadVolume("has a geometry that is not finite, or flat.", Problem.IMPLAUSIBLE)
    return LPS @ affine
