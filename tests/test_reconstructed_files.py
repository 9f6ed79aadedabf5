"""What a person is told of files that cannot be worked on: a line each, what to do, and the others are still done."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Answer
from dicom_files import everywhere, some_series
from raw_files import write_cfl

from mri_n2n import reconstructed_files
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.kspace_preparation import prepare_kspace
from mri_n2n.recipes import COMPLEX, Optimisation, Recipe, kspace_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.simulation import simulate_path
from mri_n2n.task import Undersampling

CPU = torch.device("cpu")
CLI = Callable[..., Answer]


@pytest.fixture
def simulating(tiny_recipe: Recipe) -> Reconstructor:
    return Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU, simulate=True)


@pytest.fixture
def some_closed(heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Volumes of which one may not be read, and a folder that may not be looked into (root may: so it is acted)."""
    ward = shutil.copytree(heads, tmp_path / "ward")
    (ward / "closed").mkdir()
    shutil.copy(sorted(heads.iterdir())[0], ward / "mine.nii.gz")
    scandir, opened = os.scandir, os.open

    def refuse(path: Any, name: str) -> None:
        if isinstance(path, (str, Path)) and Path(path).name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "scandir", lambda path=".": refuse(path, "closed") or scandir(path))
    monkeypatch.setattr(
        os, "open", lambda path, *how, **more: refuse(path, "mine.nii.gz") or opened(path, *how, **more)
    )
    return ward


def test_what_may_not_be_read_is_told_and_the_others_are_done(
    simulating: Reconstructor, some_closed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "1 of 5 volumes could not be used and 1 files or folders may not be read .*; the others are done"
    with pytest.raises(UsageError, match=message):
        reconstruct_path(simulating, some_closed, tmp_path / "out", {})
    said = capsys.readouterr().err
    for name in ("closed", "mine.nii.gz"):
        assert f"skipped: {some_closed / name} may not be read. Check its permissions." in said
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 4
    with pytest.raises(UsageError, match="1 of 5 volumes"):
        reconstruct_path(simulating, some_closed, tmp_path / "out", {})
    (some_closed / "mine.nii.gz").unlink()
    with pytest.raises(UsageError, match=r"^1 files or folders may not be read \(named above\); the others are done"):
        reconstruct_path(simulating, some_closed, tmp_path / "out", {})
    with pytest.raises(UsageError, match="1 files or folders"):
        simulate_path(some_closed, tmp_path / "scans", Undersampling(3.0, None), 0)
    assert len(list((tmp_path / "scans").glob("*.h5"))) == 4
    with pytest.raises(UsageError, match="closed may not be read"):
        reconstruct_path(simulating, some_closed / "closed", tmp_path / "none", {})


def test_what_may_not_be_read_is_skipped_when_preparing(cli: CLI, some_closed: Path) -> None:
    arguments = ("ward", "data", "--train", 2, "--validation", 2, "--slices", "14:19")
    answer = cli("prepare", "ixi", *arguments)
    assert answer.code == 0, answer.err
    assert "skipped: ward/closed may not be read" in answer.err
    answer = cli("prepare", "ixi", *arguments, "--overwrite", "--strict")
    assert (answer.code, answer.err) == (2, "error: ward/closed may not be read. Check its permissions.\n")


def test_there_may_be_no_others(simulating: Reconstructor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.nii").write_bytes(b"rubbish")
    with pytest.raises(UsageError, match=r"2 of 2 volumes could not be used \(named above\); there are no others"):
        reconstruct_path(simulating, tmp_path / "in", tmp_path / "out", {})


def test_a_full_disk_leaves_nothing_half_written(
    simulating: Reconstructor, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("mri_n2n.durable.os.fsync", full)
        with pytest.raises(UsageError, match=r"^cannot write .*No space left on device\. Free space\.$"):
            reconstruct_path(simulating, heads, tmp_path / "out", {})
    left = list((tmp_path / "out").iterdir())
    assert 0 < len([path for path in left if path.suffix == ".gz"]) < 4
    assert not [path for path in left if path.name.startswith(".")]
    reconstruct_path(simulating, heads, tmp_path / "out", {})
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 4


def test_what_was_to_be_overwritten_does_not_pass_for_what_was_not_written(
    simulating: Reconstructor, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = sorted(heads.iterdir())[0], tmp_path / "out.nii.gz"
    reconstruct_path(simulating, source, output, {"run": "old"})

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reconstructed_files, "write_volume", dies)
        with pytest.raises(KeyboardInterrupt):
            reconstruct_path(simulating, source, output, {"run": "new"}, overwrite=True)
    assert len(reconstruct_path(simulating, source, output, {"run": "new"})) == 1


# Other kinds of files


def test_dicom_where_raw_kspace_is_expected(tiny_recipe: Recipe, tmp_path: Path) -> None:
    some_series(tmp_path / "t1")
    complex_recipe: Recipe[Any] = Recipe(kspace_task(), Optimisation(3, 2), replace(COMPLEX, width=6))
    for recipe, advice in ((tiny_recipe, "add --simulate"), (complex_recipe, "simulate --values complex")):
        plain = Reconstructor(recipe.network.build(), recipe, CPU)
        with pytest.raises(UsageError, match=f"t1 holds DICOM.*{advice}"):
            reconstruct_path(plain, tmp_path / "t1", tmp_path / "out.nii.gz", {})


def test_dicom_of_several_frames(simulating: Reconstructor, tmp_path: Path) -> None:
    some_series(tmp_path / "t1", everywhere(NumberOfFrames=3), slices=1)
    with pytest.raises(BadVolume, match=r"t1 .*dcm2niix"):
        reconstruct_path(simulating, tmp_path / "t1", tmp_path / "out.nii.gz", {})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("scan.hdr", r"is the header of .*scan\.cfl\. Name that one"),
        ("analyze.hdr", r"Convert the pair to one \.nii\.gz"),
        ("analyze.img", r"Convert the pair to one \.nii\.gz"),
        ("slice.dcm", "one file of a DICOM series. Name its folder"),
        ("notes.txt", "ends in none of"),
    ],
)
def test_files_of_other_kinds(tiny_recipe: Recipe, tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).write_bytes(bytes(400))
    (tmp_path / "scan.cfl").touch()
    plain = Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU)
    with pytest.raises(UsageError, match=advice):
        reconstruct_path(plain, tmp_path / name, tmp_path / "out.nii.gz", {})
    with pytest.raises(UsageError, match=advice if name != "scan.hdr" else "raw k-space, expected a volume"):
        simulate_path(tmp_path / name, tmp_path / "scans", Undersampling(3.0, None), 0)


