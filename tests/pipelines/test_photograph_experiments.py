"""Every table and figure on photographs, at the scale that only shows that it runs."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from natural_images.procedural import write_pictures

FIGURES = ("fig1a", "fig1b", "fig1c", "fig3")  # table1, fig4 and fig5: below, with the classical methods


@pytest.mark.parametrize("name", FIGURES)
def test_smoke(cli: Callable[..., object], name: str) -> None:
    answer = cli("reproduce", name)
    assert answer.code == 0, answer.err
    folder = Path("runs") / f"{name}-smoke"
    assert (folder / f"{name}.png").stat().st_size > 10_000
    assert "95 % bootstrap" in (folder / "results.md").read_text()
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert {"noise", "set", "image", "method", "psnr", "ssim"} == set(rows[0])
    network = "RED30 of 4" if name == "fig1a" else "UNet of 6"
    assert f"Networks: {network} feature maps" in (folder / "results.md").read_text()
    again = cli("reproduce", name)  # finds everything done
    assert again.code == 0
    assert "evaluating" not in again.err
    assert again.out == answer.out


@pytest.mark.parametrize(
    ("name", "classical"),
    [
        ("table1", ("BM3D", "Anscombe + BM3D", "deep image prior")),
        ("fig4", ("median 5×5",)),
        ("fig5", ("median 3×3", "median 5×5")),
    ],
)
def test_smoke_with_the_classical_methods(cli: Callable[..., object], name: str, classical: tuple[str, ...]) -> None:
    """The median's window grows with the level, and with it its name."""
    answer = cli("reproduce", name, "--baseline")
    assert answer.code == 0, answer.err
    assert all(f"\n| {method} |" in answer.out for method in classical)
    folder = Path("runs") / f"{name}-smoke"
    assert "95 % bootstrap" in (folder / "results.md").read_text()
    picture = folder / f"{name}.png"
    assert picture.stat().st_size > 10_000
    drawn = picture.stat().st_mtime_ns
    assert cli("reproduce", name, "--baseline").code == 0
    assert picture.stat().st_mtime_ns == drawn  # nothing has changed: the methods do not run again
    assert cli("reproduce", name).code == 0
    assert picture.stat().st_mtime_ns > drawn  # the classical methods are gone from table and picture


def test_a_missing_method_is_missed_before_training(
    cli: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natural_images.baselines.find_spec", lambda _: None)
    answer = cli("reproduce", "fig1a", "--baseline")
    assert answer.code == 2
    assert "not installed" in answer.err
    assert not list(Path("runs/fig1a-smoke").glob("*/run.json"))


def test_interrupted_scoring_goes_on(cli: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was scored before is not scored again, and the results are those of a call that was not interrupted."""
    whole = cli("reproduce", "fig1a", "--output", "whole")
    restored: list[int] = []
    from natural_images import evaluation

    original = evaluation.restored

    def interrupted(*arguments: object) -> object:
        restored.append(1)
        if len(restored) == 5:  # the second network's second image of three
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(evaluation, "restored", interrupted)
    assert cli("reproduce", "fig1a").code == 130
    again = cli("reproduce", "fig1a")
    assert again.code == 0
    assert len(restored) == 5 + 2 + 2  # the rest, and one image by both networks for the picture
    scores = [(folder / "scores.csv").read_text() for folder in (Path("whole"), Path("runs/fig1a-smoke"))]
    assert scores[0] == scores[1]
    assert whole.code == 0


def test_appendix_does_not_write_among_other_files(cli: Callable[..., object], pictures: Path) -> None:
    answer = cli("reproduce", "appendix", "--output", pictures)
    assert answer.code == 2
    assert "not of this program" in answer.err


def test_fig2_uses_the_runs_of_table1(cli: Callable[..., object]) -> None:
    assert cli("reproduce", "table1").code == 0
    before = {path: path.stat().st_mtime_ns for path in Path("runs/table1-smoke").glob("*/network.json")}
    answer = cli("reproduce", "fig2")
    assert answer.code == 0, answer.err
    assert Path("runs/fig2-smoke/fig2.png").exists()
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs/table1-smoke").glob("*/network.json")}


def test_one_parent_with_a_child_per_arm(cli: Callable[..., object]) -> None:
    from mlflow import MlflowClient

    assert cli("reproduce", "fig3").code == 0
    client = MlflowClient(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mri-n2n")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == ["fig3-smoke"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    artefacts = {item.path for item in client.list_artifacts(parents[0].info.run_id, "fig3-smoke")}
    assert {"fig3-smoke/results.md", "fig3-smoke/scores.csv", "fig3-smoke/fig3.png"} <= artefacts


def test_larger_scales_need_photographs(cli: Callable[..., object]) -> None:
    answer = cli("reproduce", "table1", "--scale", "small")
    assert answer.code == 2
    assert "needs photographs" in answer.err


def test_a_bad_test_image_is_left_out_each_time(cli: Callable[..., object], pictures: Path) -> None:
    tests = Path("tests")
    write_pictures(tests, 3, (40, 48))
    (tests / "picture-000.png").write_bytes(b"")
    for _ in range(2):
        answer = cli("reproduce", "fig1a", pictures, "--test", tests)
        assert answer.code == 3, answer.err
        assert "Tested on tests (2)" in answer.out
        assert "could not be used: tests/picture-000.png" in answer.out


def test_no_usable_test_image_is_missed_before_training(cli: Callable[..., object], pictures: Path) -> None:
    tests = Path("tests")
    tests.mkdir()
    (tests / "bad.png").write_bytes(b"")
    answer = cli("reproduce", "fig1a", pictures, "--test", tests)
    assert answer.code == 2
    assert "none of the test images" in answer.err
    assert not Path("runs").exists()


def test_results_do_not_go_among_other_files(cli: Callable[..., object], pictures: Path) -> None:
    before = sorted(pictures.iterdir())
    answer = cli("reproduce", "fig3", "--output", pictures)
    assert answer.code == 2
    assert "not of this program" in answer.err
    assert sorted(pictures.iterdir()) == before


def test_test_images_must_not_be_trained_on(cli: Callable[..., object], pictures: Path) -> None:
    answer = cli("reproduce", "fig3", pictures, "--test", pictures)
    assert answer.code == 2
    assert "among the training images" in answer.err
    assert cli("reproduce", "fig3", pictures).code == 2


def test_another_recipe_in_the_folder(cli: Callable[..., object]) -> None:
    assert cli("reproduce", "fig1a").code == 0
    path = next(Path("runs/fig1a-smoke").glob("*/run.json"))
    content = json.loads(path.read_text())
    content["recipe"]["seed"] = 5
    path.write_text(json.dumps(content))
    answer = cli("reproduce", "fig1a")
    assert answer.code == 2
    assert "another recipe" in answer.err


def averages(folder: Path) -> dict[tuple[str, str], float]:
    """(noise, method) to the mean PSNR of the sets' means."""
    sets: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in csv.DictReader((folder / "scores.csv").read_text().splitlines()):
        sets.setdefault((row["noise"], row["method"]), {}).setdefault(row["set"], []).append(float(row["psnr"]))
    return {key: fmean(fmean(values) for values in own.values()) for key, own in sets.items()}


def table1_orders(means: dict[tuple[str, str], float]) -> None:
    for noise in {noise for noise, _ in means}:
        clean, noisy = means[noise, "clean targets"], means[noise, "noisy targets"]
        assert abs(noisy - clean) <= 0.1
        assert min(noisy, clean) >= means[noise, "input"] + 5


def fig1a_orders(means: dict[tuple[str, str], float]) -> None:
    ((noise, _), *_) = means
    assert means[noise, "noisy targets"] >= means[noise, "input"] + 5
    assert abs(means[noise, "noisy targets"] - means[noise, "clean targets"]) <= 0.1


def fig1b_orders(means: dict[tuple[str, str], float]) -> None:
    """The wider the blur, the further behind after as many steps; the end is the same."""
    white, narrow, wide, longer = (value for (_, title), value in means.items() if title != "input")
    assert white > narrow > wide
    assert longer > white - 0.1


def fig1c_orders(means: dict[tuple[str, str], float]) -> None:
    one, two, three = (value for (_, title), value in sorted(means.items()) if title.startswith("case"))
    assert one < two < three


def fig3_orders(means: dict[tuple[str, str], float]) -> None:
    clean, median, mean = (value for (_, title), value in means.items() if title != "input")
    assert median >= clean - 0.75
    assert mean <= median - 2.5


def fig4_orders(means: dict[tuple[str, str], float]) -> None:
    clean, mode, median, mean = (value for (_, title), value in means.items() if title != "input")
    assert clean > mode > median > mean


def fig5_orders(means: dict[tuple[str, str], float]) -> None:
    """Up to a half of the pixels L1 stays near clean targets, beyond it falls behind, and behind L0."""
    median, mode = (
        {noise: means[noise, loss] - means[noise, "clean targets"] for noise, _ in means} for loss in ("L1", "L0")
    )
    few, half, most, nearly_all = (f"impulses, p = {share}" for share in (0.1, 0.5, 0.7, 0.9))
    assert min(median[few], median[half]) > -1
    assert max(median[most], median[nearly_all]) < -2.5
    assert mode[most] > median[most] + 1
    assert mode[nearly_all] > median[nearly_all]


@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("table1", table1_orders),
        ("fig1a", fig1a_orders),
        ("fig1b", fig1b_orders),
        ("fig1c", fig1c_orders),
        ("fig3", fig3_orders),
        ("fig4", fig4_orders),
        ("fig5", fig5_orders),
    ],
)
def test_small(
    cli: Callable[..., object],
    shared_photos: Path,
    name: str,
    orders: Callable[[dict[tuple[str, str], float]], None],
) -> None:
    """The paper's orderings on real photographs, below 45 minutes each on two CPU cores.

    MRI_N2N_LONG_RUNS: a folder that keeps the runs; those that are there already are used.
    """
    sets = ("kodak", "bsd300-test") if name == "table1" else ("kodak",)
    tests = [part for name in sets for part in ("--test", shared_photos / name)]
    folder = Path(os.environ.get("MRI_N2N_LONG_RUNS", "runs")) / f"{name}-small"
    answer = cli("reproduce", name, shared_photos / "train", *tests, "--scale", "small", "--output", folder)
    assert answer.code == 0, answer.err
    orders(averages(folder))
