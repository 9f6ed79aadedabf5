"""Mirrors run directories to MLflow.

The run directory is the record; MLflow is a copy that can be made again at any time.
"""

import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mri_n2n.durable import read_json, sha256_of, write_json
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.mlflow_store import SQLITE, absolute, alone_at, answering, made_experiment, told, tracking_uri
from mri_n2n.progress import say
from mri_n2n.run_files import METRICS, PARENT, SEEDS_SUMMARY, SUMMARY, TRACKING, family_of

if TYPE_CHECKING:
    from mlflow.entities import Metric

UNNAMEABLE = re.compile(r"[^\w\-./ :]")  # what MLflow's names of metrics must not have
FAMILY = "mri-n2n.family"  # a tag: the experiment, or run under several seeds, that a run is of
ENDED = ("FINISHED", "KILLED")  # with a network
BATCH = 900  # MLflow takes at most 1,000 metrics per call


@dataclass
class MirrorState:
    """How much of a run directory MLflow has: bytes of metrics.jsonl, and each artefact by its hash."""

    uri: str
    run_id: str
    parameters_sent: bool = False
    metric_bytes: int = 0
    artefacts: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"


def run_id(directory: Path) -> str | None:
    """The identifier that MLflow's copy of a run has; None where there is none."""
    path = directory / TRACKING
    return str(read_json(path, "tracking state")["run_id"]) if path.exists() else None


def known_state(directory: Path, uri: str) -> MirrorState | None:
    """What MLflow at `uri` has of a directory; where no store is asked for, the one that has it."""
    if not (directory / TRACKING).exists():
        return None
    state = MirrorState(**read_json(directory / TRACKING, "tracking state"))
    if "MLFLOW_TRACKING_URI" not in os.environ:
        return state
    state_is_there = told(absolute(state.uri)) == told(uri)
    state.uri = uri  # with its password
    return state if state_is_there else None


def keep_state(directory: Path, state: MirrorState) -> None:
    """Write down what MLflow has of a directory, without a password."""
    write_json(directory / TRACKING, asdict(state) | {"uri": told(state.uri)})


