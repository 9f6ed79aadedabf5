"""A hospital's folder of studies: every one ends in exactly one state, whenever the batch is killed."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from batch_runs import ENVIRONMENT, by_source, command, left_over, published, settled, setup, start, wait_for
from dicom_files import everywhere, some_media, some_series
from raw_files import write_cfl
from wards import PATIENT, copied, damaged_scans, damaged_series, damaged_volumes, lies_in, series_of

from mri_n2n.data.dicom import Memory, finding, is_dicom, read_series
from mri_n2n.data.mrd import read_scan, write_scan
from mri_n2n.densities import GivenDensity, given_density
from mri_n2n.kspace.sampling import exponential_density
from mri_n2n.quality import Residual
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.run_directory import open_run
from pipelines.batch.discovery import Study, studies, study_name
from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, Reason, State
from pipelines.batch.study import RECONSTRUCTION, StudyWork
from pipelines.batch.supervision import Abandoned, supervised
from pipelines.batch.worker import Worker

CPU = torch.device("cpu")


# Discovery


def test_studies_are_found_in_any_layout(tmp_path: Path) -> None:
    for name in ("b.h5", "a/c.H5", "a/d/e.mrd", ".hidden/x.h5", "a/.partial-f.h5", "a/readme.txt", "a/f.NII.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "nowhere.h5").symlink_to("absent")
    series = some_series(tmp_path / "a" / "pacs")
    (tmp_path / "IM").write_bytes(series[0].read_bytes())
    found = studies(tmp_path)
    plain = ["b.h5", "nowhere.h5", "a/c.H5", "a/f.NII.gz", "a/d/e.mrd"]
    assert [study.files for study in found if not study.series] == [(name,) for name in plain]
    assert [study.files for study in found if study.series] == [("IM", *(f"a/pacs/{path.name}" for path in series))]
    assert len({study.name for study in found}) == len(found)


def test_what_is_too_short_to_be_told_beside_dicom_is_a_lost_slice(tmp_path: Path) -> None:
    series = some_series(tmp_path / "pacs")
    names = ("pacs/IM900", "pacs/1.2.840.7", "pacs/notes.txt", "pacs/.hidden", "pacs/long", "elsewhere/empty")
    for name, size in zip(names, (0, 131, 0, 0, 132, 0), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    found = studies(tmp_path)
    assert [study.files for study in found[:1]] == [tuple(f"pacs/{path.name}" for path in series)]
    assert sorted(study.files for study in found[1:]) == [("pacs/1.2.840.7",), ("pacs/IM900",), ("pacs/long",)]


def test_a_long_search_shows_that_it_lives_and_can_be_stopped(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").touch()
    some_series(tmp_path / "series")
    asked = []
    studies(tmp_path, lambda: asked.append(None))
    assert len(asked) > 100  # when files are listed, and again when they are looked into
    with supervised(tmp_path / "heartbeat", 30.0) as supervision:
        assert len(studies(tmp_path, supervision.heed)) == 1
        assert (tmp_path / "heartbeat").exists()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Abandoned):
            studies(tmp_path, supervision.heed)


def test_a_signal_while_studies_are_searched_drains(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(source: Path, heed: Callable[[], object], **options: Any) -> list[Study]:
        os.kill(os.getpid(), signal.SIGTERM)
        return studies(source, heed, **options)

    monkeypatch.setattr("pipelines.batch.run.studies", signalled)
    answer = cli("batch", scans, tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.code == Exit.DRAINED, answer.err
    assert settled(tmp_path / "out") == 0
    assert (tmp_path / "out/heartbeat").exists()
    events = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["begun", "ended"]
    assert events[-1]["exit"] == Exit.DRAINED


def test_a_signal_before_there_is_anything_to_drain(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("mri_n2n.run_directory.find_run", signalled)
    assert cli("batch", scans, tmp_path / "out", "--model", model).code == Exit.DRAINED
    asked = ("dicom-node", tmp_path / "in", tmp_path / "out", "--model", model, "--allow", "A")
    assert cli(*asked).code == Exit.DRAINED


def test_the_next_look_opens_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some_series(tmp_path / "ward")
    memory, opened = Memory(), []
    monkeypatch.setattr(finding, "is_dicom", lambda path: opened.append(path) or is_dicom(path))
    first = studies(tmp_path / "ward", memory=memory)
    assert len(opened) == 5
    assert studies(tmp_path / "ward", memory=memory) == first
    assert len(opened) == 5
    some_series(tmp_path / "ward" / "another", everywhere(SeriesInstanceUID="1.2.9"), slices=3)
    (tmp_path / "ward" / "IM000").write_bytes((tmp_path / "ward" / "another" / "IM000").read_bytes())
    found = studies(tmp_path / "ward", memory=memory)
    assert len(opened) == 9
    assert found == studies(tmp_path / "ward")
    assert sorted(len(study.files) for study in found) == [4, 4]


def test_what_is_called_as_a_slice_and_is_none_is_a_lost_slice(tmp_path: Path) -> None:
    """Whatever its size; a text beside them is left alone, unless it is called as they are."""
    files = some_series(tmp_path / "ward")
    files[2].write_bytes(bytes(512) + files[2].read_bytes()[512:])
    (tmp_path / "ward" / "README").write_text("A CD of images." * 20)
    (tmp_path / "ward" / "IM099").write_text("<html>Not found</html>" * 20)
    (tmp_path / "ward" / "broken").write_bytes(bytes(2000))
    found = {study.files for study in studies(tmp_path / "ward")}
    whole = tuple(path.name for path in files if path != files[2])
    assert found == {whole, (files[2].name,), ("IM099",), ("broken",)}


def test_a_file_that_was_out_of_reach_is_forgotten_once_it_is_part_of_a_series(
    cli: Callable[..., Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward, output = tmp_path / "ward", tmp_path / "out"
    files = some_series(ward)
    asked = ("batch", ward, output, "--model", model, "--simulate", "--device", "cpu")
    folder = BatchFolder(output)
    folder.open()
    with folder.held() as held:
        held.settle(Outcome(study_name(files[4].name), Reason.NO_PERMISSION))
        held.settle(Outcome(study_name("gone.nii"), Reason.DAMAGED, "a" * 64))
    assert cli(*asked).code == Exit.ALL_DONE
    assert {outcome.reason for outcome in folder.outcomes()} == {Reason.RECONSTRUCTED, Reason.DAMAGED}


def test_a_folder_that_is_away_is_looked_for_again(model: Path, scans: Path, tmp_path: Path) -> None:
    ward, output = tmp_path / "ward", tmp_path / "out"
    ward.mkdir()
    copied(scans, 0, ward / "a.h5")
    process = start(ward, output, model, "--watch", "0.5")
    try:
        wait_for(lambda: settled(output) == 1, process)
        ward.rename(tmp_path / "away")
        time.sleep(2)
        assert process.poll() is None
        (tmp_path / "away").rename(ward)
        copied(scans, 1, ward / "b.h5")
        wait_for(lambda: settled(output) == 2, process)
        process.terminate()
        assert process.wait(timeout=60) == Exit.DRAINED
    finally:
        process.kill()
        process.wait()


# Twenty kinds of damage


def test_every_study_ends_in_one_state_and_nobody_is_named(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path
) -> None:
    expected = damaged_scans(scans, tmp_path / "ward")
    answer = cli("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.code == Exit.SOME_NOT, answer.err
    outcomes = by_source(tmp_path / "out")
    assert {name: outcome.reason for name, outcome in outcomes.items()} == expected
    assert left_over(tmp_path / "out") == []
    reported = cli("report", tmp_path / "out")
    assert reported.code == 0, reported.err
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert all(outcome.study in page for outcome in outcomes.values())
    assert "quarantined: incompatible" in page
    assert page.count("data:image/png") == sum(outcome.state is State.DONE for outcome in outcomes.values()) > 0
    public = [answer.out, answer.err, *(str(path) for path in (tmp_path / "out").rglob("*"))]
    for path in (tmp_path / "out").rglob("*.*"):
        if "private" not in path.parts and path.is_file():
            public.append(path.read_text(errors="replace"))
    assert not [text for text in public if PATIENT in text or "rm -rf" in text]
    events = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["begun", *["study"] * len(expected), "ended"]
    assert stat_mode(tmp_path / "out/private") == 0o700
    assert "| quarantined | incompatible | 4 |" in answer.out
    status = cli("batch", "status", tmp_path / "out")
    assert status.code == Exit.SOME_NOT
    assert status.out.splitlines()[0].startswith("Batch stopped, exit code 3 ")
    assert all(line in answer.out for line in status.out.splitlines()[1:])
    assert f"mri-n2n batch status {tmp_path / 'out'} --names" in answer.out
    # The same again: nothing is repeated, and what is still bad is still said.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/studies").rglob("*")}
    again = cli("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    assert again.code == Exit.SOME_NOT
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/studies").rglob("*")} == before
    assert by_source(tmp_path / "out") == outcomes


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_an_estimated_density_is_said_and_a_given_one_decides(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path
) -> None:
    """In the status' notes; and what was given is part of the key."""
    (tmp_path / "ward").mkdir()
    scan = read_scan(sorted(scans.glob("*.h5"))[0])
    write_scan(tmp_path / "ward/a.h5", replace(scan, decay=None), {})
    density = np.fft.fftshift(exponential_density((16, 20), scan.decay or 0).numpy())
    np.save(tmp_path / "known.npy", density)
    np.save(tmp_path / "other.npy", density**1.01)
    keys, arrays = [], []
    for number, given in enumerate(
        (
            GivenDensity(),
            given_density(None, tmp_path / "known.npy"),
            given_density(None, tmp_path / "other.npy"),
            given_density(0.1, None),
        )
    ):
        folder = BatchFolder(tmp_path / f"out{number}")
        folder.open()
        with folder.held() as held:
            work = StudyWork(replace(setup(model, folder.path), density=given), held)
            outcome = work(tmp_path / "ward", Study(study_name("a.h5"), ("a.h5",)))
        assert outcome.reason is Reason.RECONSTRUCTED
        assert ["estimated" in note for note in outcome.about["notes"]] == ([] if given.said else [True])
        keys.append(outcome.key)
        image: Any = nibabel.load(folder.published(outcome.study, outcome.key) / RECONSTRUCTION)
        arrays.append(image.get_fdata())
    assert len(set(keys)) == 4
    network = open_run(model)
    reconstructor = Reconstructor(network.network(), network.recipe, CPU)
    stated = reconstructor(reconstructor.read(sorted(scans.glob("*.h5"))[0])).array
    np.testing.assert_allclose(arrays[1], stated, atol=1e-3)
    assert np.abs(arrays[2] - stated).max() > 1e-3
    asked = ("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    answer = cli(*asked, "--density", tmp_path / "known.npy")
    assert answer.code == Exit.ALL_DONE, answer.err
    assert [outcome.key for outcome in by_source(tmp_path / "out").values()] == [keys[1]]
    answer = cli(*asked, "--simulate", "--edge-probability", 0.1)
    assert answer.code == 2
    assert "for raw k-space" in answer.err


def test_a_pair_of_files_is_one_study(tmp_path: Path) -> None:
    write_cfl(tmp_path / "a.b.cfl", np.ones((4, 4, 1, 2), np.complex64))
    (tmp_path / "c.hdr").write_text("of nobody")
    assert studies(tmp_path) == [Study(study_name("a.b.cfl"), ("a.b.cfl", "a.b.hdr"))]


def test_volumes_are_gated_too(cli: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    expected = damaged_volumes(tmp_path / "ward")
    answer = cli("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--simulate", "--device", "cpu")
    assert answer.code == Exit.SOME_NOT, answer.err
    assert {name: outcome.reason for name, outcome in by_source(tmp_path / "out").items()} == expected


def test_dicom_series(cli: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    """Good ones become a NIfTI and a series for the PACS; the others are told apart."""
    ward = tmp_path / "ward"
    expected = damaged_series(ward)
    good = sorted((ward / "a").glob("IM00?"))
    answer = cli("batch", ward, tmp_path / "out", "--model", model, "--simulate", "--device", "cpu")
    assert answer.code == Exit.SOME_NOT, answer.err
    outcomes = by_source(tmp_path / "out")
    assert {lies_in(name): outcome.reason for name, outcome in outcomes.items()} == expected
    outcome = outcomes[f"a/{good[0].name}"]
    place = BatchFolder(tmp_path / "out").published(outcome.study, outcome.key)
    derived = read_series(list((place / "dicom").iterdir()))
    volume: Any = nibabel.load(place / RECONSTRUCTION)
    np.testing.assert_allclose(derived.volume.affine, volume.affine, atol=1e-3)
    np.testing.assert_allclose(derived.volume.array, volume.get_fdata(), atol=0.51)
    np.testing.assert_allclose(derived.volume.affine, read_series(good).volume.affine, atol=1e-3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/studies").rglob("*")}
    assert cli("batch", ward, tmp_path / "out", "--model", model, "--simulate", "--device", "cpu").code == Exit.SOME_NOT
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/studies").rglob("*")} == before
    # What comes back from a PACS is not made anew from itself.
    assert derived.derived
    answer = cli("batch", place / "dicom", tmp_path / "twice", "--model", model, "--simulate", "--device", "cpu")
    assert [own.reason for own in by_source(tmp_path / "twice").values()] == [Reason.UNSUPPORTED]
    # For raw k-space alone, images are good for nothing.
    answer = cli("batch", ward / "a", tmp_path / "raw", "--model", model, "--device", "cpu")
    assert {outcome.reason for outcome in by_source(tmp_path / "raw").values()} == {Reason.INCOMPATIBLE}


def test_what_a_run_is_called_and_where_it_lies_decides_nothing(
    cli: Callable[..., Any], model: Path, tmp_path: Path
) -> None:
    some_series(tmp_path / "in")
    (tmp_path / "in" / "pair.img").write_bytes(bytes(100))
    answer = cli("batch", tmp_path / "in", tmp_path / "out", "--model", model, "--simulate")
    assert answer.code == Exit.ALL_DONE
    assert "left alone: 1; expected DICOM" in answer.err
    (before,) = BatchFolder(tmp_path / "out").outcomes()
    assert {"run", "step", "mlflow_run_id", "recipe_sha256", "torch", "numpy"} < set(before.about)
    shutil.copytree(model, tmp_path / "model")
    again = cli("batch", tmp_path / "in", tmp_path / "out", "--model", tmp_path / "model", "--simulate")
    assert again.code == Exit.ALL_DONE
    assert BatchFolder(tmp_path / "out").outcomes() == [before]
    assert len(list((tmp_path / "out" / "studies" / before.study).iterdir())) == 1


def test_a_slice_that_only_a_dicomdir_knows_of(cli: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    """What it says counts as long as it is there."""
    ward = some_media(tmp_path / "ward")
    asked = ("batch", ward, tmp_path / "out", "--model", model, "--simulate", "--device", "cpu")

    def reasons() -> list[Reason]:
        return sorted(outcome.reason for outcome in BatchFolder(tmp_path / "out").outcomes())

    assert cli(*asked).code == Exit.ALL_DONE
    assert reasons() == [Reason.RECONSTRUCTED] * 2
    images = [path for path in ward.rglob("*") if path.is_file() and path.name != "DICOMDIR"]
    max(images, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[1])).unlink()
    assert cli(*asked).code == Exit.SOME_NOT
    assert reasons() == [Reason.INCOMPLETE, Reason.RECONSTRUCTED]
    assert any("DICOMDIR lists" in path.read_text() for path in (tmp_path / "out/private/reasons").glob("*.json"))
    (ward / "DICOMDIR").unlink()
    assert cli(*asked).code == Exit.ALL_DONE
    assert reasons() == [Reason.RECONSTRUCTED] * 2


def test_all_done_is_zero_and_the_same_as_reconstruct(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path
) -> None:
    answer = cli("batch", scans, tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.code == Exit.ALL_DONE, answer.err
    run = open_run(model)
    reconstruct_path(Reconstructor(run.network(), run.recipe, CPU), scans, tmp_path / "plain", {})
    for name, outcome in by_source(tmp_path / "out").items():
        place = BatchFolder(tmp_path / "out").published(outcome.study, outcome.key)
        one: Any = nibabel.load(place / RECONSTRUCTION)
        two: Any = nibabel.load(tmp_path / "plain" / name.replace(".h5", ".nii.gz"))
        np.testing.assert_allclose(one.get_fdata(), two.get_fdata(), atol=1e-3)
        np.testing.assert_array_equal(one.affine, two.affine)
        assert "SIMULATED" in outcome.about["label"]
        assert outcome.about["weights_sha256"] == run.provenance()["weights_sha256"]
        assert set(outcome.seconds) == {"read", "network", "quality", "write"}
        assert 0 < outcome.quality["held_out_psnr"] < 60
        assert outcome.quality["outlier"] is None  # nobody has evaluated the network
    page = (tmp_path / "out/summary.html").read_text()
    assert page.count("<img") == 4
    assert "Not for diagnostic use" in page


# Plugs


def killed_and_restarted(ward: Path, model: Path, output: Path, kills: int, *options: str) -> int:
    """Kill it at random moments while studies are worked on, then let it end; how often something was half-written."""
    rng = random.Random(0)
    half_written = 0
    for _ in range(kills):
        done = settled(output)
        process = start(ward, output, model, *options)
        while process.poll() is None and settled(output) == done:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.wait()
        time.sleep(0.2)  # for the worker to end, too
        half_written += len(left_over(output)) > 0
    assert start(ward, output, model, *options).wait(timeout=600) == Exit.SOME_NOT
    return half_written


def check_killed(
    ward: Path, expected: dict[str, Reason], model: Path, tmp_path: Path, kills: int, *options: str
) -> None:
    """`expected` in a batch that is killed, with the outputs of one that was not, nothing left over, nobody named."""
    undisturbed = [option for option in options if option == "--simulate"]
    assert start(ward, tmp_path / "whole", model, *undisturbed).wait(timeout=900) == Exit.SOME_NOT
    assert killed_and_restarted(ward, model, tmp_path / "cut", kills, *options) > 0
    outcomes = by_source(tmp_path / "cut")
    assert {lies_in(name): outcome.reason for name, outcome in outcomes.items()} == expected
    assert published(tmp_path / "cut") == published(tmp_path / "whole")
    assert left_over(tmp_path / "cut") == []
    public = [path for path in (tmp_path / "cut").rglob("*") if not {"private", "dicom"} & set(path.parts)]
    texts = [path.read_text(errors="replace") for path in public if path.is_file() and path.suffix != ".gz"]
    assert not [text for text in (*texts, *map(str, public)) if PATIENT in text]


def more_scans(ward: Path, scans: Path, count: int) -> dict[str, Reason]:
    names = [f"more-{number:04d}.h5" for number in range(count)]
    for number, name in enumerate(names):
        (ward / name).symlink_to(sorted(scans.glob("*.h5"))[number % 4])
    return dict.fromkeys(names, Reason.RECONSTRUCTED)


def test_killed_at_random_moments(scans: Path, model: Path, tmp_path: Path) -> None:
    """Two at a time, and with the outputs of one at a time."""
    expected = damaged_scans(scans, tmp_path / "ward") | more_scans(tmp_path / "ward", scans, 60)
    check_killed(tmp_path / "ward", expected, model, tmp_path, 4, "--workers", "2")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_scans_killed_at_fifty_random_moments(scans: Path, model: Path, tmp_path: Path) -> None:
    expected = damaged_scans(scans, tmp_path / "ward") | more_scans(tmp_path / "ward", scans, 980)
    check_killed(tmp_path / "ward", expected, model, tmp_path, 50)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_images_killed_at_fifty_random_moments(model: Path, tmp_path: Path) -> None:
    """DICOM series and volumes, damaged in twenty ways."""
    ward = tmp_path / "ward"
    volumes = damaged_volumes(ward / "volumes")
    expected = damaged_series(ward)
    for name, reason in volumes.items():
        (ward / "volumes" / name).rename(ward / name)
        expected[name] = reason
    (ward / "volumes").rmdir()
    for number in range(700):
        (ward / f"more-{number:04d}.nii.gz").symlink_to("good.nii.gz")
        expected[f"more-{number:04d}.nii.gz"] = Reason.RECONSTRUCTED
    for number in range(280):
        series_of(ward / f"series-{number:04d}", f"1.2.{100 + number}")
        expected[f"series-{number:04d}"] = Reason.RECONSTRUCTED
    check_killed(ward, expected, model, tmp_path, 50, "--simulate")


@pytest.mark.parametrize("grace", [30, 0])
def test_sigterm_drains(scans: Path, model: Path, tmp_path: Path, grace: int) -> None:
    """With some grace the study at hand ends, without it is abandoned; nothing is half-written in either case."""
    (tmp_path / "ward").mkdir()
    for number in range(200):
        (tmp_path / "ward" / f"{number:03d}.h5").symlink_to(sorted(scans.glob("*.h5"))[number % 4])
    process = start(tmp_path / "ward", tmp_path / "out", model, "--grace", grace)
    status = tmp_path / "out/status"
    for _ in range(600):
        if status.is_dir() and len(list(status.glob("*.json"))) > 1:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Exit.DRAINED
    assert 1 < settled(tmp_path / "out") < 200
    assert left_over(tmp_path / "out") == []
    assert (tmp_path / "out/summary.html").exists()
    assert json.loads((tmp_path / "out/log.jsonl").read_text().splitlines()[-1])["exit"] == Exit.DRAINED


def test_a_study_has_its_time(cli: Callable[..., Any], scans: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    copied(scans, 0, tmp_path / "ward" / "a.h5")
    asked = ("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    answer = cli(*asked, "--time-limit", "1e-9")
    (outcome,) = BatchFolder(tmp_path / "out").outcomes()
    assert (answer.code, outcome.reason) in (
        (Exit.SOME_NOT, Reason.TIME_LIMIT),
        (Exit.ALL_DONE, Reason.RECONSTRUCTED),  # it had just been published
    )
    assert left_over(tmp_path / "out") == []
    assert cli(*asked).code == Exit.ALL_DONE  # another time it may be quicker


def test_a_full_disk(scans: Path, model: Path, tmp_path: Path) -> None:
    """Files may not grow beyond 6 kB: what is published is whole, and there is room again for the next run."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    ended = subprocess.run(
        command(scans, tmp_path / "out", model), env=ENVIRONMENT, preexec_fn=small, capture_output=True, text=True
    )
    assert ended.returncode == Exit.DISK_FULL, ended.stderr
    assert "Free space" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert published(tmp_path / "out") == {}
    assert start(scans, tmp_path / "out", model).wait(timeout=120) == Exit.ALL_DONE
    assert left_over(tmp_path / "out") == []


def test_it_keeps_watch(scans: Path, model: Path, tmp_path: Path) -> None:
    """New studies are taken up once they stay the same; a signal ends it; a heartbeat shows that it lives."""
    (tmp_path / "ward").mkdir()
    process = start(tmp_path / "ward", tmp_path / "out", model, "--watch", 0.3)
    status, heartbeat = tmp_path / "out/status", tmp_path / "out/heartbeat"
    try:
        wait_for(heartbeat.exists, process)
        growing = tmp_path / "ward" / "growing.h5"
        content = sorted(scans.glob("*.h5"))[0].read_bytes()
        for share in (0.3, 0.6, 1.0):
            growing.write_bytes(content[: int(share * len(content))])
            time.sleep(0.2)
        wait_for(lambda: list(status.glob("*.json")) != [], process)
        shutil.copy(sorted(scans.glob("*.h5"))[1], tmp_path / "ward")
        wait_for(lambda: len(list(status.glob("*.json"))) == 2, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == Exit.DRAINED
    finally:
        process.kill()
    assert {outcome.reason for outcome in by_source(tmp_path / "out").values()} == {Reason.RECONSTRUCTED}


# A study's ways to end, without a process


@pytest.fixture
def work(model: Path, held: BatchFolder) -> StudyWork:
    return StudyWork(setup(model, held.path), held)


def first_of(scans: Path) -> Study:
    return Study("s", (sorted(scans.glob("*.h5"))[0].name,))


def with_reconstructor(work: StudyWork, reconstructor: Any) -> StudyWork:
    work._reconstructor = reconstructor
    return work


def test_what_cannot_be_reached_is_not_said_to_be_bad(
    work: StudyWork, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes were hashed, and then the file server was away: the same bytes are tried again."""
    ward = tmp_path / "ward"
    ward.mkdir()
    copied(scans, 0, ward / "a.h5")
    read = Reconstructor.read

    def away(self: Reconstructor, path: Path) -> Any:
        ward.rename(tmp_path / "away")
        return read(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Reconstructor, "read", away)
        outcome = work(ward, Study("s", ("a.h5",)))
    assert (outcome.reason, outcome.key) == (Reason.GONE, "")
    (tmp_path / "away").rename(ward)
    assert work(ward, Study("s", ("a.h5",))).reason is Reason.RECONSTRUCTED


def test_what_is_not_published_is_not_left_lying(work: StudyWork, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.batch.study._alike", lambda *_: False)
    assert work(scans, first_of(scans)).reason is Reason.BAD_OUTPUT
    assert list(work.folder.staging.iterdir()) == []


def test_too_little_memory_is_an_outcome(work: StudyWork, scans: Path) -> None:
    class Full(Reconstructor):
        def __call__(self, source: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    plain = work._reconstructor
    full = with_reconstructor(work, Full(plain.network, plain.recipe, CPU))
    outcome = full(scans, first_of(scans))
    assert outcome.reason is Reason.OUT_OF_MEMORY
    assert work.folder.outcome("s") == outcome


def test_an_output_that_is_not_finite_is_our_failure(work: StudyWork, scans: Path) -> None:
    class Nothing(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * torch.nan

    plain = work._reconstructor
    outcome = with_reconstructor(work, Reconstructor(Nothing(), plain.recipe, CPU))(scans, first_of(scans))
    assert outcome.reason is Reason.BAD_OUTPUT
    assert outcome.state is State.FAILED


def test_an_output_of_other_samples_is_our_failure(
    work: StudyWork, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert work(scans, first_of(scans)).quality["consistency_residual"] < 1e-5
    (tmp := work.folder.status_path("s")).unlink()
    shutil.rmtree(work.folder.path / "studies")
    (work.folder.path / "studies").mkdir()
    monkeypatch.setattr(Residual, "share", 0.01)
    assert work(scans, first_of(scans)).reason is Reason.BAD_OUTPUT
    assert tmp.exists()


def test_a_study_unlike_those_of_the_evaluation_is_an_outlier(work: StudyWork, scans: Path) -> None:
    plain = work(scans, first_of(scans)).quality
    for expected, said in (
        ([plain["held_out_psnr"] + place for place in range(5)], False),
        ([99.0] * 5 + [99.1], True),
    ):
        work._expected = expected
        work.folder.status_path("s").unlink()
        shutil.rmtree(work.folder.path / "studies")
        (work.folder.path / "studies").mkdir()
        assert work(scans, first_of(scans)).quality == plain | {"outlier": said}


def test_what_is_written_is_read_back(work: StudyWork, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bent(path: Path, array: Any, *rest: Any) -> None:
        from mri_n2n.data.volumes import write_volume

        write_volume(path, array + 1, *rest)

    monkeypatch.setattr("pipelines.batch.study.write_volume", bent)
    assert work(scans, first_of(scans)).reason is Reason.BAD_OUTPUT
    assert published(work.folder.path) == {}


def test_studies_whose_outputs_were_changed_are_made_again(work: StudyWork, scans: Path) -> None:
    two = [Study(name, (path.name,)) for name, path in zip("ab", sorted(scans.glob("*.h5")), strict=False)]
    before = [work(scans, study) for study in two]
    for picture in work.folder.path.glob("studies/*/*/thumbnail.png"):
        picture.write_bytes(b"")
    again = [work(scans, study) for study in two]
    assert [outcome.files for outcome in again] == [outcome.files for outcome in before]
    assert all(path.stat().st_size for path in work.folder.path.glob("studies/*/*/thumbnail.png"))


def test_a_file_that_changes_under_our_hands(work: StudyWork, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    path = tmp_path / "ward" / first_of(scans).files[0]
    shutil.copy(scans / path.name, path)
    read = work._read

    def overtaken(paths: list[Path], study: Study) -> Any:
        content = read(paths, study)
        with path.open("ab") as file:
            file.write(b"more")
        return content

    work._read = overtaken
    assert work(tmp_path / "ward", first_of(scans)).reason is Reason.CHANGED
    assert published(work.folder.path) == {}


def test_done_means_that_the_bytes_are_there(work: StudyWork, scans: Path) -> None:
    first = work(scans, first_of(scans))
    place = work.folder.published("s", first.key) / RECONSTRUCTION
    content = place.read_bytes()
    assert work(scans, first_of(scans)) == first
    place.write_bytes(content[:-1])
    second = work(scans, first_of(scans))
    assert second.seconds != first.seconds
    assert place.read_bytes() == content
    work.folder.status_path("s").unlink()  # killed before it said so
    assert work(scans, first_of(scans)) == second
    assert work.folder.outcome("s") == second


def test_a_process_that_dies_is_tried_once_more(
    model: Path, scans: Path, held: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Dead:
        def send(self, work: tuple[Path, Study, bool]) -> None:
            asked.append(work[2])

        def poll(self, _: float) -> bool:
            raise EOFError

    monkeypatch.setattr(Worker, "_ready", lambda _: Dead())
    with Worker(setup(model, held.path), held, 10.0, lambda: False) as worker:
        outcome = worker.work(scans, first_of(scans))
    assert outcome.reason is Reason.CRASHED
    assert asked == [False, True]  # carefully, the second time
    assert held.outcome("s") == outcome


def test_a_process_that_the_system_ended_for_want_of_memory(
    model: Path, scans: Path, held: BatchFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's own count tells it from a crash, here as if the worker had been ended twice."""

    class Dead:
        def send(self, work: object) -> None:
            kills = int(vmstat.read_text().split()[-1])
            vmstat.write_text(f"nr_free_pages 7\noom_kill {kills + 1}\n")

        def poll(self, _: float) -> bool:
            raise EOFError

    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 7\noom_kill 3\n")
    monkeypatch.setattr("mri_n2n.environment.VIRTUAL_MEMORY", vmstat)
    monkeypatch.setattr(Worker, "_ready", lambda _: Dead())
    with Worker(setup(model, held.path), held, 10.0, lambda: False) as worker:
        assert worker.work(scans, first_of(scans)).reason is Reason.OUT_OF_MEMORY


def test_a_process_that_died_between_two_studies_is_replaced(model: Path, scans: Path, held: BatchFolder) -> None:
    one, two = (Study(name, (path.name,)) for name, path in zip("st", sorted(scans.glob("*.h5")), strict=False))
    with Worker(setup(model, held.path), held, 60.0, lambda: False) as worker:
        assert worker.work(scans, one).reason is Reason.RECONSTRUCTED
        worker._process.kill()
        worker._process.join()
        assert worker.work(scans, two).reason is Reason.RECONSTRUCTED


# Weights


def test_only_the_weights_that_were_meant_may_run(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(model, tmp_path / "mine")
    weights = open_run(mine).provenance()["weights_sha256"]
    batch = ("batch", scans, tmp_path / "out", "--model", mine, "--device", "cpu")
    monkeypatch.setenv("MRI_N2N_WEIGHTS_SHA256", "0" * 64)
    refused = cli(*batch)
    monkeypatch.setenv("MRI_N2N_WEIGHTS_SHA256", "")  # as a compose file says that it is not set
    (file,) = mine.glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = cli(*batch)
    for answer, message in ((refused, "expected 0000"), (damaged, "the weights' SHA-256 differs")):
        assert answer.code == 2
        assert message in answer.err
        assert answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    file.write_bytes(whole)
    assert cli(*batch, "--weights-sha256", weights).code == Exit.ALL_DONE


def test_what_reconstructs_is_light() -> None:
    """Neither what only training needs, nor what takes seconds to import, is waited for (twice: by both processes)."""
    script = (
        "import sys, pipelines.batch.run\n"
        "slow = {'matplotlib', 'mlflow', 'monai', 'pandas', 'pyvips', 'scipy.stats', 'sigpy', 'SimpleITK'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Mistakes


@pytest.fixture
def mistakes(scans: Path, model: Path, tmp_path: Path) -> Iterator[list[tuple[tuple[object, ...], str]]]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "foreign").mkdir()
    for name in ("thesis.tex", "scan.raw"):
        (tmp_path / "foreign" / name).write_bytes(bytes(200))
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    BatchFolder(out).open()
    with BatchFolder(out).held():
        yield [
            (("batch", scans, out), "--model"),
            (("batch", scans, out, "--model", model), "another process"),
            (("batch", scans, tmp_path / "mine", "--model", model), "not of an earlier batch"),
            (("batch", scans, tmp_path / "file", "--model", model), "is a file"),
            (("batch", tmp_path / "absent", out, "--model", model), "no folder"),
            (("batch", tmp_path / "file", tmp_path / "new", "--model", model), "no folder"),
            (("batch", tmp_path / "foreign", tmp_path / "new", "--model", model), "none of the 2 files"),
            (("batch", scans, out, "--model", model, "--names"), "is of status"),
            (("batch", scans, scans / "out", "--model", model), "lies in the other"),
            (("batch", scans, out, "--model", tmp_path / "absent"), "no run"),
            (("batch", scans, out, "--model", model, "--time-limit", 0), "--time-limit"),
            (("batch", scans, out, "--model", model, "--watch", 0), "--watch"),
            (("batch", scans, out, "--model", model, "--white", 3, "--simulate"), "--white"),
            (("batch", "status", tmp_path / "mine"), "holds no batch"),
        ]


def test_mistakes(cli: Callable[..., Any], mistakes: list[tuple[tuple[object, ...], str]]) -> None:
    for arguments, message in mistakes:
        answer = cli(*arguments)
        assert answer.code == 2, (message, answer.out, answer.err)
        assert message in answer.err
        assert answer.err.count("\n") == 1


def test_names_say_nothing() -> None:
    assert PATIENT not in study_name(f"{PATIENT}.h5")
    assert study_name("a") != study_name("b")
