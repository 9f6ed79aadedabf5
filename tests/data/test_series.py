"""DICOM series in folders: each is a volume, to simulate scans of and to reconstruct as NIfTI."""

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conftest import SHARED
from dicom_files import everywhere, gap, some_series

from mri_n2n.data.dicom import read_series
from mri_n2n.data.mrd import read_scan
from mri_n2n.data.series import find_series, series_names
from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import zero_filled
from mri_n2n.recipes import Recipe, undersampling_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.scans import scanned_volume
from mri_n2n.simulation import simulate_path
from mri_n2n.task import Undersampling

CPU = torch.device("cpu")


@pytest.fixture
def full(tiny_recipe: Recipe) -> Reconstructor:
    """With every frequency acquired the network changes nothing."""
    from dataclasses import replace

    recipe = replace(tiny_recipe, task=undersampling_task(acceleration=1.0))
    return Reconstructor(recipe.network.build(), recipe, CPU, simulate=True)


def ward(folder: Path) -> Path:
    """Two series in one folder, one beside, a volume in a file, and what is none of these."""
    some_series(folder / "a")
    for path in some_series(folder / "other", everywhere(SeriesInstanceUID="1.2.1"), seed=1):
        path.rename(folder / "a" / f"x{path.name}")
    (folder / "other").rmdir()
    some_series(folder / "b" / "t1.5", everywhere(SeriesInstanceUID="1.2.2"), seed=2)
    array = np.random.default_rng(0).random((8, 9, 4)).astype(np.float32)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(folder / "c.nii.gz")
    (folder / "a" / "readme.txt").write_text("of nobody")
    return folder


def test_series_are_found_and_called_after_their_folders(tmp_path: Path) -> None:
    source = ward(tmp_path / "ward")
    found = find_series(source, (".nii.gz",))
    assert sorted(len(files) for files in found.values()) == [5, 5, 5]
    names = sorted(name.as_posix() for name in series_names(source, found).values())
    assert names[2] == "b/t1.5"
    assert [name.split("-")[0] for name in names[:2]] == ["a/series", "a/series"]
    assert len(set(names)) == 3
    assert [name.name for name in series_names(source / "b", find_series(source / "b", ())).values()] == ["t1.5"]
    assert find_series(source / "c.nii.gz", ()) == {}


def test_a_folder_with_one_series_is_a_volume(full: Reconstructor, tmp_path: Path) -> None:
    files = some_series(tmp_path / "t1")
    reconstruct_path(full, tmp_path / "t1", tmp_path / "out.nii.gz", {})
    source = read_series(files).volume
    written: Any = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-4)
    np.testing.assert_allclose(written.get_fdata(), source.array, atol=0.5)
    assert b"SIMULATED" in written.header["descrip"].item()
    assert reconstruct_path(full, tmp_path / "t1", tmp_path / "out.nii.gz", {}) == []  # nothing is done twice
    files[0].unlink()  # now a slice at the end is missing: another volume
    with pytest.raises(UsageError, match="--overwrite"):
        reconstruct_path(full, tmp_path / "t1", tmp_path / "out.nii.gz", {})
    simulate_path(tmp_path / "t1", tmp_path / "scans", Undersampling(4.0, None), 0)
    assert [path.name for path in sorted((tmp_path / "scans").iterdir())] == ["t1.h5", "t1.h5.json"]


def test_several_series_are_several_volumes(
    full: Reconstructor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ward(tmp_path / "ward")
    done = reconstruct_path(full, source, tmp_path / "out", {})
    assert len(done) == 4
    assert "`mri-n2n batch` makes DICOM series" in capsys.readouterr().err
    assert (tmp_path / "out/b/t1.5.nii.gz").exists()
    assert (tmp_path / "out/c.nii.gz").exists()
    jobs = simulate_path(source, tmp_path / "scans", Undersampling(1.0, None), 0)
    assert len(jobs) == 4
    assert simulate_path(source, tmp_path / "scans", Undersampling(1.0, None), 0) == []
    scan = read_scan(tmp_path / "scans/b/t1.5.h5")
    volume = read_series(sorted((source / "b" / "t1.5").iterdir())).volume
    np.testing.assert_allclose(scan.affine, volume.affine, atol=1e-3)
    images = zero_filled(scanned_volume(scan).measurement)
    np.testing.assert_allclose(np.moveaxis(images.numpy(), 0, -1), volume.array, atol=0.1)
    assert b"DOE^JANE" not in (tmp_path / "scans/b/t1.5.h5").read_bytes()


def test_a_bad_series_harms_no_other(full: Reconstructor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some_series(tmp_path / "in" / "good")
    some_series(tmp_path / "in" / "gap", lambda number, one: (everywhere(SeriesInstanceUID="1.2.1")(number, one),
                                                            gap(number, one)))  # fmt: skip
    with pytest.raises(UsageError, match="1 of 2"):
        reconstruct_path(full, tmp_path / "in", tmp_path / "out", {})
    assert f"skipped: {tmp_path / 'in' / 'gap'} has a gap" in capsys.readouterr().err
    assert (tmp_path / "out/good.nii.gz").exists()
    one = next((tmp_path / "in" / "good").iterdir())
    with pytest.raises(UsageError, match="one file of a DICOM series"):
        reconstruct_path(full, one, tmp_path / "x.nii.gz", {})
    plain = Reconstructor(full.network, full.recipe, CPU)
    with pytest.raises(UsageError, match="in holds DICOM images.*--simulate"):
        reconstruct_path(plain, tmp_path / "in", tmp_path / "x", {})


def test_a_real_series(full: Reconstructor, tmp_path: Path) -> None:
    source = SHARED / "mri" / "dicom" / "mprage-32"
    if not source.is_dir():
        pytest.skip(f"no real series at {source}: set MRI_N2N_SHARED_DATA")
    shutil.copytree(source, tmp_path / "t1")
    (job,) = simulate_path(tmp_path / "t1", tmp_path / "scans", Undersampling(8.0, None), 0)
    scan = read_scan(job.target)
    assert scan.simulated
    (files,) = find_series(tmp_path / "t1", ()).values()
    np.testing.assert_allclose(scan.affine, read_series(files).volume.affine, atol=1e-2)
    assert 0.11 < scan.mask.mean() < 0.14
