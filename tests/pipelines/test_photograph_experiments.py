"""Every table and figure on photographs, at the scale that only shows that it runs."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

FIGURES = ("table1", "fig1a", "fig1b", "fig1c", "fig3", "fig4", "fig5")


@pytest.mark.parametrize("name", FIGURES)
def test_smoke(cli: Callable[..., object], name: str) -> None:
    answer = cli("reproduce", name)
    assert answer.code == 0, answer.err
    folder = Path("runs") / f"{name}-smoke"
    assert (folder / f"{name}.png").stat().st_size > 10_000
    assert "95 % bootstrap" in (folder / "results.md").read_text()
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert {"noise", "set", "image", "method", "psnr", "ssim"} == set(rows[0])
    again = cli("reproduce", name)  # finds everything done
    assert again.code == 0
    assert "evaluating" not in again.err
    assert again.out == answer.out


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
    assert {"results.md", "scores.csv", "fig3.png"} <= {
        item.path for item in client.list_artifacts(parents[0].info.run_id)
    }


def test_larger_scales_need_photographs(cli: Callable[..., object]) -> None:
    answer = cli("reproduce", "table1", "--scale", "small")
    assert answer.code == 2
    assert "needs photographs" in answer.err


def test_another_recipe_in_the_folder(cli: Callable[..., object]) -> None:
    assert cli("reproduce", "fig1a").code == 0
    path = next(Path("runs/fig1a-smoke").glob("*/run.json"))
    content = json.loads(path.read_text())
    content["recipe"]["seed"] = 5
    path.write_text(json.dumps(content))
    answer = cli("reproduce", "fig1a")
    assert answer.code == 2
    assert "another recipe" in answer.err
