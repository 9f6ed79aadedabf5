"""The search that the documentation describes is done, small, and gone on with."""

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("default")  # Optuna's and MLflow's own warnings are not ours to mend


def test_the_search_that_is_described(
    tmp_path: Path,
    prepared: Path,
    made_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two trials, children of one run that has the best of them; typed again it does what is missing: nothing."""
    from mlflow import MlflowClient

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.S)
    for written, tried in (("20, 2000", "2, 1"), ("[16, 32, 48]", "[4, 8]"), ("acceleration=10", "acceleration=5")):
        assert written in code
        code = code.replace(written, tried)
    (tmp_path / "data").symlink_to(prepared)
    uri = f"sqlite:///{shutil.copy(made_store, tmp_path)}"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(compile(code, "docs/sweeps.md", "exec"), {"__name__": "search"})
    first, again = re.findall(r"[\d.]+(?= dB\n)", capsys.readouterr().out)
    assert first == again
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mri-n2n").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "search"]
    assert f"{parent.data.metrics['validation/psnr/best']:.2f}" == first
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == ["search-trial-0", "search-trial-1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
