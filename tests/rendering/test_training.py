"""From stored frames to a trained network, its scores and its results."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made_frames import made_frames

from mri_n2n.errors import UsageError
from mri_n2n.run_directory import open_run
from rendering.crops import FrameCrops, FrameLoader
from rendering.evaluation import difference, evaluate, mean_of, psnr
from rendering.frames import FrameStore
from rendering.recipes import RENDERINGS, rendering_recipe, rendering_task
from rendering.training import create_frames_run, frames_to_train_on, split, train_on_frames

CPU = torch.device("cpu")
TINY = ("--width", 4, "--crop", 32, "--batch-size", 2, "--device", "cpu")


def test_a_run_is_trained_scored_and_stopped_in_time(cli: Callable[..., object], tmp_path: Path) -> None:
    made_frames(tmp_path / "frames", {"hall": 2, "attic": 2, "cellar": 1})
    made_frames(tmp_path / "test", {"garden": 3}, seed=1)
    answer = cli("render", "train", "frames", *TINY, "--steps", 12, "--run-name", "tiny", "--report")
    assert answer.code == 0, answer.err
    page = tmp_path / "runs/tiny/report.html"
    assert "held-out frame 1" in page.read_text(encoding="utf-8")
    assert "Next: mri-n2n render evaluate runs/tiny FRAMES" in answer.out
    run = open_run(tmp_path / "runs" / "tiny", RENDERINGS)
    assert run.data["held_out"] == "1 of 3 scenes"
    assert (run.data["training_frames"], run.data["held_out_frames"]) == (4, 1)
    assert len(run.metric("validation/psnr/network")) == 13
    assert not run.metric("validation/psnr_low/network")  # one view is held out: there is no interval
    assert run.examples_path(12).exists()
    answer = cli("render", "evaluate", "runs/tiny", "test", "--baseline", "--device", "cpu")
    assert answer.code == 0, answer.err
    for title in ("input", "network", "Open Image Denoise", "Open Image Denoise, colour alone"):
        assert f"| {title} |" in answer.out
    summary = json.loads((run.directory / "evaluation" / "summary.json").read_text())
    assert summary["views"] == 3
    assert summary["label"] == RENDERINGS.caution
    assert "trained by others" in (run.directory / "evaluation" / "results.md").read_text()
    assert (run.directory / "evaluation" / "examples.png").exists()
    assert cli("report", "tiny").code == 0
    assert "error of network" in page.read_text(encoding="utf-8")
    assert "garden, view 0" in page.read_text(encoding="utf-8")
    answer = cli("render", "evaluate", "tiny", "frames", "--overwrite")
    assert answer.code == 2
    assert "was trained on" in answer.err
    answer = cli("render", "train", "frames", *TINY, "--steps", 12, "--run-name", "tiny")
    assert answer.code == 2
    assert "--resume runs/tiny" in answer.err


def test_several_seeds_of_one_recipe(cli: Callable[..., object], tmp_path: Path) -> None:
    made_frames(tmp_path / "frames", {"hall": 2, "attic": 2})
    answer = cli("render", "train", "frames", *TINY, "--steps", 2, "--seeds", "0,1", "--run-name", "two")
    assert answer.code == 0, answer.err
    assert "Next: mri-n2n runs compare runs/two" in answer.out
    assert json.loads((tmp_path / "runs/two/summary.json").read_text())["seeds"] == [0, 1]
    compared = cli("runs", "compare", "runs/two")
    assert compared.code == 0, compared.err
    assert "While training" in compared.out


def test_a_resumed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    store = made_frames(tmp_path / "frames", {"hall": 4})
    recipe = rendering_recipe(rendering_task(), 8, crop=32, batch_size=2, width=4)
    whole, parted = (create_frames_run(tmp_path / name, recipe, store, CPU) for name in ("whole", "parted"))
    assert train_on_frames(whole, store, CPU, track=False)
    import rendering.training as module

    class Stop(Exception):
        pass

    class Stopping(FrameLoader):
        def __call__(self, step: int) -> object:
            if step == 5:
                raise Stop
            return super().__call__(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FrameLoader", Stopping)
        with pytest.raises(Stop):
            train_on_frames(parted, store, CPU, save_seconds=0.0, track=False)
    assert train_on_frames(parted, store, CPU, resume=True, track=False)
    one, two = (run.network().state_dict() for run in (whole, parted))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("targets", ["noisy", "clean"])
def test_training_makes_frames_better_than_they_came(tmp_path: Path, targets: str) -> None:
    store = made_frames(tmp_path / "frames", {"hall": 6, "attic": 2}, size=(64, 64))
    recipe = rendering_recipe(rendering_task(targets=targets), 60, crop=64, batch_size=2, width=8, rate=2e-3)
    run = create_frames_run(tmp_path / "run", recipe, store, CPU)
    assert train_on_frames(run, store, CPU, track=False)
    naive, trained = (run.metric(f"validation/psnr/{name}")[-1][1] for name in ("input", "network"))
    assert trained > naive + 2
    brightness = run.metric("validation/brightness/network")[-1][1]
    assert 0.8 < brightness < 1.25


def test_crops_depend_on_seed_and_step_alone_and_the_reference_comes_last(tmp_path: Path) -> None:
    store = made_frames(tmp_path, {"hall": 5}, replicates=3)

    def batch(step: int, seed: int = 0, *, before: bool = False) -> torch.Tensor:
        with FrameLoader(store, range(4), FrameCrops(32), 2, seed, CPU, reference=True) as load:
            if before:
                load(step - 1)
            loaded = load(step)
        assert set(loaded.rows.tolist()) < set(range(4)), "held out"
        return loaded.images

    images = batch(3)
    assert images.shape == (2, 4, 9, 32, 32)
    assert torch.equal(images, batch(3, before=True))
    assert not torch.equal(images, batch(3, seed=1))
    assert not images[:, -1, 3:].any()
    with FrameLoader(store, [1], FrameCrops(48), 1, 0, CPU, reference=True) as load:
        crop = load(0).images[0, -1, :3].numpy()
    clean = store.array("reference")[1]
    assert any(np.array_equal(crop, clean[:, :, left : left + 48]) for left in range(17))
    with pytest.raises(UsageError, match="--crop"):
        FrameLoader(store, [1], FrameCrops(64), 1, 0, CPU, reference=False)


def test_what_is_missing_is_told_before_anything_is_trained(cli: Callable[..., object], tmp_path: Path) -> None:
    made_frames(tmp_path / "single", {"hall": 3}, replicates=1)
    made_frames(tmp_path / "bare", {"hall": 3}, reference=False)
    made_frames(tmp_path / "one", {"hall": 1})
    unfinished = made_frames(tmp_path / "unfinished", {"hall": 2})
    del unfinished.complete[1]
    unfinished.write(0, {name: unfinished.array(name)[0] for name in unfinished.layout.arrays()}, 0)
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "bare").iterdir():
        (tmp_path / "cut" / path.name).write_bytes(b"" if path.name == "normal.npy" else path.read_bytes())
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "manifest.json").write_text('{"format": "mri-n2n slices 1"}')
    for name, options, said in (
        ("cut", (), "normal.npy: it is missing or damaged"),
        ("slices", (), "no store of frames"),
        ("single", (), "needs two|need two"),
        ("bare", ("--targets", "clean"), "no references"),
        ("one", (), "one frame"),
        ("unfinished", (), "not made yet"),
        ("nowhere", (), "nowhere"),
        ("bare", ("--crop", 64), "--crop"),
        ("bare", ("--save-seconds", -1), "--save-seconds"),
    ):
        answer = cli("render", "train", name, *TINY, "--steps", 2, *options)
        assert answer.code == 2, name
        assert any(part in answer.err for part in said.split("|")), answer.err
        assert answer.err.count("error:") == 1
    assert not (tmp_path / "runs").exists()
    recipe = rendering_recipe(rendering_task(targets="clean"), 2, crop=32)
    assert frames_to_train_on(tmp_path / "single", recipe).layout.replicates == 1
    answer = cli("render", "train", "bare", *TINY, "--steps", 2, "--run-name", "blind")
    assert answer.code == 0, "frames without references are trained on, unscored"


def test_whole_scenes_are_held_out_where_there_are_several(tmp_path: Path) -> None:
    store = made_frames(tmp_path / "many", {f"s{n}": 1 + n % 2 for n in range(20)}, size=(16, 16))
    parts = split(store)
    assert parts.about == "2 of 20 scenes"
    assert parts.held_out == (27, 28, 29)
    assert parts.training == tuple(range(27))
    assert split(made_frames(tmp_path / "one", {"hall": 16}, size=(16, 16))).held_out == (14, 15)


def test_scores_are_of_tone_mapped_images(tmp_path: Path) -> None:
    store = made_frames(tmp_path, {"hall": 2, "attic": 2})
    reference = store.array("reference")

    def half(colour: np.ndarray, albedo: np.ndarray, normal: np.ndarray) -> np.ndarray:
        row = next(row for row in range(4) if np.array_equal(store.array("colour")[row, 0], colour))
        return reference[row].astype(np.float32) / 2

    scores = evaluate(store, {"half": half})
    assert [score.scene for score in scores if score.method == "half"] == ["hall", "hall", "attic", "attic"]
    assert mean_of(scores, ["half"], "brightness").mean < 0.9
    gain = difference(scores, ["half"], ["input"])
    assert gain.low is not None
    assert gain.low <= gain.mean == pytest.approx(mean_of(scores, ["half"]).mean - mean_of(scores, ["input"]).mean)
    black, grey = np.zeros((3, 8, 8), np.float32), np.full((3, 8, 8), 1.0, np.float32)
    assert psnr(black, grey) == pytest.approx(-20 * np.log10(0.5 ** (1 / 2.2)))
    assert psnr(grey, grey) == 100
    dark = made_frames(tmp_path / "dark", {"hall": 2, "cave": 1})
    planes = {name: dark.array(name)[2].copy() for name in dark.layout.arrays()}
    dark.write(2, planes | {"reference": 0 * planes["reference"]}, 0)
    assert {score.scene for score in evaluate(dark, {})} == {"hall"}, "a black reference is left out"
    bare = FrameStore.open(made_frames(tmp_path / "bare", {"hall": 1}, reference=False).directory)
    with pytest.raises(UsageError, match="no references"):
        evaluate(bare, {})
