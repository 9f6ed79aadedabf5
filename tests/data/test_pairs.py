"""Real pairs, made from heads with known noise and a known small motion."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from mri_n2n.data.pairs import prepare_pairs, register
from mri_n2n.data.phantom import draw_head
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slices import open_prepared
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.data.volumes import read_volume
from mri_n2n.errors import BadVolume, UsageError

SOME = SliceRequest(18, 23)
SIGMA = 0.04


def rotated(array: np.ndarray, degrees: float, shift: tuple[float, float, float]) -> np.ndarray:
    """`array` turned about the third axis through its centre, then moved by `shift` voxels."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    centre = (np.array(array.shape) - 1) / 2
    return affine_transform(array, matrix.T, offset=centre - matrix.T @ (centre + np.array(shift)), order=3)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nibabel.Nifti1Image(array.astype(np.float32), np.diag([-2.0, 2.0, 2.5, 1.0])).to_filename(path)


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + SIGMA * rng.standard_normal(image.shape)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects scanned twice.

    Noise of σ = 0.04, the second scan turned by 2°, moved by (1.5, -0.75, 0) voxels and brighter.
    """
    folder = tmp_path_factory.mktemp("scans")
    for number in range(3):
        rng = np.random.default_rng(number)
        head = draw_head((64, 64, 48), rng) / 255.0

        write(folder / "a" / f"s{number}.nii.gz", noisy(head, rng) * 800)
        write(folder / "b" / f"s{number}.nii.gz", noisy(rotated(head, 2.0, (1.5, -0.75, 0.0)), rng) * 1000)
    return folder


def test_known_motion_is_found_and_undone(scans: Path) -> None:
    first, second = (read_volume(scans / side / "s0.nii.gz") for side in "ab")
    (_, aligned), motion = register(first, second)
    assert motion.rotation_degrees == pytest.approx(2.0, abs=0.15)
    assert motion.translation_mm == pytest.approx(np.hypot(3.0, 1.5), abs=0.2)  # mm
    assert motion.gain == pytest.approx(1.25, rel=0.02)
    inside = np.s_[8:56, 8:56, 8:40]
    before = np.std(first.array[inside] - second.array[inside] / 1.25) / 800
    after = np.std(first.array[inside] - aligned[inside]) / 800
    assert before > 2 * after
    assert after < 1.5 * SIGMA * np.sqrt(2)  # what two independent noises leave


def test_prepared_pairs(scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = prepare_pairs(scans / "a", scans / "b", tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME, 16))
    data = open_prepared(tmp_path / "data")
    assert data.array.shape == (18, 2, 64, 64)
    assert data.array.dtype == np.uint16
    assert manifest.volumes[0].notes["rotation_degrees"] == pytest.approx(2.0, abs=0.15)
    assert "train-001: rotation_degrees" in capfd.readouterr().err
    noise = (data.array[:, 0].astype(float) - data.array[:, 1].astype(float))[:, 16:48, 16:48]
    assert abs(noise.mean()) < 0.2 * noise.std()  # neither scan is brighter


def test_pairs_that_do_not_align_are_refused(scans: Path, tmp_path: Path) -> None:
    a, b = shutil.copytree(scans / "a", tmp_path / "a"), shutil.copytree(scans / "b", tmp_path / "b")
    rng = np.random.default_rng(7)
    write(b / "s0.nii.gz", rng.random((64, 64, 48)))  # nothing but noise
    shutil.copy(a / "s1.nii.gz", a / "s4.nii.gz")
    shutil.copy(a / "s1.nii.gz", b / "s4.nii.gz")  # one scan twice
    write(a / "s3.nii.gz", draw_head((64, 64, 48), rng))
    other = draw_head((64, 64, 48), rng)
    write(b / "s3.nii.gz", np.rot90(other, axes=(0, 2))[:, :, :48])  # another head, lying on its side
    split = SplitRequest(assigned={"s0": "train", "s1": "train", "s2": "validation", "s3": "train", "s4": "train"})
    manifest = prepare_pairs(a, b, tmp_path / "data", PrepareRequest(split, SOME, 16))
    assert [volume.sources[0]["file"] for volume in manifest.volumes] == ["s1.nii.gz", "s2.nii.gz"]
    reasons = {skipped["file"]: skipped["reason"] for skipped in manifest.skipped}
    assert set(reasons) == {"s0.nii.gz", "s3.nii.gz", "s4.nii.gz"}
    assert "same scan" in reasons.pop("s4.nii.gz")
    for reason in reasons.values():
        assert "align" in reason or "overlap" in reason or "too far" in reason


def test_truncated_input_is_noticed_before_registration(scans: Path, tmp_path: Path) -> None:
    a, b = shutil.copytree(scans / "a", tmp_path / "a"), shutil.copytree(scans / "b", tmp_path / "b")
    path = b / "s1.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadVolume, match="truncated"):
        prepare_pairs(a, b, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME, 16, strict=True))


def test_names_must_match(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        prepare_pairs(scans / "a", scans / "a", tmp_path / "data")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(scans / "b" / "s0.nii.gz", other / "t0.nii.gz")
    with pytest.raises(UsageError, match="no file"):
        prepare_pairs(scans / "a", other, tmp_path / "data")


def test_the_affine_matters(scans: Path) -> None:
    """The second scan stored with flipped axes is the same head in the world, and registers as such."""
    first, second = (read_volume(scans / side / "s0.nii.gz") for side in "ab")
    flipped = np.ascontiguousarray(second.array[::-1, :, ::-1])
    affine = second.affine @ np.array([[-1, 0, 0, 63], [0, 1, 0, 0], [0, 0, -1, 47], [0, 0, 0, 1.0]])
    _, motion = register(first, type(second)(flipped, affine, second.header, second.stored_range, second.sha256))
    assert motion.rotation_degrees == pytest.approx(2.0, abs=0.15)
