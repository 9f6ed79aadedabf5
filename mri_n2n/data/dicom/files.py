"""DICOM files: told from others, opened without inflating or warning of anything, hashed by their contents."""

import hashlib
import logging
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom import config, uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info

from mri_n2n.errors import UNREADABLE, BadVolume, Problem

FOREIGN = (*UNREADABLE, InvalidDicomError, BytesLengthException)  # what is raised on bytes that are no DICOM
PREAMBLE = 132  # bytes, the last four of which say that it is DICOM

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what it says of a file may name a person
config.settings.reading_validation_mode = config.IGNORE  # what others wrote is not ours to mend
config.settings.writing_validation_mode = config.IGNORE  # nor to refuse: it came with the source


@contextmanager
def quietly() -> Iterator[None]:
    """Without the library's warnings: they may name a person, and what is wrong is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_dicom(path: Path) -> bool:
    """Whether the file says that it is DICOM, in its bytes 128 to 131; or may not be read at all."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
            return False
        with path.open("rb") as file:
            return file.read(PREAMBLE)[128:] == b"DICM"
    except PermissionError:
        return True  # as far as anybody can tell
    except OSError:
        return False


def files_sha256(files: Iterable[Path]) -> str:
    """Of the files' contents, whatever their names and order."""
    each = sorted(hashlib.sha256(path.read_bytes()).digest() for path in files)
    return hashlib.sha256(b"".join(each)).hexdigest()


def opened(path: Path, **options: Any) -> Dataset:
    """A file's content. Raises what is in `FOREIGN`, and `BadVolume` for what would be inflated, to whatever size."""
    if read_file_meta_info(path).get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        raise BadVolume("is deflated, which is not read. dcmtk's dcmconv inflates it.", Problem.UNSUPPORTED)
    return pydicom.dcmread(path, **options)
