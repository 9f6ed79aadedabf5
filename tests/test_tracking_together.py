"""Several processes that train at once tell one MLflow store everything, and everything once."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own deprecations are not ours to mend


def test_two_trainings_at_once_lose_no_point(tmp_path: Path, prepared: Path) -> None:
    """Both find no database, and both make it: every point of both runs is in it, once."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipelines", "train", prepared, "--steps", "4", "--batch-size", "1"]
    both = [
        subprocess.Popen(
            [*command, "--save-seconds", "0", "--seed", seed, "--run-name", seed],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in ("1", "2")
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    client = MlflowClient(uri)
    (experiment,) = [found for found in client.search_experiments() if found.name == "mri-n2n"]
    assert len(client.search_runs([experiment.experiment_id])) == 2
    for name, text in zip(("1", "2"), said, strict=True):
        assert "upload" not in text
        directory = tmp_path / "runs" / name
        run = client.get_run(json.loads((directory / "tracking.json").read_text())["run_id"])
        assert run.info.status == "FINISHED"
        recorded: Counter[tuple[str, int, int, float]] = Counter()
        for line in (directory / "metrics.jsonl").read_text().splitlines():
            entry = json.loads(line)
            when, step = entry.pop("time"), entry.pop("step")
            recorded.update((key, step, when, value) for key, value in entry.items())
        kept = Counter(
            (point.key, point.step, point.timestamp, point.value)
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        )
        assert kept == recorded
