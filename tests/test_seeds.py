"""One recipe under several seeds: children of one run, gone on with where they were stopped, summarised by chance."""

import csv
import json
import shutil
import signal
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mri_n2n.data.slices import open_prepared
from mri_n2n.errors import UsageError
from mri_n2n.recipes import MRI, Recipe
from mri_n2n.run_directory import Journal, Run, create_run, open_run
from mri_n2n.run_files import METRICS
from mri_n2n.seeds import parsed_seeds, train_seeds
from mri_n2n.slice_training import SliceMonitor, create_slice_run
from mri_n2n.training.checkpoint import save_state
from mri_n2n.training.trainer import TrainState, adam

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own deprecations are not ours to mend

RESULT = "validation/psnr/network with replacement"


def test_what_seeds_can_be() -> None:
    assert parsed_seeds("0..4") == (0, 1, 2, 3, 4)
    assert parsed_seeds("7..7") == (7,)
    assert parsed_seeds("3") == (3,)
    assert parsed_seeds("0,3,7") == (0, 3, 7)
    for wrong in ("", "4..0", "0..", "0...4", "a", "1,", "1,1", "0..1000", "-1..2", "1,2..4", "٣", "0.. 4"):
        with pytest.raises(UsageError, match="--seeds"):
            parsed_seeds(wrong)


