import json
import shutil
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_n2n.data import ixi
from mri_n2n.data.ixi import prepare_ixi
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slices import open_prepared
from mri_n2n.data.subjects import SplitRequest, read_split_table, subject_of
from mri_n2n.data.volumes import named
from mri_n2n.errors import BadVolume, UsageError

SOME = SliceRequest(10, 14)


def test_what_is_stored(heads: Path, tmp_path: Path) -> None:
    manifest = prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(3, 1), SOME))
    data = open_prepared(tmp_path / "data")
    assert data.array.shape == (20, 1, 48, 48)
    assert data.array.dtype == np.uint8
    assert [len(data.rows(split)) for split in ("train", "validation")] == [15, 5]
    assert [volume.subject for volume in manifest.volumes] == ["train-001", "train-002", "train-003", "validation-001"]
    source = nibabel.load(sorted(heads.iterdir())[1]).get_fdata()
    expected = np.rint(np.moveaxis(source[:, :, 10:15], -1, 0) / source.max() * 255)
    np.testing.assert_array_equal(data.array[5:10, 0], expected)
    images = data.images([5, 6])
    assert float(images.min()) >= -0.5
    assert float(images.max()) <= 0.5


def test_sixteen_bits_keep_more(heads: Path, tmp_path: Path) -> None:
    prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(3, 1), SOME, bits=16))
    data = open_prepared(tmp_path / "data")
    assert data.array.dtype == np.uint16
    source = nibabel.load(sorted(heads.iterdir())[0]).get_fdata()[:, :, 10] / 255
    np.testing.assert_allclose(data.images([0])[0, 0].numpy() + 0.5, source, atol=1e-5)


def test_running_again_does_nothing(heads: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(3, 1), SOME))
    array = tmp_path / "data" / "slices.npy"
    changed = array.stat().st_mtime_ns
    assert prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(3, 1), SOME)) == first
    assert array.stat().st_mtime_ns == changed
    assert "nothing to do" in capfd.readouterr().err
    with pytest.raises(UsageError, match="--overwrite"):
        prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME))
    prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME, overwrite=True))


def test_interrupted_preparation_goes_on(heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare_ixi(heads, tmp_path / "whole", PrepareRequest(SplitRequest(3, 1), SOME))
    read, seen = ixi.read_volume, []

    def breaks(path: Path) -> object:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(path)
        return read(path)

    monkeypatch.setattr(ixi, "read_volume", breaks)
    with pytest.raises(KeyboardInterrupt):
        prepare_ixi(heads, tmp_path / "cut", PrepareRequest(SplitRequest(3, 1), SOME))
    with pytest.raises(UsageError, match="not prepared to the end"):
        open_prepared(tmp_path / "cut")
    with (tmp_path / ".cut.unfinished" / "slices.npy").open("ab") as array:
        array.write(b"half a slice")
    seen.clear()
    monkeypatch.setattr(ixi, "read_volume", lambda path: (seen.append(path), read(path))[1])
    again = prepare_ixi(heads, tmp_path / "cut", PrepareRequest(SplitRequest(3, 1), SOME))
    assert len(seen) == 2
    assert again.fingerprint == whole.fingerprint
    assert (tmp_path / "cut/slices.npy").read_bytes() == (tmp_path / "whole/slices.npy").read_bytes()


def test_one_bad_volume_is_skipped_and_the_next_takes_its_place(heads: Path, tmp_path: Path) -> None:
    source = shutil.copytree(heads, tmp_path / "source")
    (source / "phantom-001.nii.gz").write_bytes((source / "phantom-001.nii.gz").read_bytes()[:900])
    manifest = prepare_ixi(source, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME))
    assert [skipped["file"] for skipped in manifest.skipped] == ["phantom-001.nii.gz"]
    assert [volume.sources[0]["file"] for volume in manifest.volumes] == [f"phantom-00{n}.nii.gz" for n in (2, 3, 4)]
    with pytest.raises(BadVolume, match="phantom-001"):
        prepare_ixi(source, tmp_path / "strict", PrepareRequest(SplitRequest(2, 1), SOME, strict=True))
    assert not (tmp_path / "strict").exists()
    with pytest.raises(UsageError, match="3 usable subjects"):
        prepare_ixi(source, tmp_path / "few", PrepareRequest(SplitRequest(3, 1), SOME))
    assert not (tmp_path / "few").exists()


def test_what_is_not_ours_is_never_removed(heads: Path, tmp_path: Path) -> None:
    """Not with --overwrite, not where the source lies, not with a request that turns out impossible."""
    again = PrepareRequest(SplitRequest(2, 1), SOME, overwrite=True)
    source = shutil.copytree(heads, tmp_path / "source")
    for place in (source, tmp_path):
        with pytest.raises(UsageError, match="not of this output"):
            prepare_ixi(source, place, again)
    prepare_ixi(source, tmp_path / "data", again)
    before = (tmp_path / "data/slices.npy").read_bytes()
    (source / "phantom-001.nii.gz").write_bytes(b"rubbish")
    with pytest.raises(UsageError, match="usable subjects"):
        prepare_ixi(source, tmp_path / "data", PrepareRequest(SplitRequest(3, 1), SOME, overwrite=True))
    assert (tmp_path / "data/slices.npy").read_bytes() == before
    (tmp_path / "data/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="notes.txt"):
        prepare_ixi(source, tmp_path / "data", again)
    assert sorted(path.name for path in source.iterdir()) == [f"phantom-00{n}.nii.gz" for n in (1, 2, 3, 4)]


def test_slices_are_clipped_or_refused(heads: Path, tmp_path: Path) -> None:
    manifest = prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SliceRequest(33, 124)))
    assert manifest.volumes[0].slices == [33, 34, 35]
    for request in (SliceRequest(33, 124, exact=True), SliceRequest(36, 40)):
        with pytest.raises(BadVolume, match="36 slices"):
            prepare_ixi(heads, tmp_path / "no", PrepareRequest(SplitRequest(2, 1), request, strict=True))
        assert not (tmp_path / "no").exists()


def test_volumes_of_different_sizes_are_padded(heads: Path, tmp_path: Path) -> None:
    source = shutil.copytree(heads, tmp_path / "source")
    small = nibabel.load(source / "phantom-002.nii.gz")
    nibabel.Nifti1Image(np.asarray(small.dataobj)[5:40, :47], small.affine).to_filename(source / "phantom-002.nii.gz")
    prepare_ixi(source, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME))
    array = open_prepared(tmp_path / "data").array
    assert array.shape[2:] == (48, 48)
    assert array[5:10, 0, :35, :47].any()
    assert not array[5:10, 0, 35:].any()
    assert not array[5:10, 0, :, 47:].any()


def test_blank_slices_are_left_out(tmp_path: Path) -> None:
    for number in (1, 2):
        array = np.zeros((32, 32, 8), np.uint8)
        array[8:20, 8:20, 2:6] = np.random.default_rng(number).integers(1, 255, (12, 12, 4))
        nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / f"{number}.nii")
    manifest = prepare_ixi(tmp_path, tmp_path / "data", PrepareRequest(SplitRequest(1, 1), SliceRequest(0, 7)))
    assert manifest.volumes[0].slices == [2, 3, 4, 5]


def test_subjects_of_ixi_names(tmp_path: Path) -> None:
    names = ("x/IXI012-HH-1211-T1.nii.gz", "sub-07/ses-1/anat/T1.nii", "A_sub-7_T1w.nii", "bert/T1.mgz", "doe.nii")
    assert [subject_of(name) for name in names] == ["IXI012", "sub-07", "sub-7", "bert/T1", "doe"]
    rng = np.random.default_rng(0)
    for name in ("IXI001-A-T1", "IXI001-A-T2", "IXI002-A-T1", "IXI003-A-T1"):
        nibabel.Nifti1Image(rng.integers(0, 99, (32, 32, 4)).astype(np.int16), np.eye(4)).to_filename(
            tmp_path / f"{name}.nii"
        )
    manifest = prepare_ixi(tmp_path, tmp_path / "data", PrepareRequest(SplitRequest(1, 1), SliceRequest(0, 3)))
    assert [volume.subject for volume in manifest.volumes] == ["train-001", "train-001", "validation-001"]


