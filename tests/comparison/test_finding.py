"""Runs are found in folders and in MLflow, and what is wrong with either is one line."""

import errno
import json
import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from comparison_runs import made_run

from mri_n2n.comparison.finding import find_run, find_runs, runs_here
from mri_n2n.data.slices import open_prepared
from mri_n2n.errors import UsageError
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.run_files import parameters_of
from mri_n2n.slice_training import create_slice_run
from mri_n2n.tracking import mirror

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own deprecations are not ours to mend


def sent(directory: Path, name: str | None = None) -> str:
    """A run directory's identifier in MLflow, after it was sent there."""
    described = json.loads((directory / "run.json").read_text())
    size = (directory / "metrics.jsonl").stat().st_size
    answer = mirror(
        directory,
        parameters=parameters_of(described),
        name=name or directory.name,
        upto=size,
        status="FINISHED",
    )
    return answer.split(" ", 1)[0]


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory, made_store: Path) -> Path:
    """A folder with mlflow.db and mlruns/, where three runs are that no folder has any more."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(made_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, gain, recipe in (("plain", 5.0, {"loss": "paper"}), ("better", 6.0, {"loss": "ht"})):
            sent(made_run(folder / "gone" / name, gain=gain, recipe=recipe))
        sent(made_run(folder / "gone" / "unscored", tested_on=None, recipe={"loss": "l1"}))
        from mlflow import MlflowClient

        client = MlflowClient("sqlite:///mlflow.db")
        experiment = client.get_experiment_by_name("mri-n2n").experiment_id
        client.create_run(experiment, run_name="foreign")
        other = client.create_run(experiment, run_name="of another project").info.run_id
        client.log_param(other, "kind", "Recipe")
        parent = client.create_run(experiment, run_name="several").info.run_id
        client.log_param(parent, "kind", "Recipe")
        client.log_param(parent, "loss", "ht")
        client.log_metric(parent, "seeds", 2.0)
        shutil.rmtree(folder / "gone")
    return folder


@pytest.fixture
def store(filled_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That store, as the working directory's; whoever changes it copies it first."""
    monkeypatch.chdir(filled_store)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return filled_store


def test_by_folder_name_and_filter_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for k in range(3):
        made_run(tmp_path / "runs" / "study" / f"arm-{k}", seed=k, recipe={"loss": "ht" if k else "paper"})
    made_run(tmp_path / "elsewhere")
    assert [run.name for run in find_runs(["elsewhere", "study"])] == ["elsewhere", "arm-0", "arm-1", "arm-2"]
    assert [run.name for run in find_runs(["runs/study/arm-1", "study/arm-1"])] == ["arm-1"]  # each once
    assert [run.name for run in find_runs(["params.loss = 'ht'"])] == ["arm-1", "arm-2"]
    assert [run.name for run in find_runs(["metrics.loss > 2 and params.seed = '0'", "elsewhere"][1:])] == ["elsewhere"]
    for word, problem in (
        ("nothing", "no run 'nothing'"),
        ("params.loss = 'l3'", "no run is found by the filter"),
        ("params.loss = 'ht", "and no filter either"),
        ("0" * 32, "no MLflow store"),
        ("params.loss = '" + "x" * 5000 + "'", "no run is found by the filter"),
        ("nul\0", "no run"),
    ):
        with pytest.raises(UsageError, match=problem):
            find_runs([word])
    assert len(find_runs(["elsewhere", str(tmp_path / "elsewhere")])) == 1
    with pytest.raises(UsageError, match="names 3 runs"):
        find_run("study")


