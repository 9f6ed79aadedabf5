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
from mri_n2n.data.mrd import write_scan
from mri_n2n.data.scan import Scan
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


def one_for_all(path: Path, field: str, values: int, told: bool) -> None:
    """Every line of a file refers to one long array; told: and its head says so."""
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"]
        first = table[0:1]
        first[field][0] = np.zeros(values, np.float32)
        table[0:1] = first
        size = table.id.get_type().get_size()
        place = table.dtype.fields[field][1]
        (block,) = table.chunks
        raw = {start: bytearray(table.id.read_direct_chunk((start,))[1]) for start in range(0, len(table), block)}
        reference = raw[0][place : place + 16]
        for start, content in raw.items():
            for record in range(0, len(content), size):
                content[record + place : record + place + 16] = reference
            table.id.write_direct_chunk((start,), bytes(content))
        if told:
            for start in range(len(table)):
                line = bytearray(table.id.read_direct_chunk((start // block * block,))[1])
                at = start % block * size + table.dtype["head"].fields["number_of_samples"][1]
                line[at : at + 2] = np.uint16(values // 4).tobytes()
                table.id.write_direct_chunk((start // block * block,), bytes(line))


@pytest.mark.parametrize(
    ("field", "values", "told", "problem"),
    [
        ("data", 500_000, False, Problem.DAMAGED),
        ("data", 4 * 60_000, True, Problem.IMPLAUSIBLE),
        ("traj", 500_000, False, Problem.IMPLAUSIBLE),
    ],
)
@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_lines_that_share_what_they_hold(
    tmp_path: Path, field: str, values: int, told: bool, problem: Problem, writer: str
) -> None:
    """Two megabytes that would be read as hundreds."""
    path = tmp_path / "a.h5"
    if writer == "ours":
        samples = np.ones((2, 4, 16, 16), np.complex64)
        write_scan(path, Scan(samples, np.ones((16, 16), bool), (16, 16, 4), np.eye(4), None, 1.0, simulated=True), {})
    else:
        write_flat_mrd(path, some_slices(coils=2, slices=8, rows=32))
    one_for_all(path, field, values, told)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadVolume) as refusal:
        raw.read_scan(path)
    assert refusal.value.problem is problem
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # kB


def test_a_packed_table_of_lines_is_not_read(tmp_path: Path) -> None:
    write_flat_mrd(tmp_path / "a.h5", some_slices())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        table = file["dataset/data"][()]
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, chunks=(4,), compression="gzip")
    with pytest.raises(BadVolume, match="h5repack"):
        raw.read_scan(tmp_path / "a.h5")


def test_a_table_in_one_piece_is_read(tmp_path: Path) -> None:
    write_flat_mrd(tmp_path / "a.h5", some_slices())
    before = raw.read_scan(tmp_path / "a.h5").samples
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        table = file["dataset/data"][()]
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table)
    np.testing.assert_array_equal(raw.read_scan(tmp_path / "a.h5").samples, before)


@pytest.mark.parametrize("name", ["xml", "data"])
def test_links_within_ismrmrd(tmp_path: Path, name: str) -> None:
    write_flat_mrd(tmp_path / "a.h5", some_slices())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.move(f"dataset/{name}", "elsewhere")
        file["dataset"][name] = h5py.SoftLink("/elsewhere")
    with pytest.raises(BadVolume, match="outside itself"):
        raw.read_scan(tmp_path / "a.h5")
