"""The command `upload`, of all domains."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri_n2n.errors import UsageError

if TYPE_CHECKING:
    from mri_n2n.run_directory import Run
    from mri_n2n.standalone import Standalone

RunPath = Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")]
Model = Annotated[bool, typer.Option("--model", help="Also log the network as a model that `mlflow` loads.")]
Register = Annotated[str | None, typer.Option(help="Also register that model under this name.")]
Alias = Annotated[str | None, typer.Option(help="And give the registered version this alias, such as champion.")]


def uploaded(
    run: "Run", standalone: "Callable[[Run], Standalone]", model: bool, register: str | None, alias: str | None
) -> None:
    """Bring MLflow's copy of a run up to date, and say where it is."""
    if alias is not None and register is None:
        raise UsageError("an alias is of a registered model: add --register NAME.")
    if not (model or register is not None):
        typer.echo(f"MLflow run {run.upload()}")
        return
    from mri_n2n.logged_model import Registration, log_model

    registration = None if register is None else Registration(register, alias)
    typer.echo(f"MLflow model {log_model(run, standalone, registration)}")


def upload_command(run: RunPath, model: Model = False, register: Register = None, alias: Alias = None) -> None:
    """Bring MLflow's copy of a run up to date (MLFLOW_TRACKING_URI, else mlflow.db here)."""
    from mri_n2n.run_directory import find_run, open_run
    from mri_n2n.standalone import standalone

    def of(opened: "Run") -> "Standalone":
        return standalone(opened.network(), opened.recipe, opened.data["size"])

    uploaded(open_run(find_run(run)), of, model, register, alias)