def test_the_documented_filter_finds_what_train_makes(prepared: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """As a shell would hand it over, of runs that differ in what it asks for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    data = open_prepared(prepared)
    for name, targets, loss in (("good", "noisy", 0.07), ("bad", "noisy", 1.0), ("other", "clean", 0.07)):
        recipe = Recipe(undersampling_task(acceleration=5.0, targets=targets), Optimisation(steps=100))
        run = create_slice_run(tmp_path / "runs" / name, recipe, prepared, data, torch.device("cpu"))
        (run.directory / "metrics.jsonl").write_text(json.dumps({"step": 50, "time": 1000, "loss": loss}) + "\n")
    page = (Path(__file__).parents[2] / "docs/comparing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^\| a filter in MLflow's language \| ``(.+)`` \|$", page, re.M)
    assert [run.name for run in find_runs(shlex.split(example))] == ["good"]


def test_a_store_that_was_asked_for_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path / "runs" / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/x.db")
    with pytest.raises(UsageError, match="no MLflow store at sqlite"):
        find_runs(["params.seed = '0'"])


def test_damaged_folders_are_told_and_the_others_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path / "runs" / "good")
    for name, file, content in (
        ("half", "run.json", '{"format": "mri-n2n run 1", "rec'),
        ("foreign", "run.json", '{"format": "other"}'),
        ("bare", "run.json", '{"format": "mri-n2n run 1"}'),
        ("metrics", "metrics.jsonl", '{"step": 1}\nrubbish\n'),
        ("scores", "evaluation/slices.csv", "subject,row\n1,2\n"),
        ("values", "evaluation/slices.csv", "subject,row,slice,method,psnr,ssim\na,0,0,network,much,1\n"),
        ("lines", "evaluation/slices.csv", "subject,row,slice,method,psnr,ssim\na,0,0,network,21,1\n"),
        ("network", "network.json", "[]"),
    ):
        (made_run(tmp_path / "runs" / name) / file).write_text(content)
    (tmp_path / "runs" / "away").mkdir()

    def listed(self: Path) -> Iterator[Path]:
        if self.name == "away":
            raise OSError(errno.EIO, "Input/output error")
        return iterdir(self)

    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", listed)
    damaged: list[str] = []
    assert [run.name for run in runs_here(damaged)] == ["good"]
    assert len(damaged) == 9
    assert all("\n" not in line for line in damaged)


def test_a_last_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 110, "time": 1, "lo')
    assert find_run(str(run)).curves["loss"] == [(50, 1.0)]


def test_from_the_store_as_from_the_folder(store: Path, tmp_path: Path) -> None:
    (tracked,) = find_runs(["better"])
    local = find_run(str(made_run(tmp_path / "better", gain=6.0, recipe={"loss": "ht"})))
    assert tracked.directory is None
    assert tracked.parameters == local.parameters
    assert tracked.status == "FINISHED"
    for name in ("loss", "seconds", "validation/psnr/network"):
        assert list(tracked.curves[name]) == list(local.curves[name])
    assert tracked.evaluated is not None
    assert tracked.evaluated.tested_on == local.evaluated.tested_on
    for method, scores in local.evaluated.methods.items():
        assert tracked.evaluated.methods[method].images == scores.images
        assert tracked.evaluated.methods[method].metrics["psnr"].tolist() == scores.metrics["psnr"].tolist()
    assert tracked.weights == local.weights is not None  # so that it is told where training went on after scoring
    assert find_run(tracked.run_id).name == "better"
    assert {run.name for run in find_runs(["params.loss LIKE '%'"])} == {"plain", "better", "unscored"}
    assert find_run("unscored").evaluated is None


def test_a_run_that_is_here_is_read_from_its_folder(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(store, copied)
    monkeypatch.chdir(copied)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{copied}/mlflow.db")
    identifier = sent(made_run(copied / "runs" / "here", recipe={"loss": "mine"}))
    assert find_run(identifier).directory == Path("runs/here")
    assert find_runs(["params.loss = 'mine'"])[0].directory == Path("runs/here")
    (gone,) = store.rglob(f"{identifier}/artifacts/evaluation")
    shutil.rmtree(gone)
    assert find_runs(["params.loss = 'mine'"])[0].evaluated is not None
    (made_run(copied / "runs" / "odd") / "tracking.json").write_text("[]")
    assert find_run(identifier).directory == Path("runs/here")


def test_a_seed_from_the_store_knows_its_folder(tmp_path: Path, own_store: str) -> None:
    """An upload of a finished seed leaves no parent that seems to be at work."""
    from mlflow import MlflowClient

    folder = tmp_path / "sweep"
    run = made_run(folder / "seed-1", seed=1)
    (folder / "experiment.json").write_text('{"name": "sweep"}')
    (folder / "summary.json").write_text("{}")
    found = find_run(sent(run, "sweep-seed-1"))
    assert (found.name, found.family) == ("sweep-seed-1", "sweep")
    assert [own.run_id for own in find_runs(["sweep"])] == [found.run_id]
    client = MlflowClient(own_store)
    tags = client.get_run(found.run_id).data.tags
    assert tags["mri-n2n.family"] == "sweep"
    assert client.get_run(tags["mlflow.parentRunId"]).info.status == "FINISHED"


def test_what_is_wrong_with_a_store(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("mri-n2n").experiment_id
    (foreign,) = client.search_runs([experiment], "attributes.run_name = 'foreign'")
    for word, problem in (
        (foreign.info.run_id, "foreign in MLflow is not a run of this program"),
        ("0" * 32, "not found"),
        ("foreign", "no run 'foreign'"),
        ("params.loss ='", "MLflow at sqlite"),
    ):
        with pytest.raises(UsageError, match=problem):
            find_runs([word])
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    with pytest.raises(UsageError, match="has no experiment 'another'"):
        find_runs(["params.seed = '0'"])


def test_what_is_sent_under_an_experiment_s_identifier_is_found_there(own_store: str, monkeypatch: Any) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", MlflowClient(own_store).create_experiment("elsewhere"))
    sent(made_run(Path("gone") / "run"))
    shutil.rmtree("gone")
    assert find_run("run").directory is None


def test_no_password_is_shown(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(UsageError) as caught:
        find_runs(["params.seed = '0'"])
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_deleted_artefacts(store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (run,) = find_runs(["plain"])
    (kept,) = store.rglob(f"{run.run_id}/artifacts/evaluation")
    kept.rename(tmp_path / "aside")
    try:
        with pytest.raises(UsageError, match="no scores of plain any more"):
            find_runs(["plain"])
    finally:
        (tmp_path / "aside").rename(kept)


@pytest.mark.parametrize("version", ["451aebb31d03", "ffffffffffff", None])
def test_a_store_of_another_schema(store: Path, tmp_path: Path, monkeypatch: Any, version: str | None) -> None:
    """Of an older MLflow, of one that is not written yet, and no database at all."""
    shutil.copy(store / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    if version is None:
        (tmp_path / "mlflow.db").write_text("no database")
    else:
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.close()
    with pytest.raises(UsageError, match=r"MLflow at sqlite") as caught:
        find_runs(["plain"])
    assert "\n" not in str(caught.value)


class Leaves(BaseHTTPRequestHandler):
    """Answers the first question and then no more."""

    answers = 1

    def do_GET(self) -> None:
        if Leaves.answers == 0:
            self.connection.close()
            return
        Leaves.answers -= 1
        content = json.dumps({"experiment": {"experiment_id": "1", "name": "mri-n2n"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_server_that_goes_away_half_way(tmp_path: Path, monkeypatch: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Leaves)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(UsageError, match=r"MLflow at http://127.0.0.1:\d+ does not answer"):
            find_runs(["params.seed = '0'"])
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("command", [("list", "--store"), ("ui",)])
def test_a_store_that_is_none(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: Any, command: tuple[str, ...]
) -> None:
    """One line, before MLflow begins to try again and again, or its server says it in a hundred."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("no database")
    for name, said in (("folder.db", "expected a database file"), ("text.db", "does not answer (DatabaseError)")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/{name}")
        answer = cli("runs", *command)
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer
        assert said in answer.err


def test_the_command_line(store: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """`cli` has its own working directory."""
    for k in range(2):
        made_run(tmp_path / "runs" / f"arm-{k}", gain=5.0 + k, recipe={"loss": f"loss {k}"})
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    answer = cli("runs", "list")
    assert answer.code == 0
    assert "arm-1" in answer.out
    assert "broken" in answer.err
    assert "mri-n2n runs compare arm-0 arm-1" in answer.out
    made_run(tmp_path / "runs" / "a sweep" / "seed-0")
    (tmp_path / "runs" / "a sweep" / "experiment.json").write_text('{"name": "a sweep"}')
    assert "mri-n2n runs compare 'a sweep/seed-0' arm-" in cli("runs", "list", "a sweep", "arm-0").out
    assert "a sweep/seed-0" in cli("runs", "show", "a sweep-seed-0").out
    answer = cli("runs", "export", "a sweep/seed-0")
    assert "runs upload 'a sweep-seed-0.zip'" in answer.out
    assert "loss 1" in cli("runs", "show", "arm-1").out
    answer = cli("runs", "compare", "arm-0", "arm-1")
    assert "arm-1 − arm-0  +1.00 [+1.00, +1.00]" in answer.out
    for name in ("table.csv", "table.md", "table.json", "table.txt", "table.html"):
        assert cli("runs", "compare", "arm-0", "arm-1", "--output", name).code == 0
        assert (tmp_path / name).stat().st_size > 200
    assert cli("runs", "compare", "arm-0", "arm-1", "--format", "json").out == (tmp_path / "table.json").read_text()
    for arguments, problem in (
        (("compare", "arm-0"), "at least two runs"),
        (("compare", "arm-0", "arm-1", "--output", "table.csv"), "table.csv is there already"),
        (("compare", "arm-0", "arm-1", "--output", "table.xls"), "end it in .csv"),
        (("compare", "arm-0", "arm-2"), "no run 'arm-2'"),
        (("list", "arm-0", "--store"), "not both"),
        (("show", "a" * 300), "no run"),
        (("show", ""), "an empty word"),
        (("list", "--store"), "no MLflow store"),
        (("ui",), "no MLflow store"),
    ):
        answer = cli("runs", *arguments)
        assert answer.code == 2, arguments
        assert problem in answer.err
        assert len(answer.err.splitlines()) == 1
