"""The MLflow store of runs: where it is, its experiment, and what to say where it does not take or give them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

# Hospitals are offline: no telemetry (only this exact value works, and only before MLflow is imported).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the mirror tries again itself, later
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would print the password of an address

from mri_n2n.durable import holding
from mri_n2n.errors import UsageError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "mri-n2n"
SQLITE = "sqlite:///"
OTHER_SCHEMA = "another version of MLflow made its database: use that one, or `mlflow db upgrade` on a copy"
MAKING = 120.0  # seconds that another process may take to make a database


def tracking_uri() -> str:
    """Where runs go.

    MLFLOW_TRACKING_URI, or a sqlite file in the working directory, which `mlflow ui` there opens by itself. Raises
    `UsageError` where that is a folder.
    """
    uri = absolute(os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db")
    if uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).is_dir():
        raise UsageError(f"MLFLOW_TRACKING_URI names the folder {uri.removeprefix(SQLITE)}, expected a database file.")
    return uri


def absolute(uri: str) -> str:
    """The same place, wherever a program works."""
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri


def told(text: str) -> str:
    """Addresses as they may be shown and kept: without a password. Paths of files have none."""
    text = re.sub(r"(?<!sqlite)(?<!file)://\S*@", "://", text)
    return re.sub(r"(?i)(password|passwd|pwd|token)=[^&\s]*", r"\1=…", text)


def line_of(error: Exception) -> str:
    """What an error of MLflow's says, as it may be shown."""
    return one_line(ValueError(told(str(error)) or type(error).__name__))


@contextmanager
def answering(uri: str, trouble: str = "does not answer") -> Iterator[None]:
    """Turns what MLflow raises within into one line. trouble: what to say that it does where it answers with a failure.

    Raises `UsageError`.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        cause = error.__context__ if isinstance(error, MlflowException) else error
        refused = isinstance(cause, DataError | IntegrityError)
        if isinstance(cause, RequestException | SQLAlchemyError) and not refused:
            raise UsageError(f"MLflow at {told(uri)} does not answer ({type(cause).__name__}).") from error
        if getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UsageError(f"MLflow at {told(uri)}: {line_of(error)}") from error
        said = OTHER_SCHEMA if "database schema" in str(error) else line_of(error)
        raise UsageError(f"MLflow at {told(uri)} {trouble} ({said}).") from error


@contextmanager
def alone_at(uri: str) -> Iterator[None]:
    """Of all processes that begin runs in one sqlite file: two that make it at once leave a run out of it."""
    if not uri.startswith(SQLITE):
        yield
        return
    database = Path(uri.removeprefix(SQLITE))
    with holding(database.with_name(f".{database.name}.lock"), patience=MAKING):
        yield


def experiment_title() -> str:
    """What the experiment is called that runs belong to, unless MLFLOW_EXPERIMENT_ID says which."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)


def experiment_of(client: "MlflowClient") -> str | None:
    """The identifier of the experiment that runs belong to; None where there is none yet."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    found = client.get_experiment_by_name(experiment_title())
    return str(found.experiment_id) if found else None


def made_experiment(client: "MlflowClient") -> str:
    """The same; made if need be."""
    from mlflow.exceptions import MlflowException

    try:
        return experiment_of(client) or str(
            client.create_experiment(experiment_title(), _artefacts(client.tracking_uri))
        )
    except MlflowException:
        if found := experiment_of(client):  # another process was first
            return found
        raise


def _artefacts(uri: str) -> str | None:
    """Where a new experiment's files go: beside a database, whatever the working directory; else where MLflow says."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).parent / "mlruns" / quote(experiment_title(), safe="")).as_uri()
