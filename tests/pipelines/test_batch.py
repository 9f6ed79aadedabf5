"""A hospital's folder of studies: every one ends in exactly one state, whenever the batch is killed."""

import gzip
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

import h5py
import nibabel
import numpy as np
import pytest
import torch
from dicom_files import Edit, at, everywhere, gap, some_series
from raw_files import write_cfl, write_fastmri

from mri_n2n.data.dicom import read_series
from mri_n2n.data.mrd import read_scan, write_scan
from mri_n2n.densities import GivenDensity, given_density
from mri_n2n.durable import alone
from mri_n2n.kspace.sampling import exponential_density
from mri_n2n.recipes import Recipe
from mri_n2n.reconstruction import Reconstructor, reconstruct_path
from mri_n2n.run_directory import open_run
from mri_n2n.simulation import simulate_path
from mri_n2n.slice_training import create_slice_run, train_on_slices
from mri_n2n.task import Undersampling
from pipelines.batch.discovery import Study, studies, study_name
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, Reason, State
from pipelines.batch.run import Exit
from pipelines.batch.study import RECONSTRUCTION, Setup, StudyWork
from pipelines.batch.worker import Worker

CPU = torch.device("cpu")
PATIENT = "DOE^JANE"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}


@pytest.fixture(scope="module")
def model(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained for two steps."""
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.networks.spec import UNetSpec
    from mri_n2n.recipes import Optimisation, undersampling_task

    recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=2, batch_size=2), UNetSpec(width=6))
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path_factory.mktemp("model") / "run", recipe, prepared, data, CPU)
    assert train_on_slices(run, data, CPU, track=False)
    return run.directory


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small scans, named after a patient."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for number in range(4):
        head = (rng.random((16, 20, 6)) * 200).astype(np.uint8)
        nibabel.Nifti1Image(head, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(folder / f"{PATIENT}-{number}.nii.gz")
    out = tmp_path_factory.mktemp("mrd")
    simulate_path(folder, out, Undersampling(3.0, None), 0)
    for about in out.glob("*.json"):
        about.unlink()
    return out


def setup(model: Path, output: Path, *, simulate: bool = False) -> Setup:
    return Setup(model, output, "cpu", simulate, None)


def by_source(output: Path) -> dict[str, Outcome]:
    """What became of each file, or of each series by its first file."""
    names = json.loads((output / "private" / "sources.json").read_text())
    return {names[outcome.study][0]: outcome for outcome in BatchFolder(output).outcomes()}


def published(output: Path) -> dict[str, bytes]:
    """Every published file, but for the times that are told."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted((output / "studies").rglob("*"))
        if path.is_file() and path.name != "status.json"
    }


def left_over(output: Path) -> list[Path]:
    return [path for path in output.rglob("*") if path.name.startswith(".")]


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


# Twenty kinds of damage


def _copy(scans: Path, number: int, target: Path) -> Path:
    shutil.copy(sorted(scans.glob("*.h5"))[number], target)
    return target


def _edited(scans: Path, target: Path, edit: Callable[[h5py.File], None]) -> None:
    with h5py.File(_copy(scans, 0, target), "r+") as file:
        edit(file)


def _header(old: bytes, new: bytes) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        text = file["dataset/xml"][0]
        assert old in text
        file["dataset/xml"][0] = text.replace(old, new, 1)

    return edit


def _head(field: str, value: int) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        table = file["dataset/data"][:]
        table["head"]["idx"][field][-1] = value
        file["dataset/data"][:] = table

    return edit


def _not_finite(file: h5py.File) -> None:
    table = file["dataset/data"][:]
    table["data"][0][0] = np.nan
    file["dataset/data"][:] = table


