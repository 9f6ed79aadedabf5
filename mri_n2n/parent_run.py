"""The run of MLflow's that is the parent of the runs in a folder: an experiment, or one recipe under several seeds."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mri_n2n.durable import read_json, write_json
from mri_n2n.mlflow_store import answering, tracking_uri
from mri_n2n.run_files import PARENT
from mri_n2n.tracking import UNNAMEABLE, MirrorState, begin, keep_state, known_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

SPREAD = "metrics of the whole"  # among the artefacts of a parent: what MLflow has of them


def announce_experiment(directory: Path) -> None:
    """Make the runs in `directory` children of one run, named after it."""
    write_json(directory / PARENT, {"name": directory.name})


def mirror_experiment(
    directory: Path,
    results: Path,
    *,
    metrics: Mapping[str, float] | None = None,
    parameters: Mapping[str, str] | None = None,
    status: str = "FINISHED",
) -> None:
    """Send the tables and pictures in `results` to the parent of the runs in `directory`, and say how it ended.

    metrics: of the whole, sent again only where they have changed. parameters: that all of its runs share.
    Raises `UsageError` where MLflow does not answer.
    """
    from mlflow import MlflowClient

    uri = tracking_uri()
    known = known_state(directory, uri)
    with answering(known.uri if known else uri, "does not take the whole"):
        name = str(read_json(directory / PARENT, "experiment")["name"])
        state = known or begin(directory, uri, name)
        client = MlflowClient(state.uri)
        for path in sorted(results.iterdir()):
            if path.suffix in (".md", ".csv", ".png"):
                client.log_artifact(state.run_id, str(path), results.name)
        _send_summary(client, directory, state, metrics or {}, parameters or {})
        client.set_terminated(state.run_id, status)


def _send_summary(
    client: "MlflowClient",
    directory: Path,
    state: MirrorState,
    metrics: Mapping[str, float],
    parameters: Mapping[str, str],
) -> None:
    from mlflow.entities import Metric, Param

    now, digest = time.time_ns() // 1_000_000, hashlib.sha256(json.dumps(dict(metrics)).encode()).hexdigest()
    there = client.get_run(state.run_id).data.params
    missing = [Param(key, value) for key, value in parameters.items() if key not in there]
    for start in range(0, len(missing), 100):
        client.log_batch(state.run_id, params=missing[start : start + 100])
    if metrics and state.artefacts.get(SPREAD) != digest:
        points = [Metric(UNNAMEABLE.sub("_", key), value, now, 0) for key, value in metrics.items()]
        client.log_batch(state.run_id, metrics=points)
        state.artefacts[SPREAD] = digest
        keep_state(directory, state)
