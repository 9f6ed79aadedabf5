"""Complex runs from files of raw k-space to volumes: prepared, trained, evaluated, reconstructed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conftest import Answer
from raw_files import some_slices, write_fastmri

from mri_n2n.data.manifest import Manifest
from mri_n2n.data.mrd import read_scan, write_scan
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slices import open_prepared
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.data.volumes import find_volumes, read_volume
from mri_n2n.densities import GivenDensity
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.evaluation import (
    CLASSICAL,
    CONSISTENT,
    ZERO_FILLED,
    evaluable,
    evaluate,
    methods_for,
    pair_at,
    validation_places,
)
from mri_n2n.kspace.acquisition import zero_filled
from mri_n2n.kspace.channels import from_channels
from mri_n2n.kspace.sampling import decay_for_acceleration, exponential_density
from mri_n2n.kspace_preparation import prepare_kspace
from mri_n2n.measured_kspace import MeasuredKspace, stored_measurement
from mri_n2n.recipes import COMPLEX, Optimisation, Recipe, kspace_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.report import report_scores
from mri_n2n.scans import complex_volume
from mri_n2n.scores import summarised
from mri_n2n.simulation import simulate_path
from mri_n2n.slice_training import create_slice_run, train_on_slices
from mri_n2n.task import Undersampling
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.task import Batch

CPU = torch.device("cpu")
ALL = SliceRequest(0, 2047)
TINY = replace(COMPLEX, width=6)


def complex_recipe(**task: Any) -> Recipe[Any]:
    return Recipe(kspace_task(**task), Optimisation(steps=3, batch_size=2), TINY)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small volumes whose voxels are not cubes and whose axes are not the patient's."""
    folder = tmp_path_factory.mktemp("volumes")
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]], float)
    rng = np.random.default_rng(0)
    for number in range(4):
        head = (rng.random((16, 20, 6)) * 200).astype(np.float32)
        nibabel.Nifti1Image(head, affine).to_filename(folder / f"{number}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def scans(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their scans by two coils, a third of k-space each."""
    folder = tmp_path_factory.mktemp("scans")
    simulate_path(volumes, folder, Undersampling(3.0, None), 0, coils=2)
    return folder


@pytest.fixture(scope="module")
def full(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    simulate_path(volumes, folder, Undersampling(1.0, None), 0, coils=2)
    return folder


def prepared(scans: Path, folder: Path, **options: Any) -> Manifest:
    return prepare_kspace(scans, folder, PrepareRequest(SplitRequest(2, 2), ALL, **options))


# Preparing


def test_every_slice_of_every_coil_is_stored_as_it_was_measured(scans: Path, tmp_path: Path) -> None:
    manifest = prepared(scans, tmp_path / "data")
    data = open_prepared(tmp_path / "data")
    assert data.array.shape == (4 * 6 * 2, 3, 16, 20)
    assert data.array.dtype == np.float32
    assert (manifest.kind, manifest.simulated) == ("kspace", True)
    assert manifest.volumes[1].slices == [place for place in range(6) for _ in range(2)]
    source = complex_volume(read_scan(sorted(scans.glob("*.h5"))[1]))
    stored = stored_measurement(data.images(list(manifest.volumes[1].rows)))
    assert manifest.volumes[1].scale == source.white
    torch.testing.assert_close(stored.samples * source.white, source.measurement.samples)
    assert torch.equal(stored.mask, source.measurement.mask)
    torch.testing.assert_close(stored.density, source.measurement.density.expand_as(stored.density))


def test_slices_can_be_chosen_and_running_again_does_nothing(scans: Path, tmp_path: Path) -> None:
    request = PrepareRequest(SplitRequest(2, 1), SliceRequest(2, 3))
    first = prepare_kspace(scans, tmp_path / "data", request)
    assert len(first.volumes) == 3
    assert first.volumes[0].slices == [2, 2, 3, 3]
    assert prepare_kspace(scans, tmp_path / "data", request) == first
    with pytest.raises(UsageError, match="--overwrite"):
        prepared(scans, tmp_path / "data")


def test_an_interrupted_preparation_goes_on(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mri_n2n import kspace_preparation

    whole = prepared(scans, tmp_path / "whole")
    stored, seen = kspace_preparation._stored, []

    def dies(*arguments: Any) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(1)
        return stored(*arguments)

    monkeypatch.setattr(kspace_preparation, "_stored", dies)
    with pytest.raises(KeyboardInterrupt):
        prepared(scans, tmp_path / "data")
    monkeypatch.setattr(kspace_preparation, "_stored", stored)
    assert prepared(scans, tmp_path / "data").fingerprint == whole.fingerprint


def test_what_differs_or_is_damaged_is_skipped_with_a_reason(scans: Path, full: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("0", "1", "2", "3"):
        (folder / f"a{name}.h5").write_bytes((scans / f"{name}.h5").read_bytes())
    (folder / "a00.h5").write_bytes(b"rubbish")
    (folder / "a11.h5").write_bytes((full / "1.h5").read_bytes())
    nibabel.Nifti1Image(np.random.default_rng(1).random((12, 20, 6)), np.eye(4)).to_filename(tmp_path / "v.nii")
    simulate_path(tmp_path / "v.nii", tmp_path, Undersampling(3.0, None), 0, coils=1)
    (tmp_path / "v.h5").rename(folder / "a12.h5")
    manifest = prepared(folder, tmp_path / "data")
    assert [volume.sources[0]["file"] for volume in manifest.volumes] == ["a0.h5", "a1.h5", "a2.h5", "a3.h5"]
    reasons = {skipped["file"]: skipped["reason"] for skipped in manifest.skipped}
    assert "cannot be read" in reasons["a00.h5"]
    assert "fully sampled, unlike the first" in reasons["a11.h5"]
    assert "12×20" in reasons["a12.h5"]
    with pytest.raises(BadVolume):
        prepared(folder, tmp_path / "strict", strict=True)


def test_a_density_that_is_not_stated_can_be_given(scans: Path, tmp_path: Path) -> None:
    """With the right one the data is the same as from files that state it; another one is another request."""
    (tmp_path / "scans").mkdir()
    for path in scans.glob("*.h5"):
        write_scan(tmp_path / "scans" / path.name, replace(read_scan(path), decay=None), {})
    edge = float(exponential_density((16, 20), decay_for_acceleration((16, 20), 3.0))[0, 10])
    request = PrepareRequest(SplitRequest(2, 2), ALL)
    prepare_kspace(tmp_path / "scans", tmp_path / "data", request, GivenDensity(edge))
    prepared(scans, tmp_path / "stated")
    given, stated = (open_prepared(tmp_path / name).array for name in ("data", "stated"))
    np.testing.assert_allclose(given, stated, rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match="--overwrite"):
        prepare_kspace(tmp_path / "scans", tmp_path / "data", request)


def test_a_scan_of_which_nothing_can_be_held_out_is_refused(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each frequency certain or impossible, as with partial echoes of a fully sampled scan."""
    scan = read_scan(sorted(scans.glob("*.h5"))[0])
    mask = np.ones_like(scan.mask)
    mask[:, 8:12] = False
    partial = replace(scan, samples=scan.samples * mask, mask=mask, density=np.ones(mask.shape, np.float32))
    monkeypatch.setattr("mri_n2n.data.raw.read_scan", lambda _: partial)
    with pytest.raises(UsageError, match="nothing to learn from"):
        prepared(scans, tmp_path / "data")


def test_scans_of_lines_are_learned_from_line_by_line(tmp_path: Path) -> None:
    """fastMRI files of 2-D slices and two coils, five lines in the middle and a third of the others."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(3)
    for number in range(4):
        samples = some_slices(2, 3, 24, 16, seed=number)
        distance = np.abs(np.fft.fftfreq(24) * 24)
        samples[:, :, (distance > 2) & (rng.random(24) > 1 / 3)] = 0
        write_fastmri(tmp_path / "scans" / f"{number}.h5", samples)
    manifest = prepared(tmp_path / "scans", tmp_path / "data")
    data = open_prepared(tmp_path / "data")
    assert (manifest.kind, data.array.shape) == ("kspace", (4 * 3 * 2, 3, 24, 16))
    pair = MeasuredKspace()(Batch(data.images(data.rows("train")), torch.arange(12)), torch.Generator().manual_seed(0))
    for part in (pair.measurement, pair.target_measurement):
        assert torch.equal(part.mask, part.mask[:, :, :1].expand_as(part.mask))
        assert part.mask[:, 0].all()
        assert not part.mask.all()
    run = create_slice_run(tmp_path / "run", complex_recipe(), tmp_path / "data", data, CPU)
    assert train_on_slices(run, data, CPU, track=False)
    done = reconstruct_path(Reconstructor(run.network(), run.recipe, CPU), tmp_path / "scans", tmp_path / "out", {})
    assert nibabel.load(done[0].output).shape == (24, 16, 3)


def test_a_run_says_what_the_split_comes_to(scans: Path, tmp_path: Path) -> None:
    """A third of k-space is p, and each part has 1 - √(1 - p), on average over k."""
    prepared(scans, tmp_path / "data")
    data = open_prepared(tmp_path / "data")
    run = create_slice_run(tmp_path / "run", complex_recipe(), tmp_path / "data", data, CPU)
    density = exponential_density((16, 20), decay_for_acceleration((16, 20), 3.0))
    assert run.data["kept"] == pytest.approx(float((1 - (1 - density).sqrt()).mean()), rel=1e-3)
    assert 0 <= run.data["ht_lost_weight"] < 0.01


# Reconstructing


@pytest.mark.parametrize("coils", [1, 3])
def test_full_sampling_returns_the_magnitude_in_the_scans_geometry(volumes: Path, tmp_path: Path, coils: int) -> None:
    """With every frequency acquired the network changes nothing: file to file, geometry and intensities."""
    simulate_path(volumes, tmp_path / "scans", Undersampling(1.0, None), 0, coils=coils)
    recipe = complex_recipe()
    reconstructor = Reconstructor(recipe.network.build(), recipe, CPU, batch_size=4)
    done = reconstruct_path(reconstructor, tmp_path / "scans", tmp_path / "out", {})
    for result, source in zip(done, sorted(volumes.iterdir()), strict=True):
        before, after = nibabel.load(source), nibabel.load(result.output)
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-4)
        np.testing.assert_allclose(after.get_fdata(), before.get_fdata(), atol=0.02)
        assert b"SIMULATED" in after.header["descrip"].item()
        about = json.loads(result.output.with_name(result.output.name + ".json").read_text())
        assert about["simulated"] is True


def test_batches_do_not_matter_and_coils_are_told_of(scans: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = complex_recipe()
    network = recipe.network.build()
    path = sorted(scans.glob("*.h5"))[0]
    outputs, qualities = [], []
    together: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: together.append(len(inputs[0])))
    for size in (1, 16):
        reconstructor = Reconstructor(network, recipe, CPU, batch_size=size)
        scanned = reconstructor.read(path)
        outputs.append(reconstructor(scanned).array)
        qualities.append(reconstructor.held_out_psnr(scanned))
        assert scanned.coils > 1
        assert max(together) <= size  # not even the coils of one slice
    np.testing.assert_allclose(*outputs, atol=0.05)
    assert qualities[0] == pytest.approx(qualities[1], abs=0.01)
    assert 0 < qualities[0] < 60
    assert any("coil sensitivities comes later" in note for note in scanned.notes)


def test_what_does_not_fit_is_refused_with_advice(scans: Path, volumes: Path, tmp_path: Path, tiny_recipe: Any) -> None:
    recipe = complex_recipe()
    network = recipe.network.build()
    real = Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU)
    with pytest.raises(BadVolume, match="2 coils.*prepare kspace"):
        real.read(sorted(scans.glob("*.h5"))[0])
    with pytest.raises(UsageError, match="simulate --values complex"):
        reconstruct_path(Reconstructor(network, recipe, CPU), volumes, tmp_path / "out", {})
    for options in ({"simulate": True}, {"white": 3.0}):
        with pytest.raises(UsageError, match="leave out --simulate and --white"):
            Reconstructor(network, recipe, CPU, **options)


# The whole way


def test_on_the_command_line(cli: Callable[..., Answer], volumes: Path, tmp_path: Path) -> None:
    """simulate, prepare, train, evaluate, reconstruct, batch: each names the next command, and that command works."""
    assert "SIMULATED" in cli("simulate", volumes, "--out", "scans", "--acceleration", 3, "--values", "complex").out
    answer = cli("prepare", "kspace", "scans", "data", "--train", 2, "--validation", 2)
    assert answer.code == 0, answer.err
    assert "Next: mri-n2n train data" in answer.out
    answer = cli("train", "data", "--steps", 2, "--batch-size", 1, "--run-name", "c")
    assert answer.code == 0, answer.err
    answer = cli("evaluate", "c", "data")
    assert answer.code == 0, answer.err
    assert "held-out samples" in answer.out
    summary = json.loads(Path("runs/c/evaluation/summary.json").read_text())
    assert summary["label"].startswith("SIMULATED k-space; no reference")
    assert set(summary["methods"]) == {ZERO_FILLED, CONSISTENT}
    assert set(summary["methods"][CONSISTENT]) == {"psnr"}
    known = json.loads(Path("runs/c/evaluation/quality.json").read_text())["subjects"]
    assert set(known) == {"validation-001", "validation-002"}
    for picture in ("runs/c/evaluation/scores.png", "runs/c/evaluation/examples.png"):
        assert Path(picture).stat().st_size > 1000
    answer = cli("reconstruct", "c", "scans", "out")
    assert answer.code == 0, answer.err
    assert len(list(Path("out").glob("*.nii.gz"))) == 4
    answer = cli("batch", "scans", "studies", "--model", "c")
    assert answer.code == 0, answer.err
    states = [json.loads(path.read_text()) for path in Path("studies/status").glob("*.json")]
    assert [state["reason"] for state in states] == ["reconstructed"] * 4
    assert all(state["quality"]["held_out_psnr"] > 0 for state in states)


def test_fully_sampled_data_is_scored_against_itself(full: Path, tmp_path: Path) -> None:
    manifest = prepared(full, tmp_path / "data")
    assert manifest.kind == "full-kspace"
    data = open_prepared(tmp_path / "data")
    recipe = complex_recipe(acceleration=3.0, targets="clean", loss="paper")
    run = create_slice_run(tmp_path / "run", recipe, tmp_path / "data", data, CPU)
    assert run.data["kept"] == pytest.approx(1 / 3, rel=1e-3)
    assert train_on_slices(run, data, CPU, track=False)
    scores = report_scores(run, data, tmp_path / "evaluation", CPU)
    assert CLASSICAL not in {score.method for score in scores}
    for score in scores:
        assert 0 < score.ssim < 1
    about = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert about["label"].startswith("SIMULATED k-space; raw k-space")
    # The scores are those of magnitudes: of the first slice and coil, by hand.
    place = validation_places(data)[:1]
    pair = pair_at(data, evaluable(recipe), place, CPU)
    naive, truth = (image.abs().clamp(0, 1) for image in (zero_filled(pair.measurement), from_channels(pair.target)))
    expected = -10 * torch.log10((naive - truth).square().mean())
    (first,) = [score.psnr for score in scores if score.method == ZERO_FILLED and score.row == place[0][0].first_row]
    assert first == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "data", "--acceleration", 4), "undersampled by the scanner"),
        (("train", "data", "--targets", "clean"), "undersampled by the scanner"),
        (("train", "data", "--values", "real"), "this data is complex"),
        (("simulate", "heads", "--out", "x", "--coils", 2), "--values complex"),
        (("simulate", "heads", "--out", "x", "--coils", 0, "--values", "complex"), "1 .. 64"),
        (("prepare", "kspace", "absent", "x"), "no folder"),
    ],
)
def test_options_that_do_not_fit(
    cli: Callable[..., Answer], scans: Path, tmp_path: Path, arguments: tuple[Any, ...], message: str
) -> None:
    prepared(scans, tmp_path / "data")
    answer = cli(*arguments)
    assert answer.code == 2
    assert message in answer.err


