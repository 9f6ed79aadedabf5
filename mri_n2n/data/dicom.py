"""DICOM MR series: read as volumes, checked, and written as derived series that a PACS takes.

Classic MR only: one slice per file. Values are stored values with the file's rescale slope and intercept.
"""

import hashlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import config, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from mri_n2n.data.volumes import MOST_VOXELS, Volume
from mri_n2n.durable import writing
from mri_n2n.errors import UNREADABLE, BadVolume, Problem, one_line, problem_of

SUFFIXES = (".dcm", ".ima")  # often there is none: files are told by what is in them
PREAMBLE = 132  # bytes, the last four of which say that it is DICOM
MOST_SLICES = 4096
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
READABLE = (*uid.UncompressedTransferSyntaxes, uid.RLELossless)
PLACE = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "FrameOfReferenceUID")
ALIKE = (*PLACE, "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")
ALIKE_STORED = ("BitsAllocated", "BitsStored", "PixelRepresentation")
NOT_KEPT = (  # of one slice, or of the pixels as they were
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "IconImageSequence",
    "VOILUTSequence",
    "WindowCenterWidthExplanation",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "RealWorldValueMappingSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
)
REQUIRED = {  # of a classic MR image by the standard, with what says that it is not known
    "Laterality": "",
    "PatientPosition": "",
    "PositionReferenceIndicator": "",
    "ScanningSequence": "RM",  # research mode
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "",
    "RepetitionTime": "",
    "EchoTime": "",
    "EchoTrainLength": "",
}
LONGEST_DECIMAL = 16  # characters
_FOREIGN = (*UNREADABLE, InvalidDicomError, BytesLengthException)
_DIRECTORY = "1.2.840.10008.1.3.10"

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what it says of a file may name a person
config.settings.reading_validation_mode = config.IGNORE  # what others wrote is not ours to mend
config.settings.writing_validation_mode = config.IGNORE  # nor to refuse: it came with the source


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's warnings: they may name a person, and what is wrong is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Series:
    """A series as a volume `[column row slice]`, and the file of each slice. slope: what a stored value counts."""

    volume: Volume
    files: tuple[Path, ...]
    slope: float


def find_series(files: Iterable[Path]) -> dict[str, list[Path]]:
    """The DICOM files among these by their SeriesInstanceUID, which is empty where it cannot be read.

    Directories (DICOMDIR) are left out: they name what lies beside them.
    """
    found: dict[str, list[Path]] = {}
    for path in files:
        if is_dicom(path):
            kind, series = _identity(path)
            if kind != _DIRECTORY:
                found.setdefault(series, []).append(path)
        elif path.name.lower().endswith(SUFFIXES):
            found.setdefault("", []).append(path)
    return found


