"""The commands for photographs, as a person uses them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mri_n2n.run_directory import open_run
from natural_images import evaluation
from natural_images.image_files import ImageFile, read_image, read_pixels, write_image
from natural_images.recipes import PHOTOGRAPHS

TINY = ("--crop", 32, "--width", 6, "--batch-size", 2, "--steps", 4)


@pytest.fixture
def trained(cli: Callable[..., object], pictures: Path) -> Path:
    answer = cli("photos", "train", pictures, *TINY, "--run-name", "tiny", "--report")
    assert answer.code == 0, answer.err
    assert "held-out image 1" in Path("runs/tiny/report.html").read_text(encoding="utf-8")
    return Path("runs/tiny")


def test_train_evaluate_denoise(cli: Callable[..., object], trained: Path, pictures: Path) -> None:
    assert (trained / "examples" / "step-000004.png").exists()
    scored = cli("photos", "evaluate", "tiny", pictures)
    assert scored.code == 0, scored.err
    assert "| input | 20." in scored.out
    summary = json.loads((trained / "evaluation" / "summary.json").read_text())
    assert summary["images"] == 12
    assert summary["label"] == PHOTOGRAPHS.caution  # without one a comparison would not say what it shows
    assert set(summary["methods"]) == {"input", "network"}
    assert set(summary["identities"]) == {"network"}
    assert len(summary["tested_on"]) == 64
    assert {path.name for path in (trained / "evaluation").iterdir()} == {
        "images.csv",
        "summary.json",
        "results.md",
        "examples.png",
        "illustrations.npz",
    }
    assert cli("photos", "evaluate", "tiny", pictures).code == 2  # not over existing scores
    assert cli("report", "tiny").code == 0
    page = Path("runs/tiny/report.html").read_text(encoding="utf-8")
    assert all(said in page for said in ("PSNR of every image", "mri-n2n photos denoise tiny", "error of network"))
    done = cli("photos", "denoise", "tiny", pictures, "out")
    assert (done.code, done.out) == (0, "12 images denoised, 0 already done, 0 failed.\n")
    assert read_pixels(Path("out/picture-000.png")).shape == (64, 80, 3)
    one = cli("photos", "denoise", "tiny", pictures / "picture-000.png", "one.jpg")
    assert (one.code, one.out) == (0, "one.jpg\n")


@pytest.mark.parametrize(
    "options",
    [
        ("--noise", "brown", "--bandwidth", 2),
        ("--noise", "poisson", "--targets", "clean"),
        ("--noise", "bernoulli"),
        ("--noise", "text", "--loss", "l2"),
        ("--noise", "impulses", "--channels", 1),
        ("--noise", "salt-and-pepper", "--low", 0.1, "--high", 0.2),
        ("--network", "red30"),
    ],
)
def test_every_noise_trains(cli: Callable[..., object], pictures: Path, options: tuple[object, ...]) -> None:
    answer = cli("photos", "train", pictures, *TINY, *options, "--run-name", "x")
    assert answer.code == 0, answer.err


def test_real_pairs(cli: Callable[..., object], exposures: tuple[Path, Path]) -> None:
    answer = cli("photos", "train", "--pairs", *exposures, *TINY, "--run-name", "pairs")
    assert answer.code == 0, answer.err
    scored = cli("photos", "evaluate", "pairs", "--pairs", *exposures)
    assert scored.code == 0, scored.err
    assert cli("photos", "evaluate", "pairs", exposures[0]).err.count("\n") == 1


def test_pairs_learn_without_a_clean_image(cli: Callable[..., object], exposures: tuple[Path, Path]) -> None:
    """A short training on real pairs brings noisy images nearer to their second exposure than they were."""
    size = ("--crop", 48, "--network", "red30", "--width", 12, "--batch-size", 2, "--steps", 150)
    assert cli("photos", "train", "--pairs", *exposures, *size, "--run-name", "pairs").code == 0
    lines = [json.loads(line) for line in Path("runs/pairs/metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "validation/psnr/network" in line][-1]
    assert last["validation/psnr/network"] > last["validation/psnr/input"] + 0.5
    assert "validation/psnr_low/network" not in last  # one image is held out: there is no interval


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("train", "absent"),
        ("train", "pictures", "--pairs", "a", "b"),
        ("train", "pictures", "--channels", 2),
        ("train", "pictures", "--crop", 4),
        ("train", "pictures", "--low", 60),
        ("train", "pictures", "--noise", "bernoulli", "--high", 2),
        ("train", "pictures", "--bandwidth", 2),
        ("train", "pictures", "--steps", 0),
        ("train", "pictures", "--width", 0),
        ("train", "pictures", "--learning-rate", "inf"),
        ("train", "pictures", "--run-name", "../x"),
        ("train", "--resume", "absent"),
        ("train", "--pairs", "pictures", "pictures", "--noise", "poisson"),
        ("train", "empty"),
        ("evaluate", "absent", "pictures"),
        ("evaluate", "absent"),
        ("denoise", "absent", "pictures", "out"),
    ],
)
def test_bad_input_is_one_line(cli: Callable[..., object], pictures: Path, arguments: tuple[object, ...]) -> None:
    Path("empty").mkdir()
    Path("pictures").symlink_to(pictures)
    answer = cli("photos", *arguments)
    assert answer.code == 2
    lines = [line for line in answer.err.splitlines() if not line.startswith("indexing")]
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("error: ")


def test_some_failed(cli: Callable[..., object], trained: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "good.png").write_bytes((pictures / "picture-000.png").read_bytes())
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = cli("photos", "denoise", "tiny", folder, "out")
    assert answer.code == 3
    assert "1 images denoised, 0 already done, 1 failed." in answer.out
    assert "failed: " in answer.err
    assert Path("out/good.png").exists()
    assert cli("photos", "denoise", "tiny", folder / "bad.png", "out").code == 2


def test_bad_test_images_are_left_out(cli: Callable[..., object], trained: Path, pictures: Path) -> None:
    folder = Path("tests")
    folder.mkdir()
    (folder / "good.png").write_bytes((pictures / "picture-001.png").read_bytes())
    (folder / "bad.png").write_bytes(b"")
    pixel = np.zeros((1, 1, 3), np.uint8)
    write_image(folder / "tiny.png", pixel, ImageFile(pixel, None, (1.0, 1.0), {}))
    answer = cli("photos", "evaluate", "tiny", folder)
    assert answer.code == 3
    assert json.loads((trained / "evaluation" / "summary.json").read_text())["images"] == 1
    assert "too small" in answer.err


def test_a_run_of_another_domain(
    cli: Callable[..., object], trained: Path, pictures: Path, heads: Path, prepared: Path
) -> None:
    answer = cli("reconstruct", "tiny", heads, "out", "--simulate")
    assert answer.code == 2
    assert "holds a run on photographs; `mri-n2n` is for MRI" in answer.err


def test_killed_and_resumed_it_ends_with_the_same_bits(pictures: Path, tmp_path: Path) -> None:
    def train(*arguments: object, wait: bool = True) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipelines", "photos", "train", *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if wait:
            _, err = process.communicate(timeout=240)
            assert process.returncode == 0, err
        return process

    size = ("--crop", 32, "--width", 12, "--batch-size", 2, "--steps", 120, "--save-seconds", 0)
    train(pictures, *size, "--run-name", "whole")
    process = train(pictures, *size, "--run-name", "cut", wait=False)
    journal = tmp_path / "runs" / "cut" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not journal.exists() or '"step": 20' not in journal.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 0 < open_run(tmp_path / "runs" / "cut", PHOTOGRAPHS).progress()[0] < 120
    train("--resume", tmp_path / "runs" / "cut")
    one, two = (open_run(tmp_path / "runs" / name, PHOTOGRAPHS).network().state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_terminated_folder_leaves_nothing_half_written(
    cli: Callable[..., object], trained: Path, pictures: Path
) -> None:
    source = Path("many")
    source.mkdir()
    for number in range(300):
        (source / f"{number:03d}.png").write_bytes((pictures / "picture-001.png").read_bytes())
    command = [sys.executable, "-m", "pipelines", "photos", "denoise", trained, source, "out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(Path("out").glob("0*.png")):
        time.sleep(0.01)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted." in err
    assert 0 < len(list(Path("out").glob("*.png"))) < 300
    assert not list(Path("out").glob(".partial-*"))
    answer = cli("photos", "denoise", "tiny", source, "out")
    assert answer.code == 0
    assert " 0 failed" in answer.out
    assert len(list(Path("out").glob("*.png"))) == 300


def test_mlflow_is_not_told_where_photographs_lie(cli: Callable[..., object], pictures: Path) -> None:
    from mlflow import MlflowClient

    assert cli("photos", "train", pictures, *TINY, "--run-name", "tiny").code == 0
    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mri-n2n")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert "data.fingerprint" in run.data.params
    assert not any(pictures.name in value for value in run.data.params.values())


def test_nothing_to_draw_among_the_pairs_chosen_first(
    cli: Callable[..., object], trained: Path, exposures: tuple[Path, Path]
) -> None:
    """Pictures are made of what could be scored: here the middle one of five, two at each end being too small."""
    for folder, value in zip(exposures, (10, 12), strict=True):
        for number in (0, 1, 2, 4, 5):
            pixels = np.full((8, 8, 3), value, np.uint8)
            write_image(folder / f"scene-{number}.png", pixels, ImageFile(pixels, None, (1.0, 1.0), {}))
    answer = cli("photos", "evaluate", "tiny", "--pairs", *exposures)
    assert answer.code == 3, answer.err
    assert (trained / "evaluation" / "examples.png").exists()


def test_pairs_that_were_left_out_are_listed(cli: Callable[..., object], exposures: tuple[Path, Path]) -> None:
    (exposures[0] / "scene-3.png").unlink()
    (exposures[1] / "scene-5.png").write_bytes(b"")
    answer = cli("photos", "train", "--pairs", *exposures, *TINY, "--run-name", "pairs")
    assert answer.code == 0, answer.err
    assert "2 images or pairs were left out" in answer.out
    reasons = Path("runs/pairs/left-out.txt").read_text().splitlines()
    assert len(reasons) == 2
    assert "scene-3" in reasons[0]
    assert "is empty" in reasons[1]
    again = cli("photos", "train", "--pairs", *exposures, *TINY, "--run-name", "pairs", "--overwrite")
    assert again.code == 0, again.err


def test_an_unfinished_run_says_so(
    cli: Callable[..., object], trained: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mri_n2n.run_directory.Run.progress", lambda _: (3, 0))
    assert "not finished: 3 of 4 steps" in cli("photos", "evaluate", "tiny", pictures).out
    assert "not finished: 3 of 4 steps" in cli("photos", "denoise", "tiny", pictures, "out").err


def test_bad_pairs_are_left_out_of_the_scores(
    cli: Callable[..., object], trained: Path, exposures: tuple[Path, Path], pictures: Path
) -> None:
    """One that is too small for the SSIM, and one that is the same picture in two files."""
    noisy, clean = exposures
    for folder, value in ((noisy, 10), (clean, 12)):
        pixels = np.full((8, 8, 3), value, np.uint8)
        write_image(folder / "small.png", pixels, ImageFile(pixels, None, (1.0, 1.0), {}))
    same = read_image(pictures / "picture-000.png")
    write_image(clean / "same.png", same.pixels, same)
    write_image(noisy / "same.tif", same.pixels, same)
    answer = cli("photos", "evaluate", "tiny", "--pairs", noisy, clean)
    assert answer.code == 3, answer.err
    assert "too small" in answer.err
    assert "2 could not be used" in answer.err


def test_resuming_needs_the_images_as_they_were(cli: Callable[..., object], pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"  # the run's name, too: the run is meant
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert cli("photos", "train", folder, *TINY, "--run-name", "own").code == 0
    moved = folder.rename(tmp_path / "moved")
    assert cli("photos", "train", "--resume", "own").code == 2
    assert cli("photos", "train", moved, "--resume", "own").code == 0
    (moved / "picture-000.png").unlink()
    answer = cli("photos", "train", moved, "--resume", "own")
    assert answer.code == 2
    assert "the data has changed" in answer.err


def test_an_interrupted_evaluation_goes_on(
    cli: Callable[..., object], trained: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was scored is not scored again, and the results are those of one that was not interrupted."""
    assert cli("photos", "evaluate", "tiny", pictures, "--output", "whole").code == 0
    restored: list[int] = []
    original = evaluation.restored

    def interrupted(*arguments: object) -> object:
        restored.append(1)
        if len(restored) == 5:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(evaluation, "restored", interrupted)
    assert cli("photos", "evaluate", "tiny", pictures).code == 130
    assert [path.name for path in (trained / "evaluation").iterdir()] == ["scores"]
    again = cli("photos", "evaluate", "tiny", pictures)
    assert again.code == 0, again.err
    assert len(restored) == 5 + 8 + 3  # the rest of twelve, and three for the picture
    scores = [(folder / "images.csv").read_text() for folder in (Path("whole"), trained / "evaluation")]
    assert scores[0] == scores[1]


def test_the_classical_method_beside_the_network(cli: Callable[..., object], trained: Path, pictures: Path) -> None:
    pytest.importorskip("bm3d")
    one = Path("one")
    one.mkdir()
    (one / "picture.png").write_bytes((pictures / "picture-001.png").read_bytes())
    answer = cli("photos", "evaluate", "tiny", one, "--baseline", "--level", 15)
    assert answer.code == 0, answer.err
    assert "| BM3D | 3" in answer.out
