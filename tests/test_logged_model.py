"""A run's network as a model of MLflow's: it reconstructs, without our code, and is there once."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Answer

from mri_n2n.data.slices import open_prepared
from mri_n2n.evaluation import evaluable, pair_at, validation_places
from mri_n2n.logged_model import Registration
from mri_n2n.measured_kspace import stored_planes
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import COMPLEX, Optimisation, Recipe, kspace_task, pairs_task
from mri_n2n.slice_training import create_slice_run, train_on_slices
from mri_n2n.standalone import standalone

CPU = torch.device("cpu")
TOLERANCE = 1e-5  # of a range of 1: the same sums in another order
pytestmark = pytest.mark.filterwarnings("default")  # torch's and MLflow's deprecations are not ours to mend

ROOT = Path(__file__).parents[1]
NOT_OURS = "assert not {'mri_n2n', 'monai'} & {name.split('.')[0] for name in sys.modules}"


def uploaded(cli: Callable[..., Answer], *arguments: object) -> Answer:
    answer = cli("upload", *arguments)
    assert answer.code == 0, answer.err
    return answer


def test_a_model_reconstructs_and_is_registered_once(
    cli: Callable[..., Answer],
    tmp_path: Path,
    tiny_recipe: Recipe[Any],
    prepared: Path,
    made_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loaded without a pickle in a process that knows nothing of us, it gives what `predict` gives."""
    import mlflow
    from mlflow import MlflowClient

    data = open_prepared(prepared)
    recipe = replace(tiny_recipe, optimisation=Optimisation(steps=2, batch_size=2))
    run = create_slice_run(tmp_path / "runs/r", recipe, prepared, data, CPU)
    train_on_slices(run, data, CPU, track=False)
    uri = f"sqlite:///{shutil.copy(made_store, tmp_path)}"
    answer = uploaded(cli, "r", "--model", "--register", "head-t1", "--alias", "champion")
    assert "models:/head-t1@champion (version 1)" in answer.out
    again = uploaded(cli, "r", "--register", "head-t1", "--alias", "best")
    assert "models:/head-t1@best (version 1)" in again.out
    client = MlflowClient(uri)
    (tracked,) = client.search_runs([client.get_experiment_by_name("mri-n2n").experiment_id])
    assert len(client.search_logged_models(tracked.info.experiment_id.split())) == 1
    assert len(tracked.outputs.model_outputs) == 1
    assert len(client.get_metric_history(tracked.info.run_id, "loss")) == 2

    for name, there, said in (
        ("MLFLOW_REGISTRY_URI", "nowhere://at-all", "cannot keep models under names"),
        ("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9", "does not answer"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, there)
            refused = cli("upload", "r", "--register", "head-t1")
        assert refused.code == 2
        assert said in refused.err
        assert len(refused.err.splitlines()) == 1
        assert "secret" not in refused.err

    pair = pair_at(data, evaluable(run.recipe), validation_places(data)[:3], CPU)
    with torch.no_grad():
        expected = run.recipe.task.predict(run.network(), pair).numpy()
    planes = stored_planes(pair.measurement).numpy()
    np.save(tmp_path / "in.npy", planes)
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": "",
    }
    (documented,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/mlflow.md").read_text(), re.S)
    code = f"import numpy, sys\nplanes = numpy.load('in.npy')\n{documented}\nnumpy.save('out.npy', images)\n{NOT_OURS}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.load(tmp_path / "out.npy") - expected).max() < TOLERANCE
    assert np.abs(expected - pair.input.numpy()).max() > 0.01  # there is something to reconstruct

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    earlier = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        module = mlflow.pytorch.load_model(f"runs:/{tracked.info.run_id}/model")
        signature = mlflow.models.get_model_info("models:/head-t1/1").signature
    finally:
        mlflow.set_tracking_uri(earlier)
    with torch.no_grad():
        one = module(torch.from_numpy(planes[:1]))
    assert np.abs(one.numpy() - expected[:1]).max() < TOLERANCE
    assert signature.inputs.inputs[0].shape == (-1, *planes.shape[1:])
    assert signature.outputs.inputs[0].shape == (-1, *expected.shape[1:])


@pytest.mark.parametrize("task", [kspace_task(acceleration=4.0), kspace_task(), pairs_task()])
def test_what_is_standalone_predicts_as_the_recipe_does(task: Any) -> None:
    """Complex k-space, undersampled here or by a scanner, and real pairs: any batch, as a graph of torch.export."""
    network = (UNetSpec(width=8) if task == pairs_task() else replace(COMPLEX, width=8)).build().eval()
    recipe = Recipe(task, Optimisation(1), network=UNetSpec(width=8))
    made = standalone(network, recipe, [33, 40])
    graph = torch.export.export(made.module, (made.example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}]).module()
    images = torch.cat([made.example, 0.5 * made.example[:1]])
    if task != pairs_task():
        images[2, 2] = made.example[1, 2]
    if task == kspace_task():
        pair = task.corruption.evaluation_pair(images, [torch.Generator().manual_seed(n) for n in range(3)])
        images = stored_planes(pair.measurement)
    elif task == pairs_task():
        pair = task.corruption.evaluation_pair(images.expand(3, 2, 33, 40), [])
    with torch.no_grad():
        result = graph(images)
        if task == kspace_task(acceleration=4.0):
            assert result.shape == (3, 2, 33, 40)
            kept = torch.fft.fft2(torch.complex(result[:, 0], result[:, 1]), norm="ortho")
            acquired = images[:, 2] > 0
            assert 0.1 < acquired.float().mean() < 0.5
            assert (kept - torch.complex(images[:, 0], images[:, 1]))[acquired].abs().max() < TOLERANCE
        else:
            assert (result - task.predict(network, pair)).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--alias", "champion"), "--register NAME"),
        (("--register", "a/b"), "slashes"),
        (("--register", ""), "no name"),
        (("--register", "heads", "--alias", "ü é"), "letters, digits"),
        (("--register", "heads", "--alias", "v3"), "latest or v1"),
        (("--model",), "is not finished"),
    ],
)
def test_what_cannot_be_registered_is_one_line(
    cli: Callable[..., Answer],
    tmp_path: Path,
    tiny_recipe: Recipe[Any],
    prepared: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    create_slice_run(tmp_path / "runs/r", tiny_recipe, prepared, open_prepared(prepared), CPU)
    answer = cli("upload", "r", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "mlflow.db").exists()


def test_names_that_mlflow_takes() -> None:
    for alias in (None, "champion", "v1a", "latest-1", "été"):
        Registration("heads of 2026", alias)
