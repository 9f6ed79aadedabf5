"""Raw k-space of any format through one door: the same scan is read from all of them, and damage is named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest
from conftest import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_files import Samples, centred, flat_header, some_slices, write_cfl, write_fastmri, write_flat_mrd

from mri_n2n.data.mrd import write_scan
from mri_n2n.data.raw import content_sha256, files_of, read_scan
from mri_n2n.data.scan import Scan
from mri_n2n.errors import BadVolume, Problem

MILLIMETRE = (1.0, 1.0, 1.0)


def as_cfl(samples: Samples) -> Samples:
    """One slice as readout, phase encoding, one second phase encoding and coils."""
    return centred(samples).transpose(3, 2, 1, 0)


def read_from_all(samples: Samples, folder: Path) -> dict[str, Scan]:
    """One slice, written in every format and read again."""
    write_cfl(folder / "a.cfl", as_cfl(samples))
    write_fastmri(folder / "a.h5", samples, MILLIMETRE)
    write_flat_mrd(folder / "b.h5", samples, MILLIMETRE, oriented=False)
    return {name: read_scan(folder / name) for name in ("a.cfl", "a.h5", "b.h5")}


def check_alike(scans: dict[str, Scan], samples: Samples) -> None:
    _, slices, rows, columns = samples.shape
    for name, scan in scans.items():
        np.testing.assert_array_equal(scan.samples, samples, err_msg=name)
        np.testing.assert_array_equal(scan.mask, samples.any(axis=(0, 1)))
        np.testing.assert_allclose(scan.affine, scans["b.h5"].affine, atol=1e-6)
        assert (scan.size, scan.encoded, scan.decay) == ((rows, columns, slices), False, None)
        assert scan.notes


def test_a_real_scan_is_the_same_in_every_format(tmp_path: Path) -> None:
    """Eight coils of a head, 12 % of k-space."""
    path = SHARED / "mri" / "kspace" / "sigpy_cartesian_ksp.npy"
    if not path.is_file():
        pytest.skip(f"no real k-space at {path}: set MRI_N2N_SHARED_DATA")
    samples = np.fft.ifftshift(np.load(path), axes=(1, 2))[:, None]
    scans = read_from_all(samples, tmp_path)
    check_alike(scans, samples)
    assert 0.12 < scans["a.cfl"].mask.mean() < 0.13
    assert not {"DOE^JANE"} & {word for scan in scans.values() for note in scan.notes for word in note.split()}
    # the image is a head in the middle, and the same whatever is done with numpy alone
    image = np.sqrt((np.abs(np.fft.fftshift(np.fft.ifft2(samples[:, 0]), axes=(1, 2))) ** 2).sum(0))
    assert image[75:155, 55:125].mean() > 3 * np.concatenate([image[:, :8], image[:, -8:]]).mean()


@given(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9), st.integers(0, 100))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_in_every_format(tmp_path: Path, coils: int, rows: int, columns: int, seed: int) -> None:
    samples = some_slices(coils, 1, rows, columns, seed)
    check_alike(read_from_all(samples, tmp_path), samples)


def test_slices_of_fastmri(tmp_path: Path) -> None:
    samples = some_slices(coils=2, slices=4)
    samples[:, 3] = 0  # blank, as above the head
    write_fastmri(tmp_path / "a.h5", samples)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = ismrmrd.xsd.ToXML(flat_header(samples, (1.5, 2.0, 4.0), 4), encoding="utf-8")
        file["mask"] = centred(samples).any(axis=(0, 1, 3))
    scan = read_scan(tmp_path / "a.h5")
    np.testing.assert_array_equal(scan.samples, samples)
    np.testing.assert_array_equal(scan.mask, samples.any(axis=(0, 1)))
    assert scan.size == (6, 4, 4)  # the readout is oversampled twice
    np.testing.assert_allclose(scan.affine @ [3, 2, 2, 1], [0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(scan.affine[:3, :3], np.diag([-1.5, -2.0, 4.0]))


def test_without_a_header_voxels_are_a_millimetre(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = centred(some_slices(coils=1, slices=2))[0].transpose(0, 2, 1)
    scan = read_scan(tmp_path / "a.h5")
    assert "1 mm" in scan.notes[0]
    np.testing.assert_allclose(np.abs(np.linalg.det(scan.affine)), 1)


def test_another_matrix_in_the_header_is_said(tmp_path: Path) -> None:
    samples = some_slices()
    write_fastmri(tmp_path / "a.h5", samples)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["ismrmrd_header"]
        other = flat_header(some_slices(rows=12, columns=16), (0.75, 1.0, 4.0))
        file["ismrmrd_header"] = ismrmrd.xsd.ToXML(other, encoding="utf-8")
    scan = read_scan(tmp_path / "a.h5")
    assert "another matrix" in scan.notes[1]
    assert scan.size == (6, 8, 3)
    np.testing.assert_allclose(scan.affine[:3, :3], np.diag([-1.5, -2.0, 4.0]))


@given(st.tuples(st.integers(1, 5), st.integers(2, 6), st.integers(2, 6), st.integers(1, 3)), st.integers(0, 100))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_volume_of_cfl(tmp_path: Path, shape: tuple[int, int, int, int], seed: int) -> None:
    """Readout, two phase encodings, coils, lines left out."""
    rng = np.random.default_rng(seed)
    stored = (rng.standard_normal(shape) + 1j).astype(np.complex64)
    acquired = rng.random(shape[1:3]) < 0.5
    acquired[0, 0] = True
    write_cfl(tmp_path / "a.cfl", np.where(acquired[:, :, None], stored, 0).astype(np.complex64))
    scan = read_scan(tmp_path / "a.cfl")
    np.testing.assert_array_equal(scan.mask, np.fft.ifftshift(acquired))
    centre = tuple(size // 2 for size in shape[:3])
    np.testing.assert_array_equal(scan.samples[:, 0, 0, 0], stored[centre] * acquired[centre[1:]])
    assert scan.size == (*shape[1:3], shape[0])
    assert scan.encoded
    assert files_of(tmp_path / "a.cfl") == (tmp_path / "a.cfl", tmp_path / "a.hdr")
    before = scan.sha256
    assert before == content_sha256(tmp_path / "a.cfl")
    (tmp_path / "a.hdr").write_text((tmp_path / "a.hdr").read_text() + "# Files\n")
    assert read_scan(tmp_path / "a.cfl").sha256 != before


def in_fastmri(change: Callable[[h5py.File], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_fastmri(folder / "a.h5", some_slices())
        with h5py.File(folder / "a.h5", "r+") as file:
            change(file)

    return write


def replaced(name: str, content: Any) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = content

    return in_fastmri(change)


def stated(shape: tuple[int, ...], chunks: tuple[int, ...] | None = None) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file["kspace"]
        file.create_dataset("kspace", shape, np.complex64, chunks=chunks)

    return in_fastmri(change)


def in_cfl(words: str | None = None, stored: Any = None, cut: int = 0, header: bytes = b"") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        whole = np.ones((4, 4, 1, 2), np.complex64) if stored is None else stored
        write_cfl(folder / "a.cfl", whole, words)
        if cut:
            (folder / "a.cfl").write_bytes((folder / "a.cfl").read_bytes()[:-cut])
        if header:
            (folder / "a.hdr").write_bytes(header)

    return write


def without_header(folder: Path) -> None:
    in_cfl()(folder)
    (folder / "a.hdr").unlink()


def volume_beside(folder: Path) -> None:
    write_fastmri(folder / "b.h5x", some_slices())
    with h5py.File(folder / "a.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink("b.h5x", "kspace")


NAN = np.full((4, 4, 1, 2), np.nan, np.complex64)
HALF = np.ones((4, 4, 2, 2), np.complex64)
HALF[:2] = 0
UNEVEN = some_slices().transpose(1, 0, 3, 2).copy()
UNEVEN[0, :, :, 1] = 0


@pytest.mark.parametrize(
    ("write", "problem", "message"),
    [
        (replaced("kspace", np.ones((2, 3, 4), np.float32)), Problem.UNSUPPORTED, "float32"),
        (replaced("kspace", np.ones((2, 2, 2, 3, 4), np.complex64)), Problem.UNSUPPORTED, "5-D"),
        (replaced("kspace", np.zeros((2, 2, 3, 4), np.complex64)), Problem.NO_SIGNAL, "zero"),
        (replaced("kspace", np.full((2, 2, 3, 4), np.inf, np.complex64)), Problem.NOT_FINITE, "infinite"),
        (replaced("kspace", UNEVEN), Problem.UNSUPPORTED, "one mask"),
        (replaced("mask", np.zeros(6)), Problem.DAMAGED, "outside the mask"),
        (replaced("mask", np.zeros(7)), Problem.DAMAGED, "does not fit"),
        (replaced("ismrmrd_header", "<a>"), Problem.UNREADABLE, "header"),
        (replaced("kspace", np.ones((1, 1, 2, 3000), np.complex64)), Problem.IMPLAUSIBLE, "not plausible"),
        (replaced("kspace", np.ones((3, 8, 1), np.complex64)), Problem.IMPLAUSIBLE, "not plausible"),
        (stated((1000, 32, 2000, 2000), (1, 1, 100, 100)), Problem.DAMAGED, "does not hold"),
        (stated((100, 8, 200, 200)), Problem.DAMAGED, "does not hold"),
        (volume_beside, Problem.UNSUPPORTED, "outside itself"),
        (without_header, Problem.INCOMPLETE, "lacks"),
        (in_cfl(cut=8), Problem.DAMAGED, "bytes long"),
        (in_cfl("4 4 2 2"), Problem.DAMAGED, "bytes long"),
        (in_cfl("4 4 1 1 2"), Problem.UNSUPPORTED, "coils alone"),
        (in_cfl("16 1 1 2"), Problem.IMPLAUSIBLE, "not plausible"),
        (in_cfl("2000 2000 2000 2000"), Problem.IMPLAUSIBLE, "not plausible"),
        (in_cfl("4 4 0 2"), Problem.IMPLAUSIBLE, "not plausible"),
        (in_cfl("-4 -4 1 2"), Problem.UNREADABLE, "no dimensions"),
        (in_cfl(header=b"# Dimensions\n"), Problem.UNREADABLE, "no dimensions"),
        (in_cfl(header=b"\xff" * 100), Problem.UNREADABLE, "no dimensions"),
        (in_cfl(stored=HALF), Problem.UNSUPPORTED, "lack 2 of 4 samples"),
        (in_cfl(stored=NAN), Problem.NOT_FINITE, "NaN"),
        (in_cfl(stored=0 * np.ones((4, 4, 1, 2), np.complex64)), Problem.NO_SIGNAL, "zero"),
    ],
)
def test_what_is_refused_is_named(
    tmp_path: Path, write: Callable[[Path], None], problem: Problem, message: str
) -> None:
    write(tmp_path)
    (path,) = (*tmp_path.glob("a.h5"), *tmp_path.glob("a.cfl"))
    with pytest.raises(BadVolume, match=message) as refusal:
        read_scan(path)
    assert refusal.value.problem is problem
    assert str(refusal.value).startswith(f"{path} ")


def test_what_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("Dear colleague,")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"] = 1
    shutil.copy(tmp_path / "a.h5", tmp_path / "c.mrd")
    for name in ("a.h5", "b.h5", "c.mrd"):
        with pytest.raises(BadVolume, match="raw data"):
            read_scan(tmp_path / name)


def test_isrmrmd_volumes_come_through_the_same_door(tmp_path: Path) -> None:
    samples = np.ones((1, 4, 3, 2), np.complex64)
    scan = Scan(samples, np.ones((3, 2), bool), (3, 2, 4), np.eye(4), 0.0, 1.0, simulated=False)
    write_scan(tmp_path / "a.mrd", scan, {})
    np.testing.assert_array_equal(read_scan(tmp_path / "a.mrd").samples, samples)
