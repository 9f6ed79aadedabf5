"""Reads runs back from MLflow, for who has the server and not the folders."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mri_n2n.child_process import end_with_parent
from mri_n2n.comparison.curves import FLOWN, PSNR
from mri_n2n.comparison.records import Curve, RunRecord, read_evaluation, read_run
from mri_n2n.durable import read_json
from mri_n2n.errors import UsageError, one_line
from mri_n2n.mlflow_store import SQLITE, answering, experiment_of, experiment_title, told, tracking_uri
from mri_n2n.run_files import EVALUATION, NETWORK
from mri_n2n.tracking import FAMILY, UNNAMEABLE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

CURVES = ("seconds", "evaluation_seconds", "images_per_second", "loss", "validation/", "online/")
IDENTIFIER = re.compile(r"[0-9a-f]{32}")
PAGE = 200
STEPS = "optimisation.steps"
PARENT = "seeds"  # a metric of the parent of several, which may have it, too


def has_store() -> bool:
    """Whether there is an MLflow store to look into: one that was asked for, or the file in the working directory."""
    uri = tracking_uri()
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()


def tracked_run(identifier: str) -> RunRecord:
    """The run of an MLflow identifier. Raises `UsageError` where there is none, or it is not of this program."""
    with _answering() as client:
        return _record(client, client.get_run(identifier))


def tracked_runs(text: str = "", here: Mapping[str, Path] | None = None) -> list[RunRecord]:
    """The runs that a filter in MLflow's language finds (all, if empty), the oldest first; parents of runs left out.

    here: the directories of those that are read from there, by MLflow's identifier.
    """
    known = here or {}
    with _answering() as client:
        return [
            read_run(known[run.info.run_id]) if run.info.run_id in known else _record(client, run)
            for run in _found(client, text)
        ]


def tracked_named(name: str, here: Mapping[str, Path]) -> list[RunRecord]:
    """The runs that MLflow knows by a name, or as those of an experiment or of several seeds that has it."""
    quote = '"' if "'" in name else "'"
    found = tracked_runs(f"attributes.run_name = {quote}{name}{quote}", here)
    return found or tracked_runs(f"tags.`{FAMILY}` = {quote}{name}{quote}", here)


def matching(records: Sequence[RunRecord], text: str) -> list[RunRecord]:
    """Those of some runs that a filter in MLflow's language finds: as a store would, without one."""
    from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.utils.search_utils import SearchUtils

    def as_tracked(place: int, record: RunRecord) -> Any:
        info = RunInfo(
            run_id=str(place), experiment_id="", user_id="", status=record.status, start_time=0, end_time=0,
            lifecycle_stage="active", run_name=record.name,
        )  # fmt: skip
        values = {name: curve[-1][1] for name, curve in record.curves.items()} | _means(record)
        metrics = [Metric(name, value, 0, 0) for name, value in values.items()]
        params = [Param(name, value) for name, value in record.parameters.items()]
        return Run(info, RunData(metrics, params, [RunTag("mlflow.runName", record.name)]))

    search: Any = SearchUtils  # it has no types
    tracked = [as_tracked(place, record) for place, record in enumerate(records)]
    try:
        return [records[int(run.info.run_id)] for run in search.filter(tracked, text)]
    except MlflowException as error:
        raise UsageError(f"no run {text!r}, and no filter either ({one_line(error)}).") from None


def _means(record: RunRecord) -> dict[str, float]:
    """The means of a run's evaluation, called as MLflow has them."""
    means = record.evaluated.means if record.evaluated else {}
    return {UNNAMEABLE.sub("_", f"evaluation/{name}"): value for name, value in means.items()}


def sent_before(tag: str, value: str) -> str | None:
    """The identifier of the run that has a tag, and where that is, if there is one that was sent to its end.

    One that was not is removed. Raises `UsageError` where MLflow does not answer.
    """
    if not has_store():
        return None
    with _answering() as client:
        experiment = experiment_of(client)
        for run in client.search_runs([experiment], f"tags.`{tag}` = '{value}'") if experiment else ():
            if run.info.status in ("FINISHED", "KILLED"):
                return f"{run.info.run_id} at {told(tracking_uri())}"
            client.delete_run(run.info.run_id)
    return None


@contextmanager
def _answering() -> Iterator["MlflowClient"]:
    """A client; what it meets becomes one line."""
    from mlflow import MlflowClient

    uri = tracking_uri()
    if not has_store():
        raise UsageError(f"no MLflow store at {told(uri)}. Name run directories, or set MLFLOW_TRACKING_URI.")
    with answering(uri, "does not give its runs"):
        yield MlflowClient(uri)