def test_stopped_and_typed_again(
    cli: Callable[..., Any], tmp_path: Path, prepared: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finished seed is not trained again, the stopped one goes on; MLflow has the mean and spread on the parent."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.copy(made_store, tmp_path)}"
    assess, steps = SliceMonitor.assess, []

    def stops(self: SliceMonitor, step: int, *, draw: bool) -> dict[str, float]:
        steps.append(step)
        if len(steps) == 5:  # the first step of the second seed
            signal.raise_signal(signal.SIGINT)
        return assess(self, step, draw=draw)

    monkeypatch.setattr(SliceMonitor, "assess", stops)
    command = ("train", prepared, "--seeds", "4,7", "--steps", "2", "--batch-size", "1", "--run-name", "both")
    answer = cli(*command)
    assert answer.code == 130, answer.err
    assert "The same command goes on" in answer.out
    folder = tmp_path / "runs/both"
    first = (folder / "seed-4/metrics.jsonl").read_text()
    assert not (folder / "seeds.md").exists()
    parent_id = json.loads((folder / "tracking.json").read_text())["run_id"]
    client = MlflowClient(uri)
    assert client.get_run(parent_id).info.status == "KILLED"

    answer = cli(*command)
    assert answer.code == 0, answer.err
    assert steps == [0, 1, 2, 0, 1, 2]
    assert f"mri-n2n runs compare {Path('runs/both')}" in answer.out
    assert (folder / "seed-4/metrics.jsonl").read_text() == first
    last = [open_run(folder / name).metric(RESULT)[-1][1] for name in ("seed-4", "seed-7")]
    assert last[0] != last[1]
    parent = client.get_run(parent_id)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "both"
    assert parent.data.metrics[RESULT] == pytest.approx(statistics.fmean(last))
    assert parent.data.metrics[RESULT.replace("psnr", "psnr_sd")] == pytest.approx(statistics.stdev(last))
    assert parent.data.metrics["seeds"] == 2
    assert parent.data.params["optimisation.steps"] == "2"
    assert "seed" not in parent.data.params
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'")
    assert sorted(child.info.run_name for child in children) == ["both-seed-4", "both-seed-7"]
    assert {child.info.status for child in children} == {"FINISHED"}
    artefacts = {Path(file.path).name for file in client.list_artifacts(parent_id, "both")}
    assert artefacts == {"seeds.csv", "seeds.md", "seeds.png"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"][RESULT]["values"] == {"4": last[0], "7": last[1]}
    with (folder / "seeds.csv").open() as file:
        assert [float(row[RESULT]) for row in csv.DictReader(file)] == last
    assert f"{statistics.stdev(last):.3f}" in answer.out

    done = len(steps)
    again = cli(*command)
    assert (again.code, len(steps)) == (0, done)
    assert len(client.get_metric_history(parent_id, RESULT)) == 1
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    refused = cli("train", prepared, "--seeds", "4..5", "--steps", "3", "--batch-size", "1", "--run-name", "both")
    assert refused.code == 2
    assert "optimisation.steps is 2, not 3" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("group", [(), ("photos",), ("render",)])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seeds", "0..4", "--seed", "3"), "without --seed:"),
        (("--seeds", "0..4", "--resume", "runs/x"), "without --resume:"),
        (("--seeds", "0..4", "--overwrite"), "without --overwrite:"),
        (("--seeds", "1,1"), "twice"),
    ],
)
def test_options_that_do_not_go_together(
    cli: Callable[..., Any], tmp_path: Path, group: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    answer = cli(*group, "train", "data", *options)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_else(cli: Callable[..., Any], tmp_path: Path, prepared: Path) -> None:
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/notes.txt").write_text("keep me")
    answer = cli("train", prepared, "--seeds", "0..1", "--steps", "1", "--run-name", "mine")
    assert answer.code == 2
    assert "not of this program. Choose another --run-name" in answer.err
    assert [path.name for path in (tmp_path / "runs/mine").iterdir()] == ["notes.txt"]


def test_a_training_that_fails(
    tmp_path: Path, tiny_recipe: Recipe[Any], prepared: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow does not show the whole as if it were still going on."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.copy(made_store, tmp_path)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    data, cpu = open_prepared(prepared), torch.device("cpu")

    def begin(place: Path, recipe: Recipe[Any]) -> Run:
        return create_slice_run(place, recipe, prepared, data, cpu)

    def fails(run: Run, resume: bool) -> bool:
        raise UsageError("the loss is not finite.")

    with pytest.raises(UsageError, match="not finite"):
        train_seeds(tmp_path / "seeds", tiny_recipe, (0, 1), MRI, begin, fails)
    parent_id = json.loads((tmp_path / "seeds/tracking.json").read_text())["run_id"]
    assert MlflowClient(uri).get_run(parent_id).info.status == "FAILED"
    assert not (tmp_path / "seeds/seed-1").exists()


@dataclass
class Counterfeit:
    """Trains seeds on data of a fingerprint, in no time: begin and train for `train_seeds`. trained: which seeds."""

    fingerprint: str = "a" * 64
    trained: list[int] = field(default_factory=list)

    def begin(self, place: Path, recipe: Recipe[Any]) -> Run:
        return create_run(place, recipe, {"fingerprint": self.fingerprint, "kind": "x"}, torch.device("cpu"))

    def train(self, run: Run, resume: bool) -> bool:
        run.check_data(self.fingerprint)
        steps = run.recipe.optimisation.steps
        if not resume:
            self.trained.append(run.recipe.seed)
            Journal(run.directory / METRICS).write(steps, {RESULT: 20.0 + run.recipe.seed})
            network = run.recipe.network.build()
            save_state(run.state_path, TrainState(network, adam(network), step=steps), metric_bytes=0)
        return True

    def __call__(self, directory: Path, recipe: Recipe[Any], *seeds: int) -> None:
        train_seeds(directory, recipe, seeds, MRI, self.begin, self.train, track=False)


def test_seeds_that_were_added_later_are_summarised_together(
    tmp_path: Path, tiny_recipe: Recipe[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """All finished ones that lie there, by number; one that is not finished and not named now is left out and told."""
    folder, counterfeit = tmp_path / "all", Counterfeit()
    counterfeit(folder, tiny_recipe, 2, 10)
    counterfeit.begin(folder / "seed-3", replace(tiny_recipe, seed=3))
    (folder / "seed-notes").mkdir()
    capsys.readouterr()
    counterfeit(folder, tiny_recipe, 0, 1)
    assert counterfeit.trained == [2, 10, 0, 1]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2, 10]
    assert summary["metrics"][RESULT]["mean"] == pytest.approx(20 + 13 / 4)
    assert "seed-3 is not named now and left out" in capsys.readouterr().err


def test_every_seed_that_lies_there_must_be_of_the_recipe_and_the_data(
    tmp_path: Path, tiny_recipe: Recipe[Any]
) -> None:
    folder = tmp_path / "all"
    Counterfeit()(folder, tiny_recipe, 0, 1)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = replace(tiny_recipe, optimisation=replace(tiny_recipe.optimisation, steps=13))
    with pytest.raises(UsageError, match="optimisation.steps is 12, not 13"):
        Counterfeit()(folder, other, 5)
    with pytest.raises(UsageError, match="the data has changed"):
        Counterfeit("b" * 64)(folder, tiny_recipe, 5)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not (folder / "seed-5").exists()


def test_photographs_under_two_seeds(cli: Callable[..., Any], tmp_path: Path, pictures: Path, made_store: Path) -> None:
    shutil.copy(made_store, tmp_path)
    small = ("--crop", "32", "--width", "4", "--steps", "1", "--batch-size", "1", "--device", "cpu")
    answer = cli("photos", "train", pictures, "--seeds", "1..2", *small)
    assert answer.code == 0, answer.err
    folder = tmp_path / "runs/photos-gaussian-noisy-unet-1steps-seeds"
    assert {path.name for path in folder.glob("seed-*")} == {"seed-1", "seed-2"}
    assert json.loads((folder / "summary.json").read_text())["seeds"] == [1, 2]
