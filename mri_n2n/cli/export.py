"""`mri-n2n export`: a trained network for other software."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from mri_n2n.data.cli import Overwrite, starting
from mri_n2n.errors import UsageError

export = typer.Typer(
    help="Give a trained network to other software. Not for diagnostic use.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
FinishedRun = Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")]


@export.command("bundle")
def bundle_command(
    run: FinishedRun,
    directory: Annotated[Path, typer.Argument(help="Folder for the bundle.")],
    authors: Annotated[str, typer.Option(help="Who its metadata say trained it.")] = "not stated",
    overwrite: Overwrite = False,
) -> None:
    """Write a MONAI bundle: `python -m monai.bundle run` reconstructs NIfTI volumes with it."""
    starting()
    from mri_n2n.interop.bundle import export_bundle

    export_bundle(_finished(run), directory, authors=authors, overwrite=overwrite)
    typer.echo(f"Bundle: {directory} (see {directory / 'docs' / 'README.md'}). Not for diagnostic use.")
    typer.echo(
        f"Next: cd {quote(str(directory))}; "
        "python -m monai.bundle run --config_file configs/inference.json --dataset_dir VOLUMES"
    )


@export.command("torch")
def torch_command(
    run: FinishedRun,
    file: Annotated[Path, typer.Argument(help="File to write, .pt2.")],
    overwrite: Overwrite = False,
) -> None:
    """Write the network alone for `torch.export.load`, which needs torch and nothing of this program."""
    starting()
    from mri_n2n.interop.network_files import export_torch

    sizes = export_torch(_finished(run), file, overwrite=overwrite)
    typer.echo(f"Network: {file}, for {sizes}. Not for diagnostic use.")


@export.command("onnx")
def onnx_command(
    run: FinishedRun,
    file: Annotated[Path, typer.Argument(help="File to write, .onnx.")],
    overwrite: Overwrite = False,
) -> None:
    """Write the network alone as ONNX, for runtimes without Python."""
    starting()
    from mri_n2n.interop.network_files import export_onnx

    sizes = export_onnx(_finished(run), file, overwrite=overwrite)
    typer.echo(f"Network: {file}, for {sizes}. Not for diagnostic use.")


def _finished(path: Path) -> Any:
    from mri_n2n.run_directory import find_run, open_run

    run = open_run(find_run(path))
    run.network()  # or it says what to do
    if unfinished := run.unfinished():
        raise UsageError(f"{unfinished} Finish it: {run.command} train --resume {run.directory}")
    return run
