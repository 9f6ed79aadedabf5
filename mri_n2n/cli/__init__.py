"""The commands of the main job. Nothing heavy is imported before a command runs, so that --help answers at once."""

from typing import Annotated

import typer

from mri_n2n.cli.export import export
from mri_n2n.cli.runs import runs
from mri_n2n.cli.scans import prepare_kspace_command, reconstruct_command, simulate_command
from mri_n2n.cli.training import evaluate_command, train_command
from mri_n2n.cli.upload import upload_command
from mri_n2n.data.cli import phantom_command, prepare

app = typer.Typer(
    help="Train MRI reconstruction from undersampled, noisy scans only. Not for diagnostic use.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prepare, name="prepare")
app.add_typer(runs, name="runs")
app.command("phantom")(phantom_command)
prepare.command("kspace")(prepare_kspace_command)
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)
app.command("simulate")(simulate_command)
app.command("reconstruct")(reconstruct_command)
app.command("upload")(upload_command)
app.add_typer(export, name="export")


def _say_version(wanted: bool) -> None:
    if wanted:
        from mri_n2n import __version__

        typer.echo(f"mri-n2n {__version__}")
        raise typer.Exit()


@app.callback()
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""