def test_split_table(heads: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    names = named(heads)
    table.write_text("subject,split\nphantom-003,train\nphantom-001.nii.gz,validation\n")
    split = SplitRequest(assigned=read_split_table(table, names))
    manifest = prepare_ixi(heads, tmp_path / "data", PrepareRequest(split, SOME))
    assert {volume.sources[0]["file"]: volume.split for volume in manifest.volumes} == {
        "phantom-003.nii.gz": "train",
        "phantom-001.nii.gz": "validation",
    }
    for text, message in (
        ("subject,split\nphantom-003,train\nphantom-003,validation\n", "both splits"),
        ("subject,split\nnobody,train\n", "no volume of subject"),
        ("subject,split\nphantom-003,test\n", "expected train or validation"),
        ("a,b\n1,2\n", "header"),
        ("", "header"),
    ):
        table.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_split_table(table, names)


def test_the_same_volume_in_both_splits(heads: Path, tmp_path: Path) -> None:
    source = shutil.copytree(heads, tmp_path / "source")
    shutil.copy(source / "phantom-001.nii.gz", source / "phantom-009.nii.gz")
    for number in (2, 3, 4):
        (source / f"phantom-00{number}.nii.gz").unlink()
    with pytest.raises(UsageError, match="same volume"):
        prepare_ixi(source, tmp_path / "data", PrepareRequest(SplitRequest(1, 1), SOME))


def test_damage_is_noticed(heads: Path, tmp_path: Path) -> None:
    prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SOME))
    array, manifest = (tmp_path / "data" / name for name in ("slices.npy", "manifest.json"))
    whole = array.read_bytes()
    for content in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        array.write_bytes(content)
        with pytest.raises(UsageError, match="damaged"):
            open_prepared(tmp_path / "data")
    array.write_bytes(whole)
    open_prepared(tmp_path / "data")
    for text in ("", "[]", "{}", json.dumps({"format": "other"})):
        manifest.write_text(text)
        with pytest.raises(UsageError):
            open_prepared(tmp_path / "data")


def test_fingerprint_is_of_the_content_not_the_names(heads: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for path in heads.iterdir():
        shutil.copy(path, renamed / path.name.replace("phantom", "other"))
    one, two = (
        prepare_ixi(source, tmp_path / str(number), PrepareRequest(SplitRequest(2, 1), SOME))
        for number, source in enumerate((heads, renamed))
    )
    assert one.fingerprint == two.fingerprint
    three = prepare_ixi(heads, tmp_path / "three", PrepareRequest(SplitRequest(1, 2), SOME))
    assert three.fingerprint != one.fingerprint


def test_memory_does_not_grow_with_the_number_of_volumes(tmp_path: Path) -> None:
    """One volume at a time: 24 volumes take no more memory than 4, to within half a volume."""
    volume = np.random.default_rng(0).integers(0, 255, (64, 64, 64)).astype(np.uint8)
    peaks = {}
    for count in (4, 24):
        source = tmp_path / f"source{count}"
        source.mkdir()
        for number in range(count):
            volume[0, 0, 0] = number
            nibabel.Nifti1Image(volume, np.eye(4)).to_filename(source / f"{number:02d}.nii")
        tracemalloc.start()
        prepare_ixi(source, tmp_path / f"data{count}", PrepareRequest(SplitRequest(count - 1, 1), SliceRequest(0, 63)))
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[24] - peaks[4] < volume.size * 4 / 2


def test_real_volumes(shared_ixi: Path, tmp_path: Path) -> None:
    """All 60 real subjects: the first 50 train, the next 10 validate, slices 25 to 89 of 90."""
    manifest = prepare_ixi(shared_ixi, tmp_path / "data")
    data = open_prepared(tmp_path / "data")
    assert [len(manifest.subjects(split)) for split in ("train", "validation")] == [50, 10]
    assert data.array.shape == (3900, 1, 120, 120)
    assert {volume.sources[0]["file"].split("/")[0] for volume in manifest.split("validation")} == {"valid"}


def test_other_formats(shared_ixi: Path, tmp_path: Path) -> None:
    """A real .mgz beside .nii.gz of another size."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(next((shared_ixi.parent / "t1-1mm").glob("*.mgz")), source)
    shutil.copy(sorted((shared_ixi / "train").iterdir())[0], source)
    prepare_ixi(source, tmp_path / "data", PrepareRequest(SplitRequest(1, 1), SliceRequest(40, 42)))
    assert open_prepared(tmp_path / "data").array.shape == (6, 1, 256, 256)