def _found(client: "MlflowClient", text: str) -> Iterator["TrackedRun"]:
    experiment = experiment_of(client)
    if experiment is None:
        raise UsageError(
            f"MLflow at {told(tracking_uri())} has no experiment {experiment_title()!r}. Name it by "
            "MLFLOW_EXPERIMENT_NAME."
        )
    token = None
    while True:
        page = client.search_runs([experiment], text, 1, PAGE, ["attributes.start_time ASC"], token)
        yield from (run for run in page if _is_ours(run) and PARENT not in run.data.metrics)
        token = page.token
        if not token:
            return


def _is_ours(run: "TrackedRun") -> bool:
    """Whether it has the parameters that every run of this program has."""
    return run.data.params.get("kind") == "Recipe" and run.data.params.get(STEPS, "").isdecimal()


def _record(client: "MlflowClient", run: "TrackedRun") -> RunRecord:
    name, parameters = str(run.info.run_name), dict(run.data.params)
    if not _is_ours(run):
        raise UsageError(f"{name} in MLflow is not a run of this program, or its parameters are not there yet.")
    curves: dict[str, Curve] = {
        metric: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
        for metric in run.data.metrics
        if metric.startswith(CURVES)
    }
    wanted = int(parameters[STEPS])
    last = max((curve[-1][0] for metric, curve in curves.items() if metric.startswith((PSNR, FLOWN))), default=0)
    evaluated = weights = None
    if any(metric.startswith("evaluation/") for metric in run.data.metrics):
        with tempfile.TemporaryDirectory() as folder:
            evaluated = read_evaluation(_fetched_evaluation(client, run.info.run_id, name, Path(folder)))
            weights = _weights(client, run.info.run_id, folder)
    return RunRecord(
        name=name,
        place=f"{run.info.run_id} at {told(tracking_uri())}",
        domain=parameters.get("domain", ""),
        status=str(run.info.status),
        steps=(wanted if run.info.status == "FINISHED" else last, wanted),
        parameters=parameters,
        curves=curves,
        evaluated=evaluated,
        run_id=run.info.run_id,
        weights=weights,
        family=run.data.tags.get(FAMILY, ""),
    )


def _fetched_evaluation(client: "MlflowClient", identifier: str, name: str, folder: Path) -> Path:
    """Where an evaluation's summary is, and the table that it names, once they were brought into `folder`."""
    from mlflow.exceptions import MlflowException

    try:
        summary = Path(client.download_artifacts(identifier, f"{EVALUATION}/summary.json", str(folder)))
        table = read_json(summary, "evaluation summary").get("scores", {}).get("file")
        if table is not None:
            client.download_artifacts(identifier, f"{EVALUATION}/{Path(str(table)).name}", str(folder))
        return summary.parent
    except (MlflowException, OSError) as error:
        raise UsageError(
            f"MLflow has no scores of {name} any more ({type(error).__name__}): its artefacts were deleted or moved. "
            "Compare the run's directory, or upload that again."
        ) from error


def _weights(client: "MlflowClient", identifier: str, folder: str) -> str | None:
    """The SHA-256 of the weights that MLflow has of a run; None where it has none."""
    if not any(part.path == NETWORK for part in client.list_artifacts(identifier)):
        return None
    described = read_json(Path(client.download_artifacts(identifier, NETWORK, folder)), "network")
    return str(described.get("sha256", "")) or None if isinstance(described, dict) else None


def serve(port: int, say: Callable[[str], object]) -> NoReturn:
    """Have MLflow's own server on the store, for this machine alone, until Ctrl-C; leaves the program then.

    Raises `UsageError` where it cannot.
    """
    uri = tracking_uri()
    if uri.startswith(("http:", "https:")):
        raise UsageError(f"the runs are on a server, which has pages of its own: {told(uri)}")
    if not has_store():
        raise UsageError(f"no MLflow store at {told(uri)} yet. It comes with the first run.")
    with _answering() as client:  # or its server would say the same in a hundred lines
        client.search_experiments(max_results=1)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"cannot listen on port {port} ({one_line(error)}). Choose another --port.") from None
    say(f"http://127.0.0.1:{port} in some seconds; Ctrl-C ends it.")
    sys.stdout.flush()
    address = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # everybody sees a command's words, passwords too
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # it has none of its jobs to do, and stops at once without
    }
    # In a session of its own Ctrl-C does not reach it: it would answer with a traceback, and ends quietly by SIGTERM.
    command = [sys.executable, "-m", "mlflow", "server", *address]
    ending = partial(end_with_parent, signal.SIGTERM)  # where this program is killed, or its terminal closed
    server = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=ending)
    try:
        raise SystemExit(server.wait())
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()
