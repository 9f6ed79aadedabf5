"""DICOM MR series: read as volumes, checked, and written as derived series that a PACS takes.

Classic MR only: one slice per file. Values are stored values with the file's rescale slope and intercept.
"""

from mri_n2n.data.dicom.files import PREAMBLE, files_sha256, is_dicom
from mri_n2n.data.dicom.finding import Memory, find_series
from mri_n2n.data.dicom.instance import MR_IMAGES, SENT, Instance, received, same
from mri_n2n.data.dicom.reading import Series, read_series
from mri_n2n.data.dicom.writing import write_series

__all__ = [
    "MR_IMAGES",
    "PREAMBLE",
    "SENT",
    "Instance",
    "Memory",
    "Series",
    "files_sha256",
    "find_series",
    "is_dicom",
    "read_series",
    "received",
    "same",
    "write_series",
]
