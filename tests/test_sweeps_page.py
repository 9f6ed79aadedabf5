"""The search that the documentation describes is done, small, and gone on with."""

import re
import shutil
import signal
from pathlib import Path

import pytest

from mri_n2n.slice_training import SliceMonitor

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("default")  # Optuna's and MLflow's own warnings are not ours to mend


def test_the_search_that_is_described(
    tmp_path: Path,
    prepared: Path,
    made_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C in its first trial, then the two that are missing, then nothing: children of one run that has the best."""
    from mlflow import MlflowClient

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.S)
    for written, tried in (("20, 2000", "2, 2"), ("[16, 32, 48]", "[4, 8]"), ("acceleration=10", "acceleration=5")):
        assert written in code
        code = code.replace(written, tried)
    (tmp_path / "data").symlink_to(prepared)
    uri = f"sqlite:///{shutil.copy(made_store, tmp_path)}"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(uri)

    def searched() -> dict[str, str]:
        """How each run has ended by MLflow, after the script was run."""
        exec(compile(code, "docs/sweeps.md", "exec"), {"__name__": "search"})
        runs = client.search_runs([client.get_experiment_by_name("mri-n2n").experiment_id])
        return {run.info.run_name: run.info.status for run in runs}

    def interrupted(monitor: SliceMonitor, step: int, *, draw: bool) -> dict[str, float]:
        if step == 0:
            signal.raise_signal(signal.SIGINT)
        return assess(monitor, step, draw=draw)

    assess = SliceMonitor.assess
    with monkeypatch.context() as patch:
        patch.setattr(SliceMonitor, "assess", interrupted)
        assert searched() == {"search": "KILLED", "search-trial-0": "KILLED"}
    assert " dB\n" not in capsys.readouterr().out
    ended = {"search": "FINISHED", "search-trial-0": "KILLED"}
    ended |= dict.fromkeys(("search-trial-1", "search-trial-2"), "FINISHED")
    for _ in range(2):
        assert searched() == ended
    first, again = re.findall(r"[\d.]+(?= dB\n)", capsys.readouterr().out)
    assert first == again
    runs = client.search_runs([client.get_experiment_by_name("mri-n2n").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "search"]
    assert f"{parent.data.metrics['validation/psnr/best']:.2f}" == first
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs} == {None, parent.info.run_id}