@_quietly()
def _identity(path: Path) -> tuple[str, str]:
    """SOP class and series of a file; empty where it does not say, or cannot be read."""
    try:
        head = _opened(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPClassUID"])
        return str(head.get("SOPClassUID") or ""), str(head.get("SeriesInstanceUID") or "")
    except _FOREIGN:
        return "", ""


def is_dicom(path: Path) -> bool:
    """Whether the file says that it is DICOM, in its bytes 128 to 131; or may not be read at all."""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return False
        with path.open("rb") as file:
            return file.read(PREAMBLE)[128:] == b"DICM"
    except PermissionError:
        return True  # as far as anybody can tell
    except OSError:
        return False


def _opened(path: Path, **options: Any) -> Dataset:
    """Read a file; one that would be inflated whole, to whatever size, is refused."""
    if read_file_meta_info(path).get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        raise ValueError("deflated")
    return pydicom.dcmread(path, **options)


@_quietly()
def read_series(files: Sequence[Path]) -> Series:
    """Read and check a series: MR, one geometry, no gap, no slice twice, every byte decoded; else `BadVolume`."""
    if not 0 < len(files) <= MOST_SLICES:
        raise BadVolume(f"is a series of {len(files)} files, which is not plausible.", Problem.IMPLAUSIBLE)
    try:
        return _read_series(files)
    except _FOREIGN as error:
        message = f"cannot be read as DICOM ({one_line(error)}). It may be truncated."
        raise BadVolume(message, problem_of(error)) from None


def _read_series(files: Sequence[Path]) -> Series:
    digest = files_sha256(files)
    slices = []
    first = _opened(files[0])
    instances = set()
    for path in files:
        dataset = _opened(path)
        _check(dataset, first, len(files))
        instances.add(dataset.SOPInstanceUID)
        slices.append((_place(dataset), path, dataset, _values(dataset)))
    if len(instances) < len(files):
        raise BadVolume("has two slices under one name (SOPInstanceUID).", Problem.DUPLICATE)
    slices.sort(key=lambda one: one[0])
    datasets = [dataset for _, _, dataset, _ in slices]
    array = np.stack([values.T for _, _, _, values in slices], axis=-1)
    if not np.isfinite(array).all():
        raise BadVolume("has values that are not finite.", Problem.NOT_FINITE)
    if array.min() == array.max() or array.max() <= 0:
        raise BadVolume("has no signal: it is constant, or nowhere positive.", Problem.NO_SIGNAL)
    slope, intercept = _scale(datasets)
    low, high = _stored_limits(first)
    ends = (low * slope + intercept, high * slope + intercept)
    volume = Volume(np.ascontiguousarray(array), _affine(datasets), None, ends, digest)
    return Series(volume, tuple(path for _, path, _, _ in slices), slope)


def files_sha256(files: Iterable[Path]) -> str:
    """Of the files' contents, whatever their names and order."""
    each = sorted(hashlib.sha256(path.read_bytes()).digest() for path in files)
    return hashlib.sha256(b"".join(each)).hexdigest()


@_quietly()
def write_series(
    folder: Path, array: NDArray[np.float32], series: Series, description: str, provenance: Mapping[str, Any]
) -> list[Path]:
    """Write `array` as a series derived from `series`, a file per slice, in its stored units; return the files.

    UIDs depend on the source's, its content and `provenance` alone, so that sending it twice makes no duplicate. Study,
    patient, frame of reference and positions stay; private tags are dropped. description: in SeriesDescription, and
    what DerivationDescription says. provenance: what made it.
    """
    made = "/".join(f"{name}={value}" for name, value in sorted(provenance.items()))
    identity = f"{series.volume.sha256}/{made}"  # a series that has grown since makes other images
    sources = [_opened(path) for path in series.files]
    slope, intercept = _scale(sources)
    low, high = _stored_limits(sources[0])
    stored = np.clip(np.rint((array.astype(np.float64) - intercept) / slope), low, high)
    black, white = float(array.min()), float(np.quantile(array, 0.998))
    written = []
    for number, source in enumerate(sources):
        derived = _derived(source, made, identity, description)
        if "RescaleSlope" in source:
            derived.RescaleSlope, derived.RescaleIntercept = f"{slope:.10g}", f"{intercept:.10g}"
        derived.WindowCenter, derived.WindowWidth = f"{(black + white) / 2:.6g}", f"{(white - black) or 1:.6g}"
        derived.InstanceNumber = number + 1
        signed = "i" if source.PixelRepresentation else "u"
        pixels = stored[:, :, number].T.astype(f"<{signed}{source.BitsAllocated // 8}").tobytes()
        derived.PixelData = pixels + b"\0" * (len(pixels) % 2)
        derived["PixelData"].VR = "OW" if source.BitsAllocated > 8 else "OB"
        path = folder / f"{number + 1:05d}.dcm"
        with writing(path):
            derived.save_as(path, enforce_file_format=True)
        written.append(path)
    return written


def _check(dataset: Dataset, first: Dataset, count: int) -> None:
    if not all(dataset.get(name) for name in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")):
        raise BadVolume("does not say what it is. It may be truncated.")
    if dataset.get("Modality") != "MR" or dataset.get("SOPClassUID") != uid.MRImageStorage:
        raise BadVolume("is no classic MR series, one slice per file.", Problem.UNSUPPORTED)
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.get("PhotometricInterpretation") != "MONOCHROME2":
        raise BadVolume("is not grey (MONOCHROME2).", Problem.UNSUPPORTED)
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise BadVolume("has several frames in a file.", Problem.UNSUPPORTED)
    if dataset.file_meta.get("TransferSyntaxUID") not in READABLE:
        raise BadVolume("is compressed in a way that is not read.", Problem.UNSUPPORTED)
    if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) * count > MOST_VOXELS:
        raise BadVolume("states more voxels than is plausible.", Problem.IMPLAUSIBLE)
    for name in ALIKE:
        one, other = dataset.get(name), first.get(name)
        if name == "ImageOrientationPatient" and one is not None and other is not None:
            one, other = (np.round([float(value) for value in values], 3).tolist() for values in (one, other))
        if one != other:
            raise BadVolume(f"has slices that differ in {name}, expected one geometry.", Problem.UNSUPPORTED)
    for name in ALIKE_STORED:
        if dataset.get(name) != first.get(name):
            raise BadVolume(f"has slices that differ in {name}.", Problem.UNSUPPORTED)


def _values(dataset: Dataset) -> NDArray[np.float32]:
    """`[row column]` with slope and intercept applied."""
    pixels = dataset.pixel_array
    if pixels.shape != (dataset.Rows, dataset.Columns) or min(pixels.shape) < 1:
        raise BadVolume(f"has slices of shape {pixels.shape}.", Problem.DAMAGED)
    slope, intercept = _own_scale(dataset)
    return (pixels * slope + intercept).astype(np.float32)


def _own_scale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    if not (np.isfinite([slope, intercept]).all() and slope > 0):
        raise BadVolume(f"has a rescale slope of {slope:g}.", Problem.IMPLAUSIBLE)
    return slope, intercept


def _scale(datasets: Sequence[Dataset]) -> tuple[float, float]:
    """One slope and intercept for all slices, so that brightness does not jump: those that reach furthest."""
    scales = [_own_scale(dataset) for dataset in datasets]
    return max(slope for slope, _ in scales), min(intercept for _, intercept in scales)


def _stored_limits(dataset: Dataset) -> tuple[int, int]:
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
        raise BadVolume("does not say where its slices lie.", Problem.UNSUPPORTED)
    place = float(_normal(dataset) @ [float(value) for value in dataset.ImagePositionPatient])
    if not np.isfinite(place):
        raise BadVolume("has a slice at no finite place.", Problem.IMPLAUSIBLE)
    return place


def _affine(datasets: Sequence[Dataset]) -> NDArray[np.float64]:
    """Voxel `[column row slice]` to millimetres (RAS+); raises for gaps, slices at one place, and none in line."""
    first = datasets[0]
    positions = np.array([[float(value) for value in dataset.ImagePositionPatient] for dataset in datasets])
    steps = np.diff(positions, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if len(datasets) == 1:
        step = _normal(first) * float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1)
    else:
        step = np.median(steps, axis=0)
        length = float(np.linalg.norm(step))
        if lengths.min() < 0.01:
            raise BadVolume("has two slices at one place.", Problem.DUPLICATE)
        if lengths.max() > 1.5 * length:
            raise BadVolume("has a gap: a slice is missing.", Problem.INCOMPLETE)
        if np.abs(steps - step).max() > max(0.02 * length, 0.02):
            raise BadVolume("has slices that do not lie in line at equal distances.", Problem.UNSUPPORTED)
        step = (positions[-1] - positions[0]) / (len(datasets) - 1)
    along = np.array([float(value) for value in first.ImageOrientationPatient]).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along[0] * between_columns, along[1] * between_rows, step
    affine[:3, 3] = positions[0]
    if not (np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-9):
        raise BadVolume("has a geometry that is not finite, or flat.", Problem.IMPLAUSIBLE)
    return LPS @ affine


def _derived(source: Dataset, made: str, identity: str, description: str) -> Dataset:
    """A copy of a slice's header as that of a derived image."""
    source.remove_private_tags()
    source.walk(_mend)  # which also decodes every element: the bytes may be in another order than ours
    derived = Dataset(dict(source.items()))  # a plain one: a `FileDataset` keeps to the encoding of its file
    derived.file_meta = source.file_meta
    for name in NOT_KEPT:
        if name in derived:
            delattr(derived, name)
    for element in [element for element in derived if element.tag.group in range(0x6000, 0x6100)]:
        del derived[element.tag]  # overlays lie over the pixels as they were
    for name, unknown in REQUIRED.items():
        if name not in derived:
            setattr(derived, name, unknown)
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
    equipment = Dataset()
    equipment.Manufacturer, equipment.ManufacturerModelName = "mri-n2n", "mri-n2n"
    equipment.PurposeOfReferenceCodeSequence = [_code(codes.DCM.ProcessingEquipment)]
    equipment.ContributionDescription = made[:1024]
    derived.SourceImageSequence = [reference]
    derived.ContributingEquipmentSequence = [*derived.get("ContributingEquipmentSequence", []), equipment]
    kind = list(derived.get("ImageType") or [])
    derived.ImageType = ["DERIVED", "SECONDARY", *(kind[2:] or ["OTHER"])]
    derived.DerivationDescription = description[:1024]
    said = str(derived.get("SeriesDescription", ""))
    derived.SeriesDescription = f"{said[:28]} n2n, not for diagnostic use".strip()[:64]
    derived.SeriesNumber = int(derived.get("SeriesNumber") or 0) + 1000
    derived.SeriesInstanceUID = _uid(source.SeriesInstanceUID, identity)
    derived.SOPInstanceUID = _uid(source.SOPInstanceUID, identity)
    meta = derived.file_meta
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = derived.SOPInstanceUID, uid.ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid.PYDICOM_IMPLEMENTATION_UID, "mri-n2n"
    if "SourceApplicationEntityTitle" in meta:
        del meta.SourceApplicationEntityTitle
    return derived


def _mend(dataset: Dataset, element: DataElement) -> None:
    """Write decimals with as many digits as the standard allows, and ages with their unit."""
    if element.VR == "AS" and str(element.value).isdigit():
        dataset[element.tag].value = f"{int(element.value):03d}Y"
    if element.VR == "DS" and element.value is not None:
        several = element.VM > 1
        values = [str(value) for value in (element.value if several else [element.value])]
        if any(len(value) > LONGEST_DECIMAL for value in values):
            short = [format_number_as_ds(float(value)) for value in values]
            dataset[element.tag].value = short if several else short[0]


def _uid(source: str, made: str) -> uid.UID:
    return uid.generate_uid(entropy_srcs=[str(source), made])


def _code(code: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