def mirror(
    directory: Path,
    *,
    parameters: Mapping[str, str],
    name: str,
    upto: int,
    status: str,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Bring MLflow's copy of a run up to date; return the identifier it has there, and where that is.

    Sends metrics.jsonl up to byte `upto` (what a checkpoint holds: a resumed run then repeats nothing), changed
    artefacts, and `status` (RUNNING, FINISHED, KILLED or FAILED). tags: of a run that is begun. Raises `UsageError`.
    """
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    uri = tracking_uri()
    known = known_state(directory, uri)
    with answering(known.uri if known else uri, "does not take the run"):
        above = directory.parent
        finished = (above / SEEDS_SUMMARY).exists() and known_state(above, uri) is None  # somewhere else, before
        state = known or begin(directory, uri, name, tags)
        _send(directory, state, parameters, upto, status)
        if finished and status in ENDED and (parent := known_state(above, state.uri)):
            MlflowClient(state.uri).set_terminated(parent.run_id)
    return f"{state.run_id} at {told(state.uri)}"


def begin(directory: Path, uri: str, name: str, tags: Mapping[str, str] | None = None) -> MirrorState:
    """A new run in MLflow for a directory."""
    with alone_at(uri):
        return _create(directory, uri, name, tags or {})


def _create(directory: Path, uri: str, name: str, tags: Mapping[str, str]) -> MirrorState:
    from mlflow import MlflowClient

    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        say("MLflow makes its database, once; that takes some seconds.")
    client = MlflowClient(uri)
    above = os.environ.get("MLFLOW_RUN_ID")  # MLflow Projects and others say so within which run something is done
    parents = {"mlflow.parentRunId": above} if above else {}
    if (directory.parent / PARENT).exists():
        parent_name = str(read_json(directory.parent / PARENT, "experiment")["name"])
        parent = known_state(directory.parent, uri) or _create(directory.parent, uri, parent_name, {})
        parents = {"mlflow.parentRunId": parent.run_id, FAMILY: family_of(directory)}
    began = _recorded(directory)[0]
    run = client.create_run(made_experiment(client), start_time=began, run_name=name, tags={**tags, **parents})
    state = MirrorState(uri, run.info.run_id)
    keep_state(directory, state)
    return state


def _send(directory: Path, state: MirrorState, parameters: Mapping[str, str], upto: int, status: str) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(state.uri)
    if not state.parameters_sent:
        items = [Param(key, value) for key, value in parameters.items()]
        for start in range(0, len(items), 100):
            client.log_batch(state.run_id, params=items[start : start + 100])
        state.parameters_sent = True
    content = _metric_bytes(directory)[:upto]
    fresh = content[state.metric_bytes :]
    points = []
    for line in fresh.splitlines():
        entry = json.loads(line)
        when, step = entry.pop("time"), entry.pop("step")
        points += [Metric(key, value, when, step) for key, value in entry.items()]
    for path in _artefacts(directory, ended=status in ENDED):
        relative = path.relative_to(directory)
        digest = sha256_of(path)
        if state.artefacts.get(str(relative)) != digest:
            folder = None if relative.parent == Path() else str(relative.parent)
            client.log_artifact(state.run_id, str(path), folder)
            state.artefacts[str(relative)] = digest
            if relative == SUMMARY:
                points += _evaluation_points(path)
    for start in range(0, len(points), BATCH):
        client.log_batch(state.run_id, metrics=points[start : start + BATCH])
    state.metric_bytes += len(fresh)
    if status == "RUNNING" != state.status:
        client.update_run(state.run_id, status)
    elif status != state.status:
        client.set_terminated(state.run_id, status, _recorded(directory)[1])
    state.status = status
    keep_state(directory, state)


def _evaluation_points(path: Path) -> list["Metric"]:
    """The means of an evaluation as MLflow metrics: evaluation/<method>/<metric>."""
    from mlflow.entities import Metric

    when = int(path.stat().st_mtime * 1000)
    methods = read_json(path, "evaluation summary")["methods"]
    return [
        Metric(UNNAMEABLE.sub("_", f"evaluation/{method}/{metric}"), value["mean"], when, 0)
        for method, metrics in methods.items()
        for metric, value in metrics.items()
    ]


def _metric_bytes(directory: Path) -> bytes:
    path = directory / METRICS
    return path.read_bytes() if path.exists() else b""


def _recorded(directory: Path) -> tuple[int | None, int | None]:
    """When the first and the last metric were recorded, in milliseconds: so a run sent later is as old as it is."""
    lines = [line for line in _metric_bytes(directory).splitlines(keepends=True) if line.endswith(b"\n")]
    return (int(json.loads(lines[0])["time"]), int(json.loads(lines[-1])["time"])) if lines else (None, None)


def _artefacts(directory: Path, *, ended: bool) -> list[Path]:
    """What MLflow gets besides numbers: pictures and scores; network and report once training has ended."""
    found = [*directory.glob("examples/*.png"), *directory.glob("evaluation/*")]
    if ended:
        found += [*directory.glob("network*"), *directory.glob("report.html")]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


class Mirror:
    """Mirrors one run from a thread of its own, so that a slow or silent MLflow never holds up training."""

    def __init__(self, directory: Path, parameters: Mapping[str, str], name: str, durable: int = 0) -> None:
        self.directory = directory
        self.parameters = parameters
        self.name = name
        self.trouble: str | None = None
        self._durable = durable
        self._wanted: str | None = None
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="mlflow mirror", daemon=True)
        self._thread.start()

    def update(self, upto: int) -> None:
        """Ask for the metrics up to byte `upto` and the artefacts that are there to be sent soon."""
        with self._change:
            self._durable, self._wanted = upto, "RUNNING"
            self._change.notify()

    def close(self, status: str, timeout: float) -> str | None:
        """Send the final status, wait at most `timeout` seconds, and return what went wrong, None if nothing."""
        with self._change:
            self._wanted, self._closing = status, True
            self._change.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            return f"MLflow at {told(tracking_uri())} did not answer within {timeout:.0f} s."
        return self.trouble

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._wanted is not None or self._closing)
                if self._wanted is None:
                    return
                upto, status, self._wanted = self._durable, self._wanted, None
            try:
                mirror(self.directory, parameters=self.parameters, name=self.name, upto=upto, status=status)
                self.trouble = None
            except UsageError as error:
                self.trouble = str(error)
            except (ImportError, *UNREADABLE) as error:
                self.trouble = f"MLflow's copy is not complete ({one_line(error)})."
