"""Folders of studies for tests, of which many are damaged, and what should become of each."""

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from dicom_files import Edit, at, everywhere, gap, some_series
from raw_files import write_cfl, write_fastmri

from mri_n2n.data.mrd import read_scan, write_scan
from pipelines.batch.outcome import Reason

PATIENT = "DOE^JANE"


def copied(scans: Path, number: int, target: Path) -> Path:
    shutil.copy(sorted(scans.glob("*.h5"))[number], target)
    return target


def _edited(scans: Path, target: Path, edit: Callable[[h5py.File], None]) -> None:
    with h5py.File(copied(scans, 0, target), "r+") as file:
        edit(file)


def _header(old: bytes, new: bytes) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        text = file["dataset/xml"][0]
        assert old in text
        file["dataset/xml"][0] = text.replace(old, new, 1)

    return edit


def _head(field: str, value: int) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        table = file["dataset/data"][:]
        table["head"]["idx"][field][-1] = value
        file["dataset/data"][:] = table

    return edit


def _not_finite(file: h5py.File) -> None:
    table = file["dataset/data"][:]
    table["data"][0][0] = np.nan
    file["dataset/data"][:] = table


def damaged_scans(scans: Path, ward: Path) -> dict[str, Reason]:
    """A folder of scans among which few are good, and what should become of each."""
    ward.mkdir()
    content = sorted(scans.glob("*.h5"))[0].read_bytes()
    (ward / "truncated.h5").write_bytes(content[: len(content) // 2])
    (ward / "empty.h5").write_bytes(b"")
    (ward / "text.h5").write_text("Dear colleague,")
    (ward / "zeros.mrd").write_bytes(bytes(5000))
    _edited(scans, ward / "nan.h5", _not_finite)
    _edited(scans, ward / "radial.h5", _header(b"cartesian", b"radial"))
    _edited(scans, ward / "two-d.h5", _header(b"<z>20</z>", b"<z>1</z>"))
    _edited(scans, ward / "huge.h5", _header(b"<x>6</x>", b"<x>60000</x>"))
    _edited(scans, ward / "xml.h5", _header(b"<encoding>", b"<encoding><"))
    _edited(scans, ward / "contrasts.h5", _head("contrast", 1))
    _edited(scans, ward / "beyond.h5", _head("kspace_encode_step_1", 999))
    scan = read_scan(copied(scans, 1, ward / "good.h5"))
    write_scan(ward / "no-density.h5", replace(scan, decay=None), {})
    write_scan(ward / "coils.h5", replace(scan, samples=np.repeat(scan.samples, 2, 0)), {})
    write_scan(ward / "phases.h5", replace(scan, samples=scan.samples * np.complex64(1j)), {})
    one_slice = read_scan(ward / "good.h5").samples[:, 3]
    shown = np.fft.fftshift(one_slice, axes=(1, 2)).transpose(2, 1, 0)[:, :, None]
    for name in ("pair", "lonely", "short"):
        write_cfl(ward / f"{name}.cfl", shown)
    (ward / "lonely.hdr").unlink()
    (ward / "short.cfl").write_bytes((ward / "short.cfl").read_bytes()[:-8])
    write_fastmri(ward / "fastmri.h5", one_slice[:, None])
    with h5py.File(ward / "link.h5", "w") as file:
        file["dataset"] = h5py.ExternalLink("good.h5", "/dataset")
    (ward / "nowhere.h5").symlink_to("absent.h5")
    (ward / "round").symlink_to(".")
    os.mkfifo(ward / "pipe.h5")
    hostile = os.fsdecode(os.fsencode(ward) + b"/\xff\n'; rm -rf <b>" + PATIENT.encode() + b".h5")
    shutil.copy(ward / "good.h5", hostile)
    _edited(scans, ward / "twice.h5", _doubled)
    return {
        "truncated.h5": Reason.UNREADABLE,
        "empty.h5": Reason.UNREADABLE,
        "text.h5": Reason.UNREADABLE,
        "zeros.mrd": Reason.UNREADABLE,
        "nan.h5": Reason.NOT_FINITE,
        "radial.h5": Reason.UNSUPPORTED,
        "two-d.h5": Reason.DAMAGED,
        "huge.h5": Reason.IMPLAUSIBLE,
        "xml.h5": Reason.UNREADABLE,
        "contrasts.h5": Reason.UNSUPPORTED,
        "twice.h5": Reason.DUPLICATE,
        "beyond.h5": Reason.DAMAGED,
        "no-density.h5": Reason.RECONSTRUCTED,
        "coils.h5": Reason.INCOMPATIBLE,
        "phases.h5": Reason.INCOMPATIBLE,
        "pair.cfl": Reason.INCOMPATIBLE,  # nobody says what is white
        "lonely.cfl": Reason.INCOMPLETE,
        "short.cfl": Reason.DAMAGED,
        "fastmri.h5": Reason.INCOMPATIBLE,
        "link.h5": Reason.UNREADABLE,
        "nowhere.h5": Reason.GONE,
        "pipe.h5": Reason.UNSUPPORTED,
        "good.h5": Reason.RECONSTRUCTED,
        Path(hostile).name: Reason.RECONSTRUCTED,
    }


def _doubled(file: h5py.File) -> None:
    table = file["dataset/data"][:]
    table["head"]["idx"][-1] = table["head"]["idx"][0]
    file["dataset/data"][:] = table


def damaged_volumes(ward: Path) -> dict[str, Reason]:
    """The same of volumes."""
    ward.mkdir(parents=True)
    rng = np.random.default_rng(0)
    good = (rng.random((16, 20, 6)) * 200).astype(np.float32)

    def save(name: str, array: Any) -> Path:
        nibabel.Nifti1Image(array, np.eye(4)).to_filename(ward / name)
        return ward / name

    content = gzip.decompress(save("good.nii.gz", good).read_bytes())
    (ward / "cut.nii.gz").write_bytes((ward / "good.nii.gz").read_bytes()[:3000])
    save("nan.nii", np.where(good > 199, np.nan, good))
    save("series.nii", np.stack([good, good], axis=-1))
    save("complex.nii", good.astype(np.complex64))
    save("blank.nii", np.zeros_like(good))
    save("negative.nii", -good)
    save("loud.nii", good.astype(np.float64) * 1e35)
    claim = bytearray(content)
    claim[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()  # the shape, in the header
    (ward / "claims.nii.gz").write_bytes(gzip.compress(bytes(claim)))
    (ward / "bomb.nii.gz").write_bytes(gzip.compress(bytes(claim[:352]) + bytes(50_000_000)))
    return {
        "good.nii.gz": Reason.RECONSTRUCTED,
        "cut.nii.gz": Reason.UNREADABLE,
        "nan.nii": Reason.NOT_FINITE,
        "series.nii": Reason.UNSUPPORTED,
        "complex.nii": Reason.UNSUPPORTED,
        "blank.nii": Reason.NO_SIGNAL,
        "negative.nii": Reason.NO_SIGNAL,
        "loud.nii": Reason.IMPLAUSIBLE,
        "claims.nii.gz": Reason.IMPLAUSIBLE,
        "bomb.nii.gz": Reason.IMPLAUSIBLE,
    }


SERIES: dict[str, tuple[Edit, Reason]] = {
    "1.2.2": (everywhere(Modality="CT"), Reason.UNSUPPORTED),
    "1.2.3": (gap, Reason.INCOMPLETE),
    "1.2.4": (at(1, PixelData=bytes(4)), Reason.UNREADABLE),
    "1.2.5": (at(2, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), Reason.UNSUPPORTED),
    "1.2.6": (everywhere(PixelData=bytes(192)), Reason.NO_SIGNAL),
    "1.2.7": (everywhere(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", NumberOfFrames=2), Reason.UNSUPPORTED),
    "1.2.8": (at(3, ImagePositionPatient=[10, -20, 30], EchoNumbers=2), Reason.UNSUPPORTED),
}


def damaged_series(ward: Path) -> dict[str, Reason]:
    """The same of DICOM series, each in a folder; the files of two good ones lie mixed, and one file lies elsewhere."""
    good = series_of(ward / "a", "1.2.0")
    mixed = series_of(ward / "a" / "b", "1.2.1")
    mixed[1].rename(ward / "elsewhere")
    for name, (edit, _) in SERIES.items():
        series_of(ward / name, name, edit)
    twice = series_of(ward / "twice", "1.2.9")
    shutil.copy(twice[0], ward / "again")
    (ward / "cut.dcm").write_bytes(good[0].read_bytes()[:200])
    (ward / "a" / "IM999").touch()
    return {
        "a": Reason.RECONSTRUCTED,
        "a/IM999": Reason.UNREADABLE,
        "elsewhere": Reason.RECONSTRUCTED,
        "again": Reason.DUPLICATE,
        "cut.dcm": Reason.UNREADABLE,
        **{name: reason for name, (_, reason) in SERIES.items()},
    }


def series_of(folder: Path, name: str, edit: Edit = lambda *_: None) -> list[Path]:
    """A series of its own."""

    def both(number: int, one: Any) -> None:
        one.SeriesInstanceUID = name
        edit(number, one)

    return some_series(folder, both)


def lies_in(first: str) -> str:
    """Where a series lies, by the first of its files."""
    return first if first.endswith("999") else first.split("/")[0]
