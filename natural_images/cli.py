"""The commands for photographs. Nothing heavy is imported before a command runs."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mri_n2n.cli.options import Device, Gpus, Report, Targets, check_save_seconds, refuse_with_resume
from mri_n2n.cli.seeds import Seeds, check_seeds, train_each
from mri_n2n.cli.upload import Alias, Model, Register, uploaded
from mri_n2n.data.cli import Overwrite, given
from mri_n2n.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from mri_n2n.run_directory import Run
    from mri_n2n.training.task import Task

photos = typer.Typer(
    help="Photographs: train a denoiser without clean images, score it, use it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SOME_FAILED = 3
SMALLEST_CROP = 128  # for the U-Net: measured, docs/results/photos.md

NoiseName = Literal["gaussian", "brown", "poisson", "bernoulli", "text", "impulses", "salt-and-pepper"]
LossName = Literal["l2", "l1", "l0"]
RunPath = Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")]


@photos.command("train")
def train_command(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of clean images, to which noise is added."),
    ] = None,
    pairs: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Or: two folders of noisy exposures of the same scenes, named alike. No noise is added."),
    ] = None,
    noise: Annotated[NoiseName, typer.Option(help="What is added.")] = "gaussian",
    low: Annotated[
        float | None, typer.Option(help="Lowest level: σ in 8-bit steps, λ, or share p.", show_default="the paper's")
    ] = None,
    high: Annotated[float | None, typer.Option(help="Highest level.", show_default="the paper's")] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="Of brown noise: pixels of its blur.", show_default="3")
    ] = None,
    targets: Annotated[Targets, typer.Option(help="Noisy targets, or clean ones to compare.")] = "noisy",
    loss: Annotated[
        LossName | None,
        typer.Option(help="l2 seeks the mean, l1 the median, l0 (annealed) the mode.", show_default="the noise's"),
    ] = None,
    network: Annotated[Literal["unet", "red30"], typer.Option(help="The paper's U-Net, or RED30.")] = "unet",
    width: Annotated[int | None, typer.Option(help="Feature maps.", show_default="48 for unet, 128 for red30")] = None,
    channels: Annotated[int, typer.Option(help="3 for colour, 1 for grey.")] = 3,
    crop: Annotated[int, typer.Option(help="Side of the random crops in pixels.")] = 256,
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 100_000,
    batch_size: Annotated[int, typer.Option(help="Crops per step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Adam's rate before it falls.")] = 1e-3,
    ramp_down: Annotated[float, typer.Option(help="Share of the run at its end over which the rate falls.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of weights, order, crops and noise.")] = 0,
    seeds: Seeds = None,
    device: Device = "auto",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Of the network.")] = "fp32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the network (pays on GPUs).")] = False,
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run and its folder under runs/.", show_default="from the options")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run, exactly as it was begun.")] = None,
    save_seconds: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 60.0,
    gpus: Gpus = None,
    report: Report = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a denoiser. On a CPU, --crop 128 --batch-size 2 --learning-rate 3e-4 --steps 4000 --precision bf16."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.launch import launched
    from mri_n2n.networks.spec import RED30Spec, UNetSpec
    from mri_n2n.pages.live import live_report
    from mri_n2n.recipes import Optimisation, Recipe
    from mri_n2n.run_directory import check_new, find_run, new_run_path, open_run
    from mri_n2n.run_files import LEFT_OUT
    from mri_n2n.training.schedules import RampedRate
    from mri_n2n.training.world import joined
    from natural_images.crops import Crops
    from natural_images.recipes import PHOTOGRAPHS, exposures_task, noise_model, noise_task
    from natural_images.training import create_photograph_run, indexed, train_on_photographs

    check_save_seconds(save_seconds)
    check_seeds(context, seeds)
    if gpus is not None:
        raise typer.Exit(launched(gpus, device, "--gpus"))
    world, chosen = joined(chosen_device(device))

    def trained(run: "Run", resume: bool) -> bool:
        live = live_report(run) if report else None
        return train_on_photographs(
            run, scenes, chosen, resume=resume, save_seconds=save_seconds, world=world, report=live
        )

    if resume is not None:
        refuse_with_resume(context, {"folder", "pairs", "resume", "device", "save_seconds", "report"})
        run = open_run(find_run(resume), PHOTOGRAPHS)
        if "paths" not in run.data:
            raise UsageError(f"{run.directory} belongs to an experiment: go on with it by `mri-n2n reproduce`.")
        moved = [folder] if folder is not None else pairs
        scenes = indexed([Path(path) for path in moved or run.data["paths"]])
    else:
        if (folder is None) == (pairs is None):
            raise UsageError("name one thing to train on: mri-n2n photos train FOLDER, or --pairs FOLDER FOLDER.")
        if channels not in (1, 3):
            raise UsageError(f"--channels is 1 (grey) or 3 (colour), got {channels}.")
        if pairs is not None:
            noisy = [f"--{name}" for name in ("noise", "low", "high", "bandwidth", "targets") if given(context, name)]
            if noisy:
                raise UsageError(f"real pairs bring their own noise: leave out {', '.join(noisy)}.")
            task: Task[Any] = exposures_task(loss=loss or "l2")
            kind = "pairs"
        else:
            task = noise_task(noise_model(noise, low, high, bandwidth), targets, loss)
            kind = f"{noise}-{targets}"
        sizes = {"in_channels": channels, "out_channels": channels} | ({} if width is None else {"width": width})
        spec = UNetSpec(**sizes) if network == "unet" else RED30Spec(**sizes)
        schedule = RampedRate(peak=learning_rate, ramp_up=0.0, ramp_down=ramp_down, last_momentum=0.9)
        optimisation = Optimisation(steps, batch_size, schedule, bf16=precision == "bf16", compile=compile)
        recipe = Recipe(task, optimisation, spec, seed, Crops(crop, 3 if channels == 3 else 1))
        world.share(batch_size)  # before anything is made
        name = f"photos-{kind}-{network}-{steps}steps-seed{seed}"
        path = new_run_path(run_name or name)
        if world.leads:
            if seeds is None:
                check_new(path, overwrite=overwrite)
            if network == "unet" and crop < SMALLEST_CROP:
                typer.echo(f"Crops below {SMALLEST_CROP} pixels: on larger images the U-Net will fail.", err=True)
        paths = [folder] if folder is not None else list(pairs or ())
        scenes = indexed(paths)
        if seeds is not None:
            train_each(
                run_name,
                name,
                recipe,
                seeds,
                PHOTOGRAPHS,
                lambda place, own: create_photograph_run(place, own, paths, scenes, chosen),
                trained,
                world,
            )
            return
        run = world.first(
            lambda: create_photograph_run(path, recipe, paths, scenes, chosen, overwrite=overwrite),
            lambda: open_run(path, PHOTOGRAPHS),
        )
    begun = run.state_path.exists()
    ended = trained(run, begun)
    if ended and world.leads:
        if run.data.get("left_out_images"):
            typer.echo(
                f"{run.data['left_out_images']} images or pairs were left out: {run.directory / LEFT_OUT} says why."
            )
        typer.echo(
            f"Done: {run.directory} (pictures in {run.directory / 'examples'}; runs side by side: mri-n2n runs list)"
        )
        typer.echo(
            f"Next: mri-n2n photos evaluate {quote(str(run.directory))} FOLDER..., or photos denoise "
            f"{quote(str(run.directory))} INPUT OUTPUT"
        )
    if not ended:
        if world.leads:
            typer.echo(f"Stopped and saved. Go on with: mri-n2n photos train --resume {quote(str(run.directory))}")
        raise typer.Exit(INTERRUPTED)


@photos.command("evaluate")
def evaluate_command(
    run: RunPath,
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of clean test images.")] = None,
    pairs: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Or: noisy images, and what to score against, named alike.")
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Level of the noise: σ, λ or p.", show_default="the paper's test level")
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also run the classical method for this noise (slow).")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Folder for the scores.", show_default="RUN/evaluation")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Score a run on every set: PSNR (8 bit, per image) with 95 % intervals over images; SSIM, too, in the files."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.run_directory import find_run, open_run
    from natural_images.recipes import PHOTOGRAPHS
    from natural_images.report import report_on_exposures, report_on_images

    if bool(folders) == (pairs is not None):
        raise UsageError("name what to score on: mri-n2n photos evaluate RUN FOLDER..., or --pairs NOISY REFERENCE.")
    opened = open_run(find_run(run), PHOTOGRAPHS)
    place = output or opened.directory / "evaluation"
    chosen = chosen_device(device)
    if pairs is not None:
        if level is not None or baseline:
            raise UsageError("real pairs bring their own noise: leave out --level and --baseline.")
        text, failed = report_on_exposures(opened, pairs, place, chosen, overwrite=overwrite)
    else:
        text, failed = report_on_images(
            opened, folders or [], place, chosen, level=level, baseline=baseline, overwrite=overwrite
        )
    if unfinished := opened.unfinished():
        typer.echo(unfinished)
    typer.echo(text)
    if opened.tracked:
        try:
            opened.upload()
        except UsageError as error:
            typer.echo(f"{error} Upload it later: mri-n2n photos upload {run}", err=True)
    typer.echo(f"Scores: {place} (images.csv, summary.json, results.md, examples.png)")
    typer.echo(f"Next: mri-n2n report {quote(str(run))}, or photos denoise {quote(str(run))} INPUT OUTPUT")
    if failed:
        typer.echo(f"{failed} could not be used (named above).", err=True)
        raise typer.Exit(SOME_FAILED)


@photos.command("denoise")
def denoise_command(
    run: RunPath,
    input: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    output: Annotated[Path, typer.Argument(help="A file, or a folder for a folder.")],
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Denoise images of any size, keeping format, bit depth, colour profile and EXIF. Exit code 3: some failed."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.run_directory import find_run, open_run
    from natural_images.denoising import Denoiser, denoise_file, denoise_folder
    from natural_images.recipes import PHOTOGRAPHS
    from natural_images.training import crops_of

    opened = open_run(find_run(run), PHOTOGRAPHS)
    if unfinished := opened.unfinished():
        typer.echo(unfinished, err=True)
    chosen = chosen_device(device)
    network = opened.network().to(chosen)
    denoiser = Denoiser(network, crops_of(opened.recipe).channels, chosen, opened.provenance())
    if not input.is_dir():
        typer.echo(str(denoise_file(denoiser, input, output, overwrite=overwrite)))
        return
    try:
        outcome = denoise_folder(denoiser, input, output, overwrite=overwrite)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"{outcome.done} images denoised, {outcome.already} already done, {len(outcome.failures)} failed.")
    for path in outcome.failures:
        typer.echo(f"failed: {path}", err=True)
    if outcome.failures:
        raise typer.Exit(SOME_FAILED)


@photos.command("upload")
def upload_command(run: RunPath, model: Model = False, register: Register = None, alias: Alias = None) -> None:
    """Bring MLflow's copy of a run up to date (MLFLOW_TRACKING_URI, else mlflow.db here)."""
    from mri_n2n.run_directory import find_run, open_run
    from natural_images.denoising import standalone
    from natural_images.recipes import PHOTOGRAPHS

    uploaded(open_run(find_run(run), PHOTOGRAPHS), standalone, model, register, alias)
