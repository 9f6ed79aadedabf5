"""Writing a volume as a series derived from another one, that a PACS takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from mri_n2n.data.dicom.files import opened, quietly
from mri_n2n.data.dicom.reading import MAKER, Series, scale, stored_limits
from mri_n2n.durable import writing

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


@quietly()
def write_series(
    folder: Path,
    array: NDArray[np.float32],
    series: Series,
    description: str,
    identity: str,
    provenance: Mapping[str, Any],
) -> list[Path]:
    """Write `array` as a series derived from `series`, a file per slice, in its stored units; return the files.

    Study, patient, frame of reference and positions stay; private tags are dropped. identity: of the source's content
    and all else that decides the values; UIDs depend on it and the source's alone, so that sending it twice makes no
    duplicate. description: in SeriesDescription, and what DerivationDescription says. provenance: what made it.
    """
    made = "/".join(f"{name}={value}" for name, value in sorted(provenance.items()))
    sources = [opened(path) for path in series.files]
    slope, intercept = scale(sources)
    low, high = stored_limits(sources[0])
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
    equipment.Manufacturer, equipment.ManufacturerModelName = MAKER, MAKER
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
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid.PYDICOM_IMPLEMENTATION_UID, MAKER
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
