"""A classic MR series as a scanner writes it, for tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet

SERIES, STUDY, FRAME = (f"1.2.826.0.1.3680043.8.498.{number}" for number in (1, 2, 3))
ALONG = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]  # rows to the left and back, columns to the feet

OTHER = "1.2.3"  # another series
MEDIA = {"StudyDate": "20200101", "StudyTime": "101112", "StudyID": "1", "AccessionNumber": "1"}

Edit = Callable[[int, Dataset], None]


def some_series(folder: Path, edit: Edit | None = None, *, slices: int = 5, seed: int = 0) -> list[Path]:
    """A classic MR series of 12 rows and 8 columns as a scanner writes it, in no particular order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    normal = np.cross(ALONG[:3], ALONG[3:])
    files = []
    for number in range(slices):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = uid.ExplicitVRLittleEndian, uid.MRImageStorage
        meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number}"
        one = Dataset()
        one.file_meta = meta
        one.SOPClassUID, one.SOPInstanceUID = uid.MRImageStorage, f"{SERIES}.{number}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, SERIES, FRAME
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "DOE^JANE", "7", "", ""
        one.Modality, one.Manufacturer, one.ImageType = "MR", "ACME", ["ORIGINAL", "PRIMARY", "M"]
        one.StudyDate = one.StudyTime = one.AccessionNumber = one.ReferringPhysicianName = one.StudyID = ""
        one.SeriesNumber, one.InstanceNumber, one.SeriesDescription = 4, number + 1, "t1"
        one.ImageOrientationPatient, one.PixelSpacing, one.SliceThickness = ALONG, [0.75, 1.25], 2.0
        one.ImagePositionPatient = [round(float(value), 6) for value in [10, -20, 30] + 2.0 * number * normal]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.Rows, one.Columns, one.BitsAllocated, one.BitsStored, one.HighBit = 12, 8, 16, 12, 11
        one.PixelRepresentation = 0
        one.PixelData = rng.integers(0, 4096, (12, 8)).astype("<u2").tobytes()
        one.add_new(0x00091001, "LO", "DOE^JANE, privately")
        if edit:
            edit(number, one)
        files.append(folder / f"IM{(7 * number) % slices:03d}")
        one.save_as(files[-1], enforce_file_format=True)
    return sorted(files)


def some_media(folder: Path) -> Path:
    """Two series of five and three images with a DICOMDIR, as a CD has them."""
    written = FileSet()
    with TemporaryDirectory() as place:
        for path in some_series(Path(place) / "one", everywhere(**MEDIA)):
            written.add(path)
        for number, path in enumerate(some_series(Path(place) / "two", everywhere(**MEDIA), slices=3)):
            image = pydicom.dcmread(path)
            image.SeriesInstanceUID, image.SOPInstanceUID = OTHER, f"{OTHER}.{number}"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            written.add(image)
        written.write(folder)
    written._stage["t"].cleanup()  # else it is left to the garbage, with a warning
    return folder


def at(number: int, **changes: Any) -> Edit:
    def edit(place: int, one: Dataset) -> None:
        if place == number:
            for name, value in changes.items():
                setattr(one, name, value)

    return edit


def everywhere(**changes: Any) -> Edit:
    def edit(_: int, one: Dataset) -> None:
        for name, value in changes.items():
            setattr(one, name, value)

    return edit


def moved(one: Dataset, by: Any) -> None:
    one.ImagePositionPatient = [float(value) + step for value, step in zip(one.ImagePositionPatient, by, strict=True)]


def gap(number: int, one: Dataset) -> None:
    if number > 2:
        moved(one, np.cross(ALONG[:3], ALONG[3:]) * 2)


def aside(number: int, one: Dataset) -> None:
    if number == 2:
        moved(one, ALONG[:3])


def faults(files: list[Path]) -> list[str]:
    """What dciodvfy finds wrong with the first one."""
    checked = subprocess.run(["dciodvfy", str(files[0])], capture_output=True, text=True, check=False)
    return [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")]
