"""MLflow stores to look into; making one takes seconds, so it is done once."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, to be copied."""
    path = tmp_path_factory.mktemp("new-store") / "mlflow.db"
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def own_store(new_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow database without runs, which MLFLOW_TRACKING_URI names; the working directory is its folder."""
    shutil.copy(new_store, tmp_path / "other.db")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri
