"""The command line: `mri-n2n`, also `python -m pipelines`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mri_n2n.cli import INTERRUPTED, Device, app
from mri_n2n.errors import UsageError

reproduce = typer.Typer(help="Repeat tables and figures of the paper.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(reproduce, name="reproduce")


@reproduce.command("fig9")
def fig9_command(
    data: Annotated[Path | None, typer.Argument(help="Prepared data; `smoke` draws its own heads without.")] = None,
    scale: Annotated[
        Literal["smoke", "small", "paper"],
        typer.Option(
            help="smoke: below a minute; small: below an hour on two CPU cores; paper: the full protocol, on a GPU."
        ),
    ] = "smoke",
    output: Annotated[
        Path | None, typer.Option(help="Folder for runs and results.", show_default="runs/fig9-SCALE")
    ] = None,
    device: Device = "auto",
) -> None:
    """MRI with noisy and clean targets (§3.4, Fig 9), and with the Horvitz-Thompson loss. Interrupted, it goes on."""
    from mri_n2n.data.ixi import prepare_ixi
    from mri_n2n.data.phantom import write_heads
    from mri_n2n.data.preparation import PrepareRequest
    from mri_n2n.data.selection import SliceRequest
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.data.subjects import SplitRequest
    from mri_n2n.environment import chosen_device
    from pipelines.experiments import run_experiment
    from pipelines.paper.fig9 import fig9

    folder = output or Path("runs") / f"fig9-{scale}"
    if data is None:
        if scale != "smoke":
            raise UsageError(
                f"--scale {scale} needs data: mri-n2n prepare ixi SOURCE DEST, then mri-n2n reproduce fig9 DEST."
            )
        data, heads = folder / "phantom-data", folder / "phantoms"
        if not heads.exists():
            write_heads(heads, subjects=4, size=64)
        prepare_ixi(heads, data, PrepareRequest(SplitRequest(2, 2), SliceRequest(20, 28)))
    prepared = open_prepared(data)
    experiment = fig9(scale, len(prepared.rows("train")))
    outcome = run_experiment(experiment, data, prepared, folder, chosen_device(device))
    if outcome is None:
        typer.echo("Stopped and saved. Go on with the same command.")
        raise typer.Exit(INTERRUPTED)
    typer.echo(outcome.table)
    typer.echo(
        f"Table: {folder / 'results.md'}; picture: {folder / (experiment.name + '.png')}; runs side by side: mlflow ui"
    )


def main() -> None:
    """Run the command line: a `UsageError` is one line and exit code 2, anything else a bug with its traceback."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("Interrupted.", file=sys.stderr)
        raise
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
