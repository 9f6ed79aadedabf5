"""The repository as a project of MLflow's, run on this machine without conda, git or an environment of its own."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import yaml

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own deprecations are not ours to mend


@pytest.mark.parametrize("word", ["yes", "no", "false", "", "no or yes"])
def test_what_is_not_yes_is_off(word: str) -> None:
    """The entries' commands by the shell that MLflow gives them to, with its own quotes; what they run is told."""
    entries = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]

    def told(entry: str, **parameters: str) -> list[str]:
        quoted = {name: shlex.quote(value) for name, value in parameters.items()}
        command = "echo " + entries[entry]["command"].format(**quoted)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    on = word == "yes"
    evaluate = ["mri-n2n", "evaluate", "run", "data", *([] if on else ["--no-classical"])]
    assert told("evaluate", run="run", data="data", classical=word) == evaluate
    reconstruct = ["mri-n2n", "reconstruct", "run", "in", "out", *(["--simulate"] if on else [])]
    assert told("reconstruct", run="run", input="in", output="out", simulate=word) == reconstruct
    assert entries["evaluate"]["parameters"]["classical"]["default"] == "yes"
    assert entries["reconstruct"]["parameters"]["simulate"]["default"] == "no"


@pytest.mark.long
def test_train_evaluate_and_reconstruct(
    tmp_path: Path, heads: Path, prepared: Path, made_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run lies below the project's own, which has its parameters and how it ended."""
    import mlflow
    from mlflow import MlflowClient

    for name in ("MLproject", "python_env.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    uri = f"sqlite:///{shutil.copy(made_store, tmp_path)}"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    earlier = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)

    def done(entry: str, **parameters: Any) -> str:
        submitted = mlflow.projects.run(
            str(tmp_path),
            entry,
            parameters={name.replace("_", "-"): str(value) for name, value in parameters.items()},
            env_manager="local",
            experiment_name="mri-n2n",
        )
        return str(submitted.run_id)

    try:
        above = done("train", data=prepared, steps=1, batch_size=1, run_name="p", device="cpu")
        done("evaluate", run="p", data=prepared, classical="no", device="cpu")
        done("reconstruct", run="p", input=heads / "phantom-001.nii.gz", output="out.nii.gz", simulate="yes")
    finally:
        mlflow.set_tracking_uri(earlier)
    client = MlflowClient(uri)
    project = client.get_run(above)
    assert project.info.status == "FINISHED"
    assert project.data.params["steps"] == "1"
    experiment = project.info.experiment_id
    (run,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{above}'")
    assert (run.info.run_name, run.info.status) == ("p", "FINISHED")
    assert "evaluation/network with replacement/psnr" in run.data.metrics
    assert len(client.search_runs([experiment])) == 4
    assert nib.load(tmp_path / "out.nii.gz").shape == (48, 48, 36)