# Notes, and reading


@pytest.fixture
def coils(heads: Path, tmp_path: Path) -> Path:
    simulate_path(heads, tmp_path / "coils", Undersampling(3.0, None), 0, coils=2)
    return tmp_path / "coils"


def test_coils_are_told_of_once(coils: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe: Recipe[Any] = Recipe(kspace_task(), Optimisation(3, 2), replace(COMPLEX, width=6))
    reconstruct_path(Reconstructor(recipe.network.build(), recipe, CPU), coils, tmp_path / "out", {})
    lines = [line for line in capsys.readouterr().err.splitlines() if "sensitivities comes later" in line]
    assert len(lines) == 1
    assert lines[0].startswith("4 files have 2 coils: ")


def test_every_scan_is_read_once_when_preparing(coils: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mri_n2n import kspace_preparation

    read: list[Path] = []
    scan = kspace_preparation.raw.read_scan
    monkeypatch.setattr(kspace_preparation.raw, "read_scan", lambda path: (read.append(path), scan(path))[1])
    prepare_kspace(coils, tmp_path / "data", PrepareRequest(SplitRequest(2, 1), SliceRequest(2, 3)))
    assert read == sorted(coils.glob("*.h5"))[:3]


def test_one_scan_is_too_few(cli: CLI, tmp_path: Path) -> None:
    plane = torch.randn(3, 8, 9, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    (tmp_path / "scans").mkdir()
    write_cfl(tmp_path / "scans" / "one.cfl", plane.numpy())
    answer = cli("prepare", "kspace", "scans", "data")
    assert answer.code == 2
    assert "1 usable subjects under scans, expected two at least: one to train on and one to validate" in answer.err


def test_all_slices_unless_said_otherwise(cli: CLI, coils: Path) -> None:
    answer = cli("prepare", "kspace", "coils", "data", "--train", 2, "--validation", 1)
    assert answer.code == 0, answer.err
    assert f"train: {2 * 36 * 2} slices of 2 subjects" in answer.out
    answer = cli("prepare", "kspace", "coils", "other", "--train", 2, "--validation", 1, "--slices", "0:2047")
    assert answer.code == 2
    assert "36 slices on its third axis" in answer.err
