"""The commands for renderings. Nothing heavy is imported before a command runs."""

import typer

from rendering.cli.frames import export_command, frames_command, import_command, interiors_command
from rendering.cli.training import flythrough_command, train_command
from rendering.cli.use import denoise_command, evaluate_command, upload_command

render = typer.Typer(
    help="Monte Carlo renderings: render frames, train a denoiser on them, score it, use it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
render.command("interiors")(interiors_command)
render.command("frames")(frames_command)
render.command("export")(export_command)
render.command("import")(import_command)
render.command("train")(train_command)
render.command("flythrough")(flythrough_command)
render.command("evaluate")(evaluate_command)
render.command("denoise")(denoise_command)
render.command("upload")(upload_command)