# On real heads


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_learned_from_undersampled_scans_only_it_beats_zero_filling(shared_ixi: Path, tmp_path: Path) -> None:
    """Forty real heads (crops of 64×64, twelve slices), a third of k-space each, phases simulated; no image is seen.

    On the four heads that were not trained on, the network wins on held-out samples, and on the truth.
    """
    crops = tmp_path / "crops"
    crops.mkdir()
    for source in find_volumes(shared_ixi)[:40]:
        volume = read_volume(source)
        array = volume.array[28:92, 28:92, 40:52]
        nibabel.Nifti1Image(array, volume.affine).to_filename(crops / source.name)
    request = PrepareRequest(SplitRequest(36, 4), ALL)
    for name, acceleration in (("scans", 3.0), ("truth", 1.0)):
        simulate_path(crops, tmp_path / name, Undersampling(acceleration, None), 0, coils=1)
        prepare_kspace(tmp_path / name, tmp_path / f"{name}-data", request)
    data, truth = (open_prepared(tmp_path / f"{name}-data") for name in ("scans", "truth"))
    schedule = RampedRate(ramp_down=0.3)
    recipe = Recipe(kspace_task(), Optimisation(1200, 4, schedule), replace(COMPLEX, width=24))
    run = create_slice_run(tmp_path / "run", recipe, tmp_path / "scans-data", data, CPU)
    assert train_on_slices(run, data, CPU, track=False)
    undersampled = replace(recipe, task=replace(recipe.task, corruption=MeasuredKspace(acceleration=3.0)))
    for own, judged, margin in ((recipe, data, 0.5), (undersampled, truth, 0.3)):
        methods = methods_for(own, run.network())
        means = {
            name: each["psnr"].mean for name, each in summarised(evaluate(judged, evaluable(own), methods, CPU)).items()
        }
        assert means[CONSISTENT] > means[ZERO_FILLED] + margin, means
