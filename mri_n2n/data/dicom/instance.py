"""One DICOM instance as it comes over the network: what it is, and whether it is one that we have."""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom import uid
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info

from mri_n2n.data.dicom.files import FOREIGN, quietly
from mri_n2n.data.dicom.pixels import READABLE
from mri_n2n.data.dicom.reading import MAKER, is_derived
from mri_n2n.errors import BadVolume, Problem

MR_IMAGES = str(uid.MRImageStorage)
SENT = tuple(str(syntax) for syntax in READABLE if syntax != uid.DeflatedExplicitVRLittleEndian)
"""Transfer syntaxes of instances that can be read: none that is inflated to whatever size."""
_TOLD = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ContributingEquipmentSequence"]


@dataclass(frozen=True)
class Instance:
    """An instance, by its UIDs. content: as a file. derived: whether this program has made it of another one."""

    uid: str
    series: str
    content: bytes
    derived: bool


@quietly()
def received(kind: str, name: str, syntax: str, dataset: bytes) -> Instance:
    """An instance that was announced with SOP class `kind` and UID `name`, encoded in `syntax`.

    The file made of it depends on these alone. Raises `BadVolume`: `DAMAGED` where it is not what was announced.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.UID(kind), uid.UID(name)
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid.PYDICOM_IMPLEMENTATION_UID, MAKER
    file = DicomBytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta)
    file.write(dataset)
    content = file.getvalue()
    try:
        head = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=_TOLD)
        told = [str(head.get(tag) or "") for tag in _TOLD[:3]]
        derived = is_derived(head)
    except FOREIGN:
        raise BadVolume("cannot be read as DICOM.") from None
    if not all(told):
        raise BadVolume("does not say what it is. It may be truncated.")
    if told[:2] != [kind, name]:
        raise BadVolume("is not the instance that was announced.", Problem.DAMAGED)
    return Instance(name, told[2], content, derived)


@quietly()
def same(one: bytes, other: bytes) -> bool:
    """Whether two files say the same: byte for byte, or one with implicit VR and the other with explicit."""
    try:
        return one == other or _plain(one) == _plain(other)
    except FOREIGN:
        return False


def _plain(content: bytes) -> bytes:
    """A file's dataset with implicit VR, little endian."""
    plain = DicomBytesIO()
    plain.is_implicit_VR, plain.is_little_endian = True, True
    write_dataset(plain, pydicom.dcmread(BytesIO(content)))
    return plain.getvalue()
