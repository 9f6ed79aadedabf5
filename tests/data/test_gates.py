"""Whatever is in a file, it is read or refused: no other error, no hang, and no more memory than the file is worth."""

import gzip
import resource
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import NibabelReader  # noqa: F401 (else the first file would be charged for it)
from raw_files import some_slices, write_cfl, write_fastmri, write_flat_mrd

from mri_n2n.data import raw
from mri_n2n.data.volumes import read_volume
from mri_n2n.errors import BadVolume, Problem

bounded = settings(
    max_examples=120, deadline=20000, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
MUCH = 64 << 20  # bytes, for files of a few kilobytes


@contextmanager
def in_little_memory() -> Iterator[None]:
    """Arrays within it take less than `MUCH`."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MUCH
    finally:
        tracemalloc.stop()


def check(read: Callable[[Path], Any], path: Path) -> None:
    """It is read and finite, or refused in one line that begins with its name."""
    with in_little_memory():
        try:
            found = read(path)
        except BadVolume as error:
            refusal = str(error)
        else:
            refusal = ""
    if refusal:
        assert refusal.startswith(str(path))
        assert "\n" not in refusal
        return
    assert np.isfinite(found.samples if hasattr(found, "samples") else found.array).all()
    assert np.isfinite(found.affine).all()


@given(st.data())
@bounded
def test_fastmri(tmp_path: Path, data: st.DataObject) -> None:
    write_fastmri(tmp_path / "a.h5", some_slices())
    (tmp_path / "b.h5").write_bytes(damaged((tmp_path / "a.h5").read_bytes(), data))
    check(raw.read_scan, tmp_path / "b.h5")


@given(st.data())
@bounded
def test_slices_of_ismrmrd(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "a.h5").exists():
        write_flat_mrd(tmp_path / "a.h5", some_slices())
    (tmp_path / "b.h5").write_bytes(damaged((tmp_path / "a.h5").read_bytes(), data))
    check(raw.read_scan, tmp_path / "b.h5")


@given(st.data(), st.sampled_from(["cfl", "hdr"]))
@bounded
def test_cfl(tmp_path: Path, data: st.DataObject, victim: str) -> None:
    write_cfl(tmp_path / "a.cfl", np.ones((4, 3, 2, 2), np.complex64))
    path = tmp_path / f"a.{victim}"
    path.write_bytes(damaged(path.read_bytes(), data))
    check(raw.read_scan, tmp_path / "a.cfl")


@given(st.binary(max_size=200) | st.lists(st.integers(-3, 10**12), max_size=40).map(lambda sizes: str(sizes).encode()))
@bounded
def test_any_header_of_cfl(tmp_path: Path, content: bytes) -> None:
    write_cfl(tmp_path / "a.cfl", np.ones((4, 3, 2, 2), np.complex64))
    (tmp_path / "a.hdr").write_bytes(b"# Dimensions\n" + content.strip(b"[]").replace(b",", b"") + b"\n")
    check(raw.read_scan, tmp_path / "a.cfl")


@given(st.data(), st.booleans(), st.booleans())
@bounded
def test_nifti(tmp_path: Path, data: st.DataObject, packed: bool, header_alone: bool) -> None:
    """Damaged before it is packed, so that gzip's checksum says nothing; the header is where it hurts."""
    array = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    cut = 352 if header_alone else len(content)
    changed = damaged(content[:cut], data) + content[cut:]
    path = tmp_path / ("b.nii.gz" if packed else "b.nii")
    path.write_bytes(gzip.compress(changed, 1) if packed else changed)
    check(read_volume, path)


def sparse(file: h5py.File) -> None:
    """Half a billion values that take no room in the file."""
    file.create_dataset("kspace", (1, 2, 2048, 2**17), np.complex64, chunks=(1, 1, 64, 64))


def nothing_stored(file: h5py.File) -> None:
    file.create_dataset("kspace", (8, 16, 1024, 1024), np.complex64, chunks=(1, 1, 64, 64))


def huge_block(file: h5py.File) -> None:
    file.create_dataset("kspace", (2, 2, 64, 64), np.complex64, chunks=(2, 2, 4096, 40960), maxshape=(None,) * 4)


def linked(file: h5py.File) -> None:
    file["kspace"] = h5py.ExternalLink("/etc/hostname", "kspace")


def soft(file: h5py.File) -> None:
    file["kspace"] = h5py.SoftLink("/kspace")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 2, 8, 8), np.complex64)
    layout[:] = h5py.VirtualSource("/etc/hostname", "kspace", (2, 2, 8, 8))
    file.create_virtual_dataset("kspace", layout)


def external(file: h5py.File) -> None:
    file.create_dataset("kspace", (2, 2, 8, 8), np.complex64, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def inflating(file: h5py.File) -> None:
    """A block that is said to be of 64 kB, and inflates to 256 MB."""
    stored = file.create_dataset("kspace", (1, 2, 64, 64), np.complex64, chunks=(1, 2, 64, 64), compression="gzip")
    stored.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(256 << 20)))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (sparse, Problem.DAMAGED),
        (nothing_stored, Problem.DAMAGED),
        (huge_block, Problem.IMPLAUSIBLE),
        (linked, Problem.UNSUPPORTED),
        (soft, Problem.UNSUPPORTED),
        (virtual, Problem.UNSUPPORTED),
        (external, Problem.UNSUPPORTED),
        (inflating, Problem.IMPLAUSIBLE),
    ],
)
def test_hdf5_that_promises_too_much(tmp_path: Path, make: Callable[[h5py.File], None], problem: Problem) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with in_little_memory(), pytest.raises(BadVolume) as refusal:
        raw.read_scan(tmp_path / "a.h5")
    assert refusal.value.problem is problem
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MUCH >> 10  # kB


@pytest.mark.parametrize("name", ["xml", "data"])
def test_links_within_ismrmrd(tmp_path: Path, name: str) -> None:
    write_flat_mrd(tmp_path / "a.h5", some_slices())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.move(f"dataset/{name}", "elsewhere")
        file["dataset"][name] = h5py.SoftLink("/elsewhere")
    with pytest.raises(BadVolume, match="outside itself"):
        raw.read_scan(tmp_path / "a.h5")
