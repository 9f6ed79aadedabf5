"""MLflow's copy of a run: complete, without doubled points, and never in the way."""

import json
import os
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from mri_n2n.data.slices import open_prepared
from mri_n2n.errors import UsageError
from mri_n2n.mlflow_store import line_of, told
from mri_n2n.recipes import Recipe
from mri_n2n.run_directory import open_run
from mri_n2n.slice_training import create_slice_run, train_on_slices
from mri_n2n.tracking import Mirror, MirrorState, keep_state, known_state, mirror
from mri_n2n.training.trainer import TrainState

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own deprecations are not ours to mend


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    return uri


def points(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run_id, key)]


def test_a_run_interrupted_and_resumed(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One MLflow run, every point once, all parameters, the pictures and the network."""
    from mlflow import MlflowClient

    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "secret name" / "run", tiny_recipe, prepared, data, CPU)
    check = TrainState.check

    def dies(self: TrainState) -> None:
        if self.step == 9:
            raise KeyboardInterrupt  # after step 9 was recorded, before it was saved
        check(self)

    monkeypatch.setattr(TrainState, "check", dies)
    with pytest.raises(KeyboardInterrupt):
        train_on_slices(run, data, CPU, save_seconds=0.0)
    run_id = json.loads((run.directory / "tracking.json").read_text())["run_id"]
    assert MlflowClient(sqlite).get_run(run_id).info.status == "FAILED"
    monkeypatch.setattr(TrainState, "check", check)
    assert train_on_slices(open_run(run.directory), data, CPU, resume=True)
    assert json.loads((run.directory / "tracking.json").read_text())["run_id"] == run_id
    tracked = MlflowClient(sqlite).get_run(run_id)
    assert tracked.info.status == "FINISHED"
    assert [step for step, _ in points(sqlite, run_id, "loss")] == list(range(1, 13))
    lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert points(sqlite, run_id, "loss") == [(line["step"], line["loss"]) for line in lines if "loss" in line]
    assert [step for step, _ in points(sqlite, run_id, "validation/psnr/network with replacement")] == list(range(13))
    parameters = tracked.data.params
    assert parameters["task.corruption.acceleration"] == "5.0"
    assert parameters["data.fingerprint"] == data.manifest.fingerprint
    assert {"environment.commit", "environment.device", "environment.torch", "seed"} <= set(parameters)
    assert not any("secret name" in value for value in parameters.values())  # where data lies is nobody's business
    client = MlflowClient(sqlite)
    names = {file.path for folder in (None, "examples") for file in client.list_artifacts(run_id, folder)}
    assert {"network.json", "examples/step-000000.png", "examples/step-000012.png"} <= names
    assert sum(name.endswith(".safetensors") for name in names) == 1
    assert tracked.data.metrics["system/cpu_utilization_percentage"] >= 0


def test_mirroring_twice_adds_nothing(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, sqlite: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    train_on_slices(run, data, CPU, track=False)
    mirror(run.directory, parameters=run.parameters(), name="run", upto=run.progress()[1], status="FINISHED")
    first = json.loads((run.directory / "tracking.json").read_text())["run_id"]
    before = points(sqlite, first, "loss")
    again = mirror(run.directory, parameters=run.parameters(), name="run", upto=run.progress()[1], status="FINISHED")
    assert again.startswith(first)
    assert points(sqlite, first, "loss") == before
    assert len(before) == 12
    assert capsys.readouterr().err.count("makes its database") == 1


def test_uploading_a_stopped_run_and_resuming_it(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`upload` sends what the checkpoint counts on and no more, so that nothing is sent twice or lost after it."""
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    check = TrainState.check

    def dies(self: TrainState) -> None:
        if self.step == 7:
            raise KeyboardInterrupt
        check(self)

    monkeypatch.setattr(TrainState, "check", dies)
    with pytest.raises(KeyboardInterrupt):
        train_on_slices(run, data, CPU, save_seconds=0.0, track=False)
    monkeypatch.setattr(TrainState, "check", check)
    assert run.status() == "KILLED"
    mirror(run.directory, parameters=run.parameters(), name="run", upto=run.progress()[1], status=run.status())
    run_id = json.loads((run.directory / "tracking.json").read_text())["run_id"]
    assert [step for step, _ in points(sqlite, run_id, "loss")] == [1, 2, 3, 4, 5, 6]
    assert train_on_slices(run, data, CPU, resume=True)
    assert [step for step, _ in points(sqlite, run_id, "loss")] == list(range(1, 13))


class Silent(BaseHTTPRequestHandler):
    """Accepts a connection and never answers."""

    def do_GET(self) -> None:
        time.sleep(6)

    do_POST = do_GET


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_a_server_that_does_not_answer(
    tmp_path: Path,
    tiny_recipe: Recipe,
    prepared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    """Training goes on, the local record is complete, and the person is told how to upload it; later it is uploaded."""
    monkeypatch.setattr("mri_n2n.runs.PATIENCE", 2.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    server = HTTPServer(("127.0.0.1", 0), Silent)
    uri = f"http://user:secret@127.0.0.1:{server.server_port}"
    if kind == "silent":
        Thread(target=server.serve_forever, daemon=True).start()
    else:
        server.server_close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    assert train_on_slices(run, data, CPU)
    printed, said = capfd.readouterr()
    assert "secret" not in printed + said
    assert f"mri-n2n upload {run.directory}" in said
    assert "local record is complete" in said
    assert len((run.directory / "metrics.jsonl").read_text().splitlines()) == 25
    if kind == "refused":
        with pytest.raises(UsageError, match="does not answer"):
            mirror(run.directory, parameters=run.parameters(), name="run", upto=run.progress()[1], status="FINISHED")
    else:
        server.shutdown()
        server.server_close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'later.db'}")
    mirror(run.directory, parameters=run.parameters(), name="run", upto=run.progress()[1], status="FINISHED")
    run_id = json.loads((run.directory / "tracking.json").read_text())["run_id"]
    assert len(points(os.environ["MLFLOW_TRACKING_URI"], run_id, "loss")) == 12


def test_a_password_is_used_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "http://user:p@s/s@127.0.0.1:9/path"
    keep_state(tmp_path, MirrorState(uri, "id"))
    assert "s/s@" not in (tmp_path / "tracking.json").read_text()
    assert told("postgresql://h/db?user=me&password=secret&x=1 sqlite:////home/a@b/x.db") == (
        "postgresql://h/db?user=me&password=…&x=1 sqlite:////home/a@b/x.db"
    )
    assert "secr" not in line_of(ValueError("x" * 140 + " http://somebody:secret@host/path"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    state = known_state(tmp_path, uri)
    assert state is not None
    assert state.uri == uri
    assert known_state(tmp_path, "http://user:p@s/s@127.0.0.1:10/path") is None


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_mirror_does_not_hold_up_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mri_n2n.tracking.mirror", lambda *_, **__: time.sleep(5))
    began = time.monotonic()
    slow = Mirror(tmp_path, {}, "run")
    for size in range(100):
        slow.update(size)
    assert time.monotonic() - began < 1
    assert "did not answer" in str(slow.close("FINISHED", 0.1))


def test_recipes_differ_in_what_mlflow_shows(tiny_recipe: Recipe, tmp_path: Path, prepared: Path) -> None:
    data = open_prepared(prepared)
    one = create_slice_run(tmp_path / "a", tiny_recipe, prepared, data, CPU).parameters()
    two = create_slice_run(tmp_path / "b", replace(tiny_recipe, seed=1), prepared, data, CPU).parameters()
    assert {name for name in one if one[name] != two[name]} == {"seed"}
