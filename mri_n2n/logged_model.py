"""A run's network as a model in MLflow, and under a name in its registry.

Models are stored as graphs of torch.export and plain tensors: to load one executes nothing of ours, and they pass where
MLflow is told to refuse pickles.
"""

import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mri_n2n.errors import UsageError
from mri_n2n.mlflow_store import answering, line_of, told, tracking_uri
from mri_n2n.run_directory import Run
from mri_n2n.standalone import Standalone
from mri_n2n.tracking import known_state

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

MODEL = "model"  # its name within the run: runs:/ID/model
WEIGHTS = "mri-n2n.weights_sha256"
WANTED_ALIAS = re.compile(r"(?!(v\d+|latest)$)[\w-]{1,255}", re.IGNORECASE)
WANTED_NAME = re.compile(r"(?!\.+$)[^/:\\]{1,255}")


@dataclass(frozen=True)
class Registration:
    """The name that a model is to have, and what to call this version of it (None: by its number alone)."""

    name: str
    alias: str | None = None

    def __post_init__(self) -> None:
        if not WANTED_NAME.fullmatch(self.name.strip()) or self.name != self.name.strip():
            raise UsageError(f"--register {self.name!r} is no name for a model: leave out slashes and colons.")
        if self.alias is not None and not WANTED_ALIAS.fullmatch(self.alias):
            raise UsageError(
                f"--alias {self.alias!r} is not possible: use letters, digits, - and _; not latest or v1, v2, …"
            )


def log_model(run: Run, standalone: Callable[[Run], Standalone], registration: Registration | None = None) -> str:
    """Bring MLflow's copy of a finished run up to date, with its network as a model; return where to load it from.

    The same weights are logged once, and registered once under each name. Raises `UsageError` where the run is not
    finished, MLflow does not answer or has no registry.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if unfinished := run.unfinished():
        raise UsageError(f"{unfinished} Go on with it: {run.command} train --resume {run.directory}")
    run.upload()
    state = known_state(run.directory, tracking_uri())
    assert state is not None
    client = MlflowClient(state.uri)
    if registration is not None:
        try:
            client.search_registered_models(max_results=1)
        except MlflowException as error:
            raise UsageError(
                f"MLflow at {told(state.uri)} cannot keep models under names ({line_of(error)}). Leave out --register."
            ) from error
    weights = str(run.identity()["weights_sha256"])
    with answering(state.uri, "does not take the model"):
        logged = _found(client, state.run_id, weights) or _logged(client, state.run_id, run, standalone(run), weights)
        return logged.model_uri if registration is None else _registered(client, logged, registration, weights)


def _found(client: "MlflowClient", run_id: str, weights: str) -> "LoggedModel | None":
    """The model of these weights that the run has already."""
    from mlflow.entities import LoggedModelStatus

    experiment = client.get_run(run_id).info.experiment_id
    for known in client.search_logged_models([experiment], f"tags.`{WEIGHTS}` = '{weights}'"):
        if known.source_run_id == run_id and known.status == LoggedModelStatus.READY:
            return known
    return None


def _logged(client: "MlflowClient", run_id: str, run: Run, model: Standalone, weights: str) -> "LoggedModel":
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    tags = {WEIGHTS: weights}
    experiment = client.get_run(run_id).info.experiment_id
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / MODEL
        logged = client.create_logged_model(experiment, MODEL, run_id, tags, run.parameters(), run.domain.name)
        status = LoggedModelStatus.FAILED
        try:
            _save(place, model, logged.model_id, run_id, weights)
            client.log_model_artifacts(logged.model_id, str(place))
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=run.recipe.optimisation.steps)])
            status = LoggedModelStatus.READY
        finally:
            logged = client.finalize_logged_model(logged.model_id, status)
    return logged


def _save(place: Path, model: Standalone, model_id: str, run_id: str, weights: str) -> None:
    """Trace the module into a folder of MLflow's. To infer what it needs would take MLflow longer than all the rest."""
    from mlflow.models import Model, ModelSignature
    from mlflow.pytorch import save_model
    from mlflow.types import Schema, TensorSpec

    example = model.example
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.export about itself
        output = model.module(example)
        given, made = (TensorSpec(np.dtype("float32"), (-1, *tensor.shape[1:])) for tensor in (example, output))
        save_model(
            model.module.eval(),
            str(place),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            signature=ModelSignature(inputs=Schema([given]), outputs=Schema([made])),
            input_example=example.numpy(),
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
            metadata={
                "input": model.input,
                "output": model.output,
                "weights_sha256": weights,
                "caution": "not for diagnostic use",
            },
        )


def _registered(client: "MlflowClient", logged: "LoggedModel", wanted: Registration, weights: str) -> str:
    name = wanted.name
    if not client.search_registered_models(f"name = '{_quoted(name)}'"):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{_quoted(name)}'")
    version = next((known.version for known in versions if known.tags.get(WEIGHTS) == weights), None)
    if version is None:
        tags = {WEIGHTS: weights}
        version = client.create_model_version(
            name, logged.model_uri, logged.source_run_id, tags, model_id=logged.model_id
        ).version
    if wanted.alias is None:
        return f"models:/{name}/{version}"
    client.set_registered_model_alias(name, wanted.alias, str(version))
    return f"models:/{name}@{wanted.alias} (version {version})"


def _quoted(text: str) -> str:
    return text.replace("'", "''")
