"""MLflow stores to look into; making one takes seconds, so it is done once."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def own_store(made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow database without runs, which MLFLOW_TRACKING_URI names; the working directory is its folder."""
    shutil.copy(made_store, tmp_path / "other.db")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri
