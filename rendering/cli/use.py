"""The commands that use a trained network: scored, denoising, told to MLflow."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from mri_n2n.cli.options import Device
from mri_n2n.cli.upload import Alias, Model, Register, uploaded
from mri_n2n.data.cli import Overwrite
from mri_n2n.errors import UsageError
from rendering.cli.options import Axes, RunPath, going_on


def evaluate_command(
    run: RunPath,
    frames: Annotated[Path, typer.Argument(help="Frames of other scenes, with references.")],
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also score Open Image Denoise, with and without albedo and normals.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Folder for the scores.", show_default="RUN/evaluation")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Score a run on frames: PSNR of tone-mapped images and brightness, with 95 % intervals over scenes."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.run_directory import find_run, open_run
    from rendering.frames import FrameStore
    from rendering.recipes import RENDERINGS
    from rendering.report import report_on_frames

    opened = open_run(find_run(run), RENDERINGS)
    place = output or opened.directory / "evaluation"
    text = report_on_frames(
        opened, FrameStore.open(frames), place, chosen_device(device), baseline=baseline, overwrite=overwrite
    )
    if unfinished := opened.unfinished():
        typer.echo(unfinished)
    typer.echo(text)
    if opened.tracked:
        try:
            opened.upload()
        except UsageError as error:
            typer.echo(f"{error} Upload it later: mri-n2n render upload {run}", err=True)
    typer.echo(f"Scores: {place} (views.csv, summary.json, results.md, examples.png)")
    typer.echo(f"Next: mri-n2n report {quote(str(run))}, or render denoise {quote(str(run))} IN OUT")


def upload_command(run: RunPath, model: Model = False, register: Register = None, alias: Alias = None) -> None:
    """Bring MLflow's copy of a run up to date (MLFLOW_TRACKING_URI, else mlflow.db here)."""
    from mri_n2n.run_directory import find_run, open_run
    from rendering.denoising import standalone
    from rendering.recipes import RENDERINGS

    uploaded(open_run(find_run(run), RENDERINGS), standalone, model, register, alias)


def denoise_command(
    run: RunPath,
    input: Annotated[Path, typer.Argument(help="An OpenEXR image with albedo and normals, or a folder of them.")],
    output: Annotated[Path, typer.Argument(help="A file, or a folder for a folder.")],
    normals: Axes = "auto",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Denoise renders of any size: an OpenEXR image of linear radiance, and a tone-mapped PNG beside it."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.run_directory import find_run, open_run
    from rendering.denoised_files import denoise_files
    from rendering.recipes import RENDERINGS

    opened = open_run(find_run(run), RENDERINGS)
    if unfinished := opened.unfinished():
        typer.echo(unfinished, err=True)
    with going_on():
        made = denoise_files(opened, input, output, chosen_device(device), normals=normals, overwrite=overwrite)
    typer.echo(f"{len(made)} images denoised, a .png beside each: {output}")
    replaced, clamped = (sum(about[name] for about in made) for name in ("replaced_pixels", "clamped_values"))
    if replaced or clamped:
        typer.echo(
            f"{replaced} pixels were no numbers and set to 0, {clamped} values clamped to float16's range: look at the "
            "pictures.",
            err=True,
        )
