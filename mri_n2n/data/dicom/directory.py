"""Directories of media (DICOMDIR): which images a series should have."""

import os
import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pydicom import uid
from pydicom.filereader import read_partial, read_sequence_item

from mri_n2n.data.dicom.files import FOREIGN, quietly
from mri_n2n.data.folders import Heed, heeded

MOST_BYTES, MOST_RECORDS = 1 << 25, 100_000  # of one directory: whoever wrote it is not trusted
LONGEST = 1 << 16  # bytes of one record
UNKNOWN = 0xFFFFFFFF  # a length that its end tells
_RECORDS = 0x00041220


class _Record(NamedTuple):
    """begin: where it lies in the file; below, beyond: where the first one of those it holds, and its successor lie."""

    begin: int | None
    kind: str
    series: str
    image: str
    below: int | None
    beyond: int | None


@quietly()
def listed(path: Path, heed: Heed = lambda: None) -> dict[str, set[str]]:
    """The images (SOPInstanceUID) of each series (SeriesInstanceUID) in a directory; none if it cannot be read whole.

    The names of files in it count for nothing: media are copied to where these are spelt otherwise, or to elsewhere.
    heed: called for every record.
    """
    try:
        return _images({record.begin: record for record in heeded(_records(path), heed)})
    except FOREIGN:
        return {}


def _records(path: Path) -> Iterator[_Record]:
    """The records of a directory, one at a time; raises what is in `FOREIGN` where it ends too early or is too long."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = read_partial(file, stop_when=lambda tag, *_: tag >= _RECORDS)
        group, element, kind, _, length = struct.unpack("<HH2sHL", file.read(12))
        explicit = head.file_meta.get("TransferSyntaxUID") == uid.ExplicitVRLittleEndian  # as directories must be
        if not explicit or (group << 16 | element, kind) != (_RECORDS, b"SQ") or size > MOST_BYTES:
            raise ValueError("no directory")
        end = file.tell() + length
        for _ in range(MOST_RECORDS):
            begin = file.tell()
            if begin >= end:
                return
            *_, length = struct.unpack("<HHL", file.read(8))
            file.seek(begin)
            item = BytesIO(file.read(LONGEST if length == UNKNOWN else min(8 + length, LONGEST)))
            one = read_sequence_item(item, False, True, "iso8859")  # what is longer ends too early
            if one is None:  # the end of a sequence that did not say its length
                return
            file.seek(begin + item.tell())
            yield _Record(
                begin,
                str(one.get("DirectoryRecordType")) if one.get("RecordInUseFlag") != 0 else "",
                str(one.get("SeriesInstanceUID") or ""),
                str(one.get("ReferencedSOPInstanceUIDInFile") or ""),
                one.get("OffsetOfReferencedLowerLevelDirectoryEntity"),
                one.get("OffsetOfTheNextDirectoryRecord"),
            )
        raise ValueError("too long")


def _images(records: Mapping[int | None, _Record]) -> dict[str, set[str]]:
    """By series. records: by where they begin, as they point to each other."""
    left = dict(records)  # every record is looked at once, even if they point round in circles
    found: dict[str, set[str]] = {}
    for series in records.values():
        if series.kind == "SERIES":
            images = found.setdefault(series.series, set())
            place = series.below
            while (record := left.pop(place, None)) is not None:
                if record.kind == "IMAGE" and record.image:
                    images.add(record.image)
                place = record.beyond
    return found
