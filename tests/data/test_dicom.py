"""DICOM MR series: geometry and values in, conformant derived series out, and damage is named."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import SHARED
from damage import damaged
from dicom_files import ALONG, SERIES, Edit, aside, at, everywhere, faults, gap, some_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset

from mri_n2n.data.dicom import files_sha256, find_series, is_dicom, read_series, write_series
from mri_n2n.data.dicom.finding import Found
from mri_n2n.errors import BadVolume, Problem

LABEL = "mri-n2n: SIMULATED undersampling, made by a network; not for diagnostic use"
MADE = {"run": "r", "weights_sha256": "ab", "step": 3}


@pytest.fixture
def mprage() -> Path:
    """32 real slices."""
    path = SHARED / "mri" / "dicom" / "mprage-32"
    if not path.is_dir():
        pytest.skip(f"no DICOM at {path}: set MRI_N2N_SHARED_DATA")
    return path


def test_every_pixel_lies_where_its_file_says(tmp_path: Path) -> None:
    files = some_series(tmp_path / "in")
    series = read_series(files)
    volume = series.volume
    assert volume.array.shape == (8, 12, 5)
    assert volume.stored_range == (0.0, 4095.0)
    for place, path in enumerate(series.files):
        dataset = pydicom.dcmread(path)
        for column, row in ((0, 0), (7, 0), (3, 11)):
            assert volume.array[column, row, place] == dataset.pixel_array[row, column]
            along = np.array(ALONG).reshape(2, 3)
            lps = np.array(dataset.ImagePositionPatient, float) + column * 1.25 * along[0] + row * 0.75 * along[1]
            ras = (volume.affine @ [column, row, place, 1])[:3]
            np.testing.assert_allclose(ras, lps * [-1, -1, 1], atol=1e-5)


def test_values_are_the_files_own(tmp_path: Path) -> None:
    def scaled(number: int, one: Dataset) -> None:
        one.RescaleSlope, one.RescaleIntercept = f"{2 + number}", "-10"

    series = read_series(some_series(tmp_path / "in", scaled))
    dataset = pydicom.dcmread(series.files[2])
    expected = dataset.pixel_array * float(dataset.RescaleSlope) - 10
    np.testing.assert_allclose(series.volume.array[:, :, 2].T, expected)
    # written with one slope for all, and so one brightness
    (tmp_path / "out").mkdir()
    files = write_series(tmp_path / "out", series.volume.array, series, LABEL, "key", MADE)
    assert {str(pydicom.dcmread(path).RescaleSlope) for path in files} == {"6"}
    np.testing.assert_allclose(read_series(files).volume.array, series.volume.array, atol=3.01)


@given(seed=st.integers(0, 100), slices=st.integers(1, 4))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_and_read_again(tmp_path: Path, seed: int, slices: int) -> None:
    shutil.rmtree(tmp_path / "in", ignore_errors=True)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    (tmp_path / "out").mkdir()
    series = read_series(some_series(tmp_path / "in", seed=seed, slices=slices))
    files = write_series(tmp_path / "out", series.volume.array + 0.3, series, LABEL, "key", MADE)
    again = read_series(files)
    np.testing.assert_allclose(again.volume.affine, series.volume.affine, atol=1e-4)
    np.testing.assert_array_equal(again.volume.array, series.volume.array)


def test_the_derived_series_says_what_it_is(tmp_path: Path) -> None:
    source = read_series(some_series(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    files = write_series(tmp_path / "out", source.volume.array, source, LABEL, "key", MADE)
    datasets = [pydicom.dcmread(path) for path in files]
    for place, (derived, original) in enumerate(zip(datasets, map(pydicom.dcmread, source.files), strict=True)):
        for name in ("StudyInstanceUID", "PatientName", "FrameOfReferenceUID", "ImagePositionPatient"):
            assert derived[name].value == original[name].value
        assert derived.SOPInstanceUID == derived.file_meta.MediaStorageSOPInstanceUID != original.SOPInstanceUID
        assert derived.ImageType[0] == "DERIVED"
        assert derived.InstanceNumber == place + 1
        assert derived.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
        assert derived.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        equipment = derived.ContributingEquipmentSequence[-1]
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert "weights_sha256=ab" in equipment.ContributionDescription
        assert derived.DerivationDescription == LABEL
        assert "not for diagnostic use" in derived.SeriesDescription
        assert not [element for element in derived.iterall() if element.tag.is_private]
    assert len({derived.SOPInstanceUID for derived in datasets}) == 5
    assert len({derived.SeriesInstanceUID for derived in datasets} | {SERIES}) == 2
    for name in ("WindowCenter", "WindowWidth", "SeriesDescription", "SeriesNumber"):
        assert len({str(derived[name].value) for derived in datasets}) == 1


def test_uids_repeat_and_depend_on_what_made_them(tmp_path: Path) -> None:
    source = read_series(some_series(tmp_path / "in"))
    contents = []
    for name, key in (("a", "one"), ("b", "one"), ("c", "another")):
        (tmp_path / name).mkdir()
        files = write_series(tmp_path / name, source.volume.array, source, LABEL, key, MADE)
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
    first, other = (pydicom.dcmread(tmp_path / name / "00001.dcm") for name in ("a", "c"))
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID != other.SeriesInstanceUID


def test_what_does_not_fit_is_clipped(tmp_path: Path) -> None:
    source = read_series(some_series(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    array = np.where(source.volume.array > 2000, 1e6, -1e6).astype(np.float32)
    again = read_series(write_series(tmp_path / "out", array, source, LABEL, "key", MADE))
    assert set(np.unique(again.volume.array)) == {0.0, 4095.0}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="no dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("real", [False, True])
def test_the_derived_series_conforms(tmp_path: Path, request: pytest.FixtureRequest, real: bool) -> None:
    files = list(request.getfixturevalue("mprage").iterdir()) if real else some_series(tmp_path / "in")
    source = read_series(files)
    (tmp_path / "out").mkdir()
    assert faults(write_series(tmp_path / "out", source.volume.array * 0.9, source, LABEL, "key", MADE)) == []


@pytest.mark.skipif(not shutil.which("dcm2niix"), reason="no dcm2niix")
def test_another_program_makes_one_volume_of_it(tmp_path: Path, mprage: Path) -> None:
    source = read_series(list(mprage.iterdir()))
    for name in ("out", "nii"):
        (tmp_path / name).mkdir()
    write_series(tmp_path / "out", source.volume.array, source, LABEL, "key", MADE)
    volumes: list[Any] = []
    for folder in (mprage, tmp_path / "out"):
        asked = ["dcm2niix", "-z", "n", "-b", "n", "-f", folder.name, "-o", tmp_path / "nii", folder]
        subprocess.run(asked, capture_output=True, check=True)
        volumes.append(nibabel.load(tmp_path / "nii" / f"{folder.name}.nii"))
    assert len(list((tmp_path / "nii").iterdir())) == 2
    before, after = volumes
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-4)
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    # ours and theirs agree on where the voxels are: theirs has its rows the other way round
    np.testing.assert_allclose(source.volume.affine[:3, 0], before.affine[:3, 0], atol=1e-4)
    np.testing.assert_array_equal(source.volume.array[:, ::-1], before.get_fdata())


@pytest.mark.parametrize(
    ("edit", "problem", "message"),
    [
        (everywhere(Modality="CT"), Problem.UNSUPPORTED, "MR"),
        (everywhere(SOPClassUID=uid.EnhancedMRImageStorage), Problem.UNSUPPORTED, "Enhanced MR .* emf2sf"),
        (everywhere(NumberOfFrames=2), Problem.UNSUPPORTED, "frames"),
        (everywhere(PhotometricInterpretation="RGB"), Problem.UNSUPPORTED, "grey"),
        (at(2, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), Problem.UNSUPPORTED, "one geometry"),
        (at(2, PixelSpacing=[0.75, 1.5]), Problem.UNSUPPORTED, "PixelSpacing"),
        (at(2, FrameOfReferenceUID="1.2.3"), Problem.UNSUPPORTED, "FrameOfReferenceUID"),
        (at(2, ImagePositionPatient=[10, -20, 30]), Problem.DUPLICATE, "one place"),
        (at(2, ImagePositionPatient=[10, -20, 30], EchoNumbers=2), Problem.UNSUPPORTED, "differ in EchoNumbers"),
        (at(2, RescaleSlope=0), Problem.IMPLAUSIBLE, "slope of 0"),
        (everywhere(StudyInstanceUID=""), Problem.UNREADABLE, "does not say what it is"),
        (gap, Problem.INCOMPLETE, "a slice is missing"),
        (aside, Problem.UNSUPPORTED, "in line"),
        (at(2, SOPInstanceUID=f"{SERIES}.1"), Problem.DUPLICATE, "under one name"),
        (at(2, PatientID="8"), Problem.UNSUPPORTED, "PatientID"),
        (at(2, SOPInstanceUID=""), Problem.UNREADABLE, "what it is"),
        (everywhere(Rows=65535, Columns=65535), Problem.IMPLAUSIBLE, "plausible"),
        (everywhere(RescaleSlope="-1"), Problem.IMPLAUSIBLE, "slope"),
        (everywhere(PixelData=bytes(192)), Problem.NO_SIGNAL, "constant"),
        (at(1, PixelData=bytes(100)), Problem.UNREADABLE, "cannot be read"),
        (everywhere(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), Problem.IMPLAUSIBLE, "right angles"),
        (lambda _, one: one.__delattr__("ImagePositionPatient"), Problem.UNSUPPORTED, "where its slices"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, edit: Edit, problem: Problem, message: str) -> None:
    files = some_series(tmp_path / "in", edit)
    with pytest.raises(BadVolume, match=message) as refusal:
        read_series(files)
    assert refusal.value.problem is problem


def test_series_are_told_apart_by_what_is_in_the_files(tmp_path: Path) -> None:
    one = some_series(tmp_path / "a")
    two = some_series(tmp_path / "a" / "b", everywhere(SeriesInstanceUID="1.2.3"))
    (tmp_path / "a" / "cut.dcm").write_bytes(one[0].read_bytes()[:60])
    (tmp_path / "a" / "readme").write_text("not DICOM")
    directory = pydicom.dcmread(one[0])
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    directory.save_as(tmp_path / "a" / "DICOMDIR", enforce_file_format=True)
    found = find_series(sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file()))
    assert found == Found({SERIES: one, "1.2.3": two, "": [tmp_path / "a" / "cut.dcm"]}, {})
    assert not is_dicom(tmp_path / "a" / "readme")


def test_other_encodings(tmp_path: Path) -> None:
    folder = SHARED / "mri" / "dicom" / "small"
    if not folder.is_dir():
        pytest.skip(f"no DICOM at {folder}: set MRI_N2N_SHARED_DATA")
    names = ("MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit")
    arrays = [read_series([folder / f"{name}.dcm"]).volume.array for name in names]
    for array in arrays[1:]:
        np.testing.assert_array_equal(array, arrays[0])
    for name in names:
        source = read_series([folder / f"{name}.dcm"])
        (tmp_path / name).mkdir()
        again = read_series(write_series(tmp_path / name, source.volume.array, source, LABEL, "key", MADE))
        np.testing.assert_array_equal(again.volume.array, arrays[0])
    with pytest.raises(BadVolume, match="classic"):
        read_series([folder / "emri_small.dcm"])


def test_contents_count_and_not_names(tmp_path: Path) -> None:
    files = some_series(tmp_path / "in")
    digest = files_sha256(files)
    assert read_series(files).volume.sha256 == digest
    shutil.copytree(tmp_path / "in", tmp_path / "other")
    for number, path in enumerate(sorted((tmp_path / "other").iterdir())[::-1]):
        path.rename(path.with_name(f"x{number}"))
    renamed = list((tmp_path / "other").iterdir())
    assert files_sha256(renamed) == digest
    assert re.fullmatch("[0-9a-f]{64}", digest)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_a_refusal(tmp_path: Path, data: st.DataObject) -> None:
    """Cut short or overwritten somewhere, a series is read or refused, and nothing else happens."""
    files = some_series(tmp_path / "in", slices=2)
    victim = data.draw(st.sampled_from(files))
    victim.write_bytes(damaged(victim.read_bytes(), data))
    for paths in find_series(files).series.values():
        try:
            series = read_series(paths)
        except BadVolume:
            continue
        assert np.isfinite(series.volume.array).all()
        assert np.isfinite(series.volume.affine).all()
        assert replace(series, slope=1.0).files


def test_what_lies_behind_the_end_is_damage(tmp_path: Path) -> None:
    files = some_series(tmp_path / "in")
    files[2].write_bytes(files[2].read_bytes() + bytes(100))
    with pytest.raises(BadVolume, match="behind its end"):
        read_series(files)
    files[2].write_bytes(bytes(512) + files[2].read_bytes()[512:])
    with pytest.raises(BadVolume, match="no DICOM file"):
        read_series(files)