def damaged_scans(scans: Path, ward: Path) -> dict[str, Reason]:
    """A folder of scans among which few are good, and what should become of each."""
    ward.mkdir()
    content = sorted(scans.glob("*.h5"))[0].read_bytes()
    (ward / "truncated.h5").write_bytes(content[: len(content) // 2])
    (ward / "empty.h5").write_bytes(b"")
    (ward / "text.h5").write_text("Dear colleague,")
    (ward / "zeros.mrd").write_bytes(bytes(5000))
    _edited(scans, ward / "nan.h5", _not_finite)
    _edited(scans, ward / "radial.h5", _header(b"cartesian", b"radial"))
    _edited(scans, ward / "two-d.h5", _header(b"<z>20</z>", b"<z>1</z>"))
    _edited(scans, ward / "huge.h5", _header(b"<x>6</x>", b"<x>60000</x>"))
    _edited(scans, ward / "xml.h5", _header(b"<encoding>", b"<encoding><"))
    _edited(scans, ward / "contrasts.h5", _head("contrast", 1))
    _edited(scans, ward / "beyond.h5", _head("kspace_encode_step_1", 999))
    scan = read_scan(_copy(scans, 1, ward / "good.h5"))
    write_scan(ward / "no-density.h5", replace(scan, decay=None), {})
    write_scan(ward / "coils.h5", replace(scan, samples=np.repeat(scan.samples, 2, 0)), {})
    write_scan(ward / "phases.h5", replace(scan, samples=scan.samples * np.complex64(1j)), {})
    one_slice = read_scan(ward / "good.h5").samples[:, 3]
    shown = np.fft.fftshift(one_slice, axes=(1, 2)).transpose(2, 1, 0)[:, :, None]
    for name in ("pair", "lonely", "short"):
        write_cfl(ward / f"{name}.cfl", shown)
    (ward / "lonely.hdr").unlink()
    (ward / "short.cfl").write_bytes((ward / "short.cfl").read_bytes()[:-8])
    write_fastmri(ward / "fastmri.h5", one_slice[:, None])
    with h5py.File(ward / "link.h5", "w") as file:
        file["dataset"] = h5py.ExternalLink("good.h5", "/dataset")
    (ward / "nowhere.h5").symlink_to("absent.h5")
    (ward / "round").symlink_to(".")
    os.mkfifo(ward / "pipe.h5")
    hostile = os.fsdecode(os.fsencode(ward) + b"/\xff\n'; rm -rf <b>" + PATIENT.encode() + b".h5")
    shutil.copy(ward / "good.h5", hostile)
    _edited(scans, ward / "twice.h5", _doubled)
    return {
        "truncated.h5": Reason.UNREADABLE,
        "empty.h5": Reason.UNREADABLE,
        "text.h5": Reason.UNREADABLE,
        "zeros.mrd": Reason.UNREADABLE,
        "nan.h5": Reason.NOT_FINITE,
        "radial.h5": Reason.UNSUPPORTED,
        "two-d.h5": Reason.DAMAGED,
        "huge.h5": Reason.IMPLAUSIBLE,
        "xml.h5": Reason.UNREADABLE,
        "contrasts.h5": Reason.UNSUPPORTED,
        "twice.h5": Reason.DUPLICATE,
        "beyond.h5": Reason.DAMAGED,
        "no-density.h5": Reason.RECONSTRUCTED,
        "coils.h5": Reason.INCOMPATIBLE,
        "phases.h5": Reason.INCOMPATIBLE,
        "pair.cfl": Reason.INCOMPATIBLE,  # nobody says what is white
        "lonely.cfl": Reason.INCOMPLETE,
        "short.cfl": Reason.DAMAGED,
        "fastmri.h5": Reason.INCOMPATIBLE,
        "link.h5": Reason.UNREADABLE,
        "nowhere.h5": Reason.GONE,
        "pipe.h5": Reason.UNSUPPORTED,
        "good.h5": Reason.RECONSTRUCTED,
        Path(hostile).name: Reason.RECONSTRUCTED,
    }


def _doubled(file: h5py.File) -> None:
    table = file["dataset/data"][:]
    table["head"]["idx"][-1] = table["head"]["idx"][0]
    file["dataset/data"][:] = table


def damaged_volumes(ward: Path) -> dict[str, Reason]:
    """The same of volumes."""
    ward.mkdir()
    rng = np.random.default_rng(0)
    good = (rng.random((16, 20, 6)) * 200).astype(np.float32)

    def save(name: str, array: Any) -> Path:
        nibabel.Nifti1Image(array, np.eye(4)).to_filename(ward / name)
        return ward / name

    content = gzip.decompress(save("good.nii.gz", good).read_bytes())
    (ward / "cut.nii.gz").write_bytes((ward / "good.nii.gz").read_bytes()[:3000])
    save("nan.nii", np.where(good > 199, np.nan, good))
    save("series.nii", np.stack([good, good], axis=-1))
    save("complex.nii", good.astype(np.complex64))
    save("blank.nii", np.zeros_like(good))
    save("negative.nii", -good)
    save("loud.nii", good.astype(np.float64) * 1e35)
    claim = bytearray(content)
    claim[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()  # the shape, in the header
    (ward / "claims.nii.gz").write_bytes(gzip.compress(bytes(claim)))
    (ward / "bomb.nii.gz").write_bytes(gzip.compress(bytes(claim[:352]) + bytes(50_000_000)))
    return {
        "good.nii.gz": Reason.RECONSTRUCTED,
        "cut.nii.gz": Reason.UNREADABLE,
        "nan.nii": Reason.NOT_FINITE,
        "series.nii": Reason.UNSUPPORTED,
        "complex.nii": Reason.UNSUPPORTED,
        "blank.nii": Reason.NO_SIGNAL,
        "negative.nii": Reason.NO_SIGNAL,
        "loud.nii": Reason.IMPLAUSIBLE,
        "claims.nii.gz": Reason.IMPLAUSIBLE,
        "bomb.nii.gz": Reason.IMPLAUSIBLE,
    }


def test_every_study_ends_in_one_state_and_nobody_is_named(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path
) -> None:
    expected = damaged_scans(scans, tmp_path / "ward")
    answer = cli("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.code == Exit.SOME_NOT, answer.err
    outcomes = by_source(tmp_path / "out")
    assert {name: outcome.reason for name, outcome in outcomes.items()} == expected
    assert left_over(tmp_path / "out") == []
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
    assert status.out in answer.out
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
        work = StudyWork(replace(setup(model, folder.path), density=given))
        outcome = work(tmp_path / "ward", Study(study_name("a.h5"), ("a.h5",)))
        assert outcome.reason is Reason.RECONSTRUCTED
        assert ["estimated" in note for note in outcome.about["notes"]] == ([] if given.said else [True])
        keys.append(outcome.key)
        image: Any = nibabel.load(folder.published(outcome.study, outcome.key) / RECONSTRUCTION)
        arrays.append(image.get_fdata())
    assert len(set(keys)) == 4
    network = open_run(model)
    stated, _ = Reconstructor(network.network(), network.recipe, CPU)(
        Reconstructor(network.network(), network.recipe, CPU).read(sorted(scans.glob("*.h5"))[0])
    )
    np.testing.assert_allclose(arrays[1], stated, atol=1e-3)
    assert np.abs(arrays[2] - stated).max() > 1e-3
    command = ("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    answer = cli(*command, "--density", tmp_path / "known.npy")
    assert answer.code == Exit.ALL_DONE, answer.err
    assert [outcome.key for outcome in by_source(tmp_path / "out").values()] == [keys[1]]
    answer = cli(*command, "--simulate", "--edge-probability", 0.1)
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
    good = some_series(ward / "a")
    mixed = some_series(ward / "a" / "b", everywhere(SeriesInstanceUID="1.2.1"))
    mixed[1].rename(ward / "elsewhere")
    others = {
        "1.2.2": (everywhere(Modality="CT"), Reason.UNSUPPORTED),
        "1.2.3": (gap, Reason.INCOMPLETE),
        "1.2.4": (at(1, PixelData=bytes(4)), Reason.UNREADABLE),
        "1.2.5": (at(2, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), Reason.UNSUPPORTED),
        "1.2.6": (everywhere(PixelData=bytes(192)), Reason.NO_SIGNAL),
    }
    for uid, (edit, _) in others.items():

        def both(number: int, one: Any, uid: str = uid, edit: Edit = edit) -> None:
            one.SeriesInstanceUID = uid
            edit(number, one)

        some_series(ward / uid, both)
    twice = some_series(ward / "twice", everywhere(SeriesInstanceUID="1.2.7"))
    shutil.copy(twice[0], ward / "again")
    (ward / "cut.dcm").write_bytes(good[0].read_bytes()[:200])
    answer = cli("batch", ward, tmp_path / "out", "--model", model, "--simulate", "--device", "cpu")
    assert answer.code == Exit.SOME_NOT, answer.err
    outcomes = by_source(tmp_path / "out")
    reasons = {name.split("/")[0]: outcome.reason for name, outcome in outcomes.items()}
    assert reasons == {
        "a": Reason.RECONSTRUCTED,
        "elsewhere": Reason.RECONSTRUCTED,
        "again": Reason.DUPLICATE,
        "cut.dcm": Reason.UNREADABLE,
        **{uid: reason for uid, (_, reason) in others.items()},
    }
    outcome = next(outcome for name, outcome in outcomes.items() if name.startswith("a/"))
    place = BatchFolder(tmp_path / "out").published(outcome.study, outcome.key)
    derived = read_series(list((place / "dicom").iterdir()))
    volume: Any = nibabel.load(place / RECONSTRUCTION)
    np.testing.assert_allclose(derived.volume.affine, volume.affine, atol=1e-3)
    np.testing.assert_allclose(derived.volume.array, volume.get_fdata(), atol=0.51)
    np.testing.assert_allclose(derived.volume.affine, read_series(good).volume.affine, atol=1e-3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/studies").rglob("*")}
    assert cli("batch", ward, tmp_path / "out", "--model", model, "--simulate", "--device", "cpu").code == Exit.SOME_NOT
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/studies").rglob("*")} == before
    # For raw k-space alone, images are good for nothing.
    answer = cli("batch", ward / "a", tmp_path / "raw", "--model", model, "--device", "cpu")
    assert {outcome.reason for outcome in by_source(tmp_path / "raw").values()} == {Reason.INCOMPATIBLE}


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


def command(source: Path, output: Path, model: Path, *more: object) -> list[str]:
    arguments = ["batch", source, output, "--model", model, "--device", "cpu", *more]
    return [sys.executable, "-m", "pipelines", *map(str, arguments)]


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def killed_and_restarted(ward: Path, model: Path, output: Path, kills: int, seed: int = 0) -> int:
    """Kill it at random moments while studies are worked on, then let it end; how often something was half-written."""
    rng = random.Random(seed)
    half_written = 0
    for _ in range(kills):
        done = settled(output)
        process = start(ward, output, model)
        while process.poll() is None and settled(output) == done:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.wait()
        time.sleep(0.2)  # for the worker to end, too
        half_written += len(left_over(output)) > 0
    assert start(ward, output, model).wait(timeout=600) == Exit.SOME_NOT
    return half_written


def settled(output: Path) -> int:
    return len(list((output / "status").glob("*.json"))) if (output / "status").exists() else 0


def check_killed(scans: Path, model: Path, tmp_path: Path, kills: int, more: int = 0) -> None:
    expected = damaged_scans(scans, tmp_path / "ward")
    for number in range(more):
        name = f"more-{number:04d}.h5"
        (tmp_path / "ward" / name).symlink_to(sorted(scans.glob("*.h5"))[number % 4])
        expected[name] = Reason.RECONSTRUCTED
    assert start(tmp_path / "ward", tmp_path / "whole", model).wait(timeout=600) == Exit.SOME_NOT
    assert killed_and_restarted(tmp_path / "ward", model, tmp_path / "cut", kills) > 0
    assert {name: outcome.reason for name, outcome in by_source(tmp_path / "cut").items()} == expected
    assert published(tmp_path / "cut") == published(tmp_path / "whole")
    assert left_over(tmp_path / "cut") == []


def test_killed_at_random_moments(scans: Path, model: Path, tmp_path: Path) -> None:
    check_killed(scans, model, tmp_path, kills=4, more=60)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_studies_killed_at_fifty_random_moments(scans: Path, model: Path, tmp_path: Path) -> None:
    check_killed(scans, model, tmp_path, kills=50, more=980)


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
    _copy(scans, 0, tmp_path / "ward" / "a.h5")
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


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None
        time.sleep(0.05)
    pytest.fail("it did not get there within a minute")


# A study's ways to end, without a process


@pytest.fixture
def work(model: Path, tmp_path: Path) -> StudyWork:
    BatchFolder(tmp_path / "out").open()
    return StudyWork(setup(model, tmp_path / "out"))


def first_of(scans: Path) -> Study:
    return Study("s", (sorted(scans.glob("*.h5"))[0].name,))


def with_reconstructor(work: StudyWork, reconstructor: Any) -> StudyWork:
    work._reconstructor = reconstructor
    return work


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
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Dead:
        def send(self, work: tuple[Path, Study, bool]) -> None:
            asked.append(work[2])

        def poll(self, _: float) -> bool:
            raise EOFError

    BatchFolder(tmp_path / "out").open()
    monkeypatch.setattr(Worker, "_ready", lambda _: Dead())
    with Worker(setup(model, tmp_path / "out"), 10.0, lambda: False) as worker:
        outcome = worker.work(scans, first_of(scans))
    assert outcome.reason is Reason.CRASHED
    assert asked == [False, True]  # carefully, the second time
    assert BatchFolder(tmp_path / "out").outcome("s") == outcome


def test_a_process_that_died_between_two_studies_is_replaced(model: Path, scans: Path, tmp_path: Path) -> None:
    BatchFolder(tmp_path / "out").open()
    one, two = (Study(name, (path.name,)) for name, path in zip("st", sorted(scans.glob("*.h5")), strict=False))
    with Worker(setup(model, tmp_path / "out"), 60.0, lambda: False) as worker:
        assert worker.work(scans, one).reason is Reason.RECONSTRUCTED
        worker._process.kill()
        worker._process.join()
        assert worker.work(scans, two).reason is Reason.RECONSTRUCTED


# Mistakes


@pytest.fixture
def mistakes(scans: Path, model: Path, tmp_path: Path) -> Iterator[list[tuple[tuple[object, ...], str]]]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "file").touch()
    out = tmp_path / "out"
    BatchFolder(out).open()
    with alone(out):
        yield [
            (("batch", scans, out), "--model"),
            (("batch", scans, out, "--model", model), "another process"),
            (("batch", scans, tmp_path / "mine", "--model", model), "not of an earlier batch"),
            (("batch", scans, tmp_path / "file", "--model", model), "is a file"),
            (("batch", tmp_path / "absent", out, "--model", model), "no folder"),
            (("batch", tmp_path / "nothing", out, "--model", model), "no studies"),
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
