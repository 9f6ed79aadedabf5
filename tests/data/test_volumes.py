import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mri_n2n.data.volumes import find_volumes, read_volume, write_volume
from mri_n2n.errors import BadVolume, Problem, UsageError


def nifti(path: Path, array: np.ndarray, *, codes: tuple[int, int] = (1, 2), slope: float | None = None) -> Path:
    affine = np.array([[0, -1.5, 0, 3], [1.2, 0, 0, -7], [0, 0.1, 2, 11], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(array, affine)
    image.set_qform(affine, code=codes[0], strip_shears=True)
    image.set_sform(affine, code=codes[1])
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"DOE^JANE 19700101"
    if slope:
        image.header.set_slope_inter(slope, 0)
    image.to_filename(path)
    return path


def ramp(shape: tuple[int, ...] = (7, 6, 5), dtype: type = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_geometry_survives(tmp_path: Path, name: str) -> None:
    source = nifti(tmp_path / name, ramp())
    volume = read_volume(source)
    write_volume(tmp_path / "out.nii.gz", volume.array, volume, "mri-n2n")
    before, after = nibabel.load(source), nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(before.affine, after.affine)
    for form in ("qform", "sform"):
        np.testing.assert_allclose(getattr(before, f"get_{form}")(), getattr(after, f"get_{form}")())
        assert before.header[f"{form}_code"] == after.header[f"{form}_code"]
    assert before.header.get_zooms() == after.header.get_zooms()
    assert before.header.get_xyzt_units() == after.header.get_xyzt_units()
    assert after.get_data_dtype() == np.float32
    np.testing.assert_array_equal(before.get_fdata(), after.get_fdata())


def test_equal_volumes_make_equal_files(tmp_path: Path) -> None:
    volume = read_volume(nifti(tmp_path / "a.nii", ramp()))
    first, second = tmp_path / "first.nii.gz", tmp_path / "second.nii.gz"
    write_volume(first, volume.array, volume, "x")
    write_volume(second, volume.array, volume, "x")
    assert first.read_bytes() == second.read_bytes()


def test_names_in_the_header_do_not_survive(tmp_path: Path) -> None:
    volume = read_volume(nifti(tmp_path / "a.nii", ramp()))
    write_volume(tmp_path / "out.nii", volume.array, volume, "mri-n2n: not for diagnostic use")
    assert b"JANE" not in (tmp_path / "out.nii").read_bytes()
    assert nibabel.load(tmp_path / "out.nii").header["descrip"].item().startswith(b"mri-n2n")


def test_slope_and_range(tmp_path: Path) -> None:
    """Intensities are the scaled ones, and what is written stays within what the source could hold."""
    values = ramp(dtype=np.float32) * 0.5
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.header.set_data_dtype(np.uint8)  # nibabel finds a slope
    image.to_filename(tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.array, values, atol=0.3)
    low, high = volume.stored_range
    assert low == pytest.approx(0, abs=1e-3)
    assert high == pytest.approx(values.max(), rel=0.02)
    write_volume(tmp_path / "out.nii", volume.array * 3 - 20, volume, "x")
    written = nibabel.load(tmp_path / "out.nii").get_fdata()
    assert written.min() == pytest.approx(low, abs=1e-3)
    assert written.max() == pytest.approx(high, rel=1e-6)


def test_mgz_both_ways(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    nibabel.MGHImage(ramp(dtype=np.float32), affine).to_filename(tmp_path / "a.mgz")
    volume = read_volume(tmp_path / "a.mgz")
    for name in ("out.mgz", "out.nii.gz"):
        write_volume(tmp_path / name, volume.array, volume, "x")
        again = read_volume(tmp_path / name)
        np.testing.assert_allclose(again.affine, affine)
        np.testing.assert_array_equal(again.array, volume.array)


def with_bad_voxel(value: float) -> np.ndarray:
    array = ramp(dtype=np.float32)
    array[3, 2, 1] = value
    return array


BAD = {
    "4-D": ramp((4, 4, 4, 2)),
    "2-D": ramp((4, 4)),
    "complex": ramp().astype(np.complex64) * (1 + 1j),
    "constant": np.full((4, 4, 4), 7, np.int16),
    "NaN": with_bad_voxel(np.nan),
    "infinite": with_bad_voxel(np.inf),
    "no positive": -1 - ramp(),
    "single precision": ramp(dtype=np.float64) * 1e300,
    "beyond single": ramp(dtype=np.float64) * 1e-300,
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_volumes(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadVolume, match=kind) as caught:
        read_volume(nifti(tmp_path / "a.nii.gz", BAD[kind], codes=(1, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 348, 400, -10])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated(tmp_path: Path, name: str, keep: int) -> None:
    path = nifti(tmp_path / name, np.random.default_rng(0).integers(0, 3000, (20, 20, 20)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadVolume, match="cannot be read") as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"hello", b"\x1f\x8b junk", gzip.compress(b"not a volume" * 100, mtime=0), bytes(5000)]
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz"])
def test_not_a_volume(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadVolume) as caught:
        read_volume(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_its_header_cannot_mean(tmp_path: Path, name: str) -> None:
    image: Any = nibabel.Nifti1Image(ramp(), np.eye(4))
    image.to_filename(tmp_path / "good.nii")
    content = bytearray((tmp_path / "good.nii").read_bytes())
    packed = (lambda some: some) if name.endswith(".nii") else (lambda some: gzip.compress(some, mtime=0))
    early, flat = bytearray(content), bytearray(content)
    early[108:112] = np.float32(0).tobytes()  # where the voxels begin
    flat[280:328] = bytes(48)  # the affine
    for damage, message, problem in (
        (early, "within its header", Problem.DAMAGED),
        (flat, "or flat", Problem.IMPLAUSIBLE),
    ):
        (tmp_path / name).write_bytes(packed(bytes(damage)))
        with pytest.raises(BadVolume, match=message) as caught:
            read_volume(tmp_path / name)
        assert caught.value.problem is problem


def test_find(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no volumes"):
        find_volumes(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        find_volumes(tmp_path / "absent")
    (tmp_path / "b").mkdir()
    (tmp_path / ".trash").mkdir()
    for name in ("b/c.nii", "a.NII.GZ", ".hidden.nii", ".trash/d.nii", "readme.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_volumes(tmp_path)] == ["a.NII.GZ", "c.nii"]
