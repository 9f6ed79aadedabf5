"""The paper's experiments on renderings, as small as can be."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mri_n2n.run_directory import open_run
from pipelines.paper.fig6 import fig6
from pipelines.paper.fig7 import fig7
from pipelines.paper.renderings import SCALES
from rendering.recipes import RENDERINGS

SCALAR = ("--variant", "scalar_rgb", "--device", "cpu")


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the experiments of this module keep their scenes and frames."""
    return tmp_path_factory.mktemp("frames")


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.suffix in (".npy", ".xml")}


def test_losses_and_scales_are_compared_and_a_second_run_is_quick(
    cli: Callable[..., object], tmp_path: Path, frames: Path
) -> None:
    answer = cli("reproduce", "fig6", "--frames", frames, *SCALAR)
    assert answer.code == 0, answer.err
    folder = tmp_path / "runs" / "fig6-smoke"
    text = (folder / "results.md").read_text()
    assert text in answer.out
    assert "Smoke: three steps" in text
    for arm in fig6().arms:
        assert f"| {arm.title} |" in text
    for first, second in fig6().differences:
        assert f"| {first} − {second} |" in text
    assert "| Open Image Denoise |" in text
    with Image.open(folder / "fig6.png") as picture:
        assert picture.width > 500
    assert (folder / "training.png").exists()
    linear, logarithm = (open_run(folder / f"l_hdr-t-x{name}-seed-0", RENDERINGS) for name in ("", "-logarithm"))
    assert linear.recipe.task.corruption.encoding.output == "linear"
    assert logarithm.recipe.task.corruption.encoding.output == "logarithm"
    assert [run.recipe.optimisation.schedule.peak for run in (linear, logarithm)] == [3e-4, 1e-3]
    with (folder / "views.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * (1 + 2 + 8)
    before = times(frames) | times(folder)
    again = cli("reproduce", "fig6", "--frames", frames, *SCALAR)
    assert again.code == 0, again.err
    assert (folder / "results.md").read_text() == text
    assert times(frames) | times(folder) == before


def test_noisy_and_clean_targets_see_the_same_frames(cli: Callable[..., object], tmp_path: Path, frames: Path) -> None:
    answer = cli("reproduce", "fig7", "--frames", frames, *SCALAR)
    assert answer.code == 0, answer.err
    folder = tmp_path / "runs" / "fig7-smoke"
    assert "| noisy targets − clean targets |" in (folder / "results.md").read_text()
    noisy, clean = (open_run(folder / f"{name}-targets-seed-0", RENDERINGS) for name in ("noisy", "clean"))
    assert noisy.data == clean.data
    assert noisy.recipe.network == clean.recipe.network
    assert noisy.recipe.optimisation == clean.recipe.optimisation


def test_a_flight_is_learnt_from_with_both_targets(cli: Callable[..., object], tmp_path: Path, frames: Path) -> None:
    answer = cli("reproduce", "fig8", "--frames", frames, *SCALAR)
    assert answer.code == 0, answer.err
    folder = tmp_path / "runs" / "fig8-smoke"
    text = (folder / "results.md").read_text()
    assert "times as long" in text
    assert "| noisy targets − clean targets |" in text
    with (folder / "frames.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 3 * 1
    for name in ("noisy-targets-seed-0/examples/flythrough.webp", "fig8.png", "flight.json"):
        assert (folder / name).exists()
    assert cli("reproduce", "fig8", "--frames", frames, *SCALAR).code == 0
    assert (folder / "results.md").read_text() == text


def test_the_papers_protocol_is_the_papers() -> None:
    scale = SCALES["paper"]
    frames = scale.training_frames(fig7())
    assert (frames.size, frames.spp, frames.reference_spp) == ((540, 960), 64, 131_072)
    assert scale.scenes[0] * scale.views[0] >= 860
    assert scale.scenes[1] * scale.views[1] == 34
    recipe = scale.recipe(fig7().arms[0], 0)
    assert (recipe.network.width, recipe.samples.size, recipe.optimisation.batch_size) == (48, 256, 4)
    assert recipe.optimisation.schedule.peak == 3e-4
    assert recipe.optimisation.steps * 4 / 860 == pytest.approx(2000, rel=0.01)
    assert len(SCALES["small"].seeds) == 3


def test_somebody_elses_folder_and_missing_scenes_are_one_line(
    cli: Callable[..., object], tmp_path: Path, frames: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter.txt").touch()
    answer = cli("reproduce", "fig6", "--frames", frames, "--output", "theirs", *SCALAR)
    assert answer.code == 2
    assert "not of this program" in answer.err
    answer = cli("reproduce", "fig6", "nowhere", "--frames", frames, "--output", "fresh", *SCALAR)
    assert answer.code == 2
    assert "nowhere" in answer.err
    assert answer.err.count("error:") == 1
