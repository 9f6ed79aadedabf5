"""The commands that make a run and score it: `train`, `evaluate`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mri_n2n.cli.options import Device, Gpus, LossName, Report, Targets, Values, check_save_seconds, refuse_with_resume
from mri_n2n.cli.seeds import Seeds, check_seeds, train_each
from mri_n2n.data.cli import Overwrite, given, starting
from mri_n2n.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from mri_n2n.run_directory import Run

KSPACE = ("kspace", "full-kspace")  # kinds of data that are complex


def train_command(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Argument(help="What `mri-n2n prepare` made; with --resume the run knows it.")
    ] = None,
    targets: Annotated[
        Targets, typer.Option(help="Noisy targets (no clean image is used), or clean ones to compare.")
    ] = "noisy",
    loss: Annotated[
        LossName | None,
        typer.Option(
            help="The paper's, or the Horvitz-Thompson estimate of the supervised loss.",
            show_default="paper; ht for raw k-space",
        ),
    ] = None,
    values: Annotated[
        Values | None, typer.Option(help="Real images or complex ones.", show_default="as the data's")
    ] = None,
    acceleration: Annotated[
        float | None, typer.Option(help="Keep exactly the share 1/ACCELERATION of k-space.")
    ] = None,
    edge_probability: Annotated[
        float | None,
        typer.Option(help="Or: sampling density at the end of the axis (published: 0.025).", show_default="0.025"),
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the training slices.")] = 300,
    steps: Annotated[int | None, typer.Option(help="Or: number of steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Adam's rate between the ramps.")] = 1e-3,
    ramp_down: Annotated[
        float, typer.Option(help="Share of the run at its end over which the rate falls to zero.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of weights, order, masks and moves.")] = 0,
    seeds: Seeds = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="Of the network; the physics is always fp32.")
    ] = "fp32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the network (pays on GPUs).")] = False,
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run and its folder under runs/.", show_default="from the options")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run, exactly as it was begun.")] = None,
    save_seconds: Annotated[
        float, typer.Option(help="Seconds between checkpoints: the most a killed run loses.")
    ] = 60.0,
    gpus: Gpus = None,
    report: Report = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a network. The defaults are the published configuration (300 epochs, meant for a GPU)."""
    starting()
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.environment import chosen_device
    from mri_n2n.launch import launched
    from mri_n2n.networks.spec import UNetSpec
    from mri_n2n.pages.live import live_report
    from mri_n2n.recipes import COMPLEX, MRI, Optimisation, Recipe
    from mri_n2n.run_directory import find_run, new_run_path, open_run
    from mri_n2n.slice_training import create_slice_run, train_on_slices
    from mri_n2n.training.schedules import RampedRate
    from mri_n2n.training.world import joined

    check_seeds(context, seeds)
    if gpus is not None:
        raise typer.Exit(launched(gpus, device, "--gpus"))
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}.")
    check_save_seconds(save_seconds)
    world, chosen = joined(chosen_device(device))

    def trained(run: "Run", resume: bool) -> bool:
        live = live_report(run) if report else None
        return train_on_slices(
            run, prepared, chosen, resume=resume, save_seconds=save_seconds, world=world, report=live
        )

    if resume is not None:
        refuse_with_resume(context, {"data", "resume", "device", "save_seconds", "report"})
        run = open_run(find_run(resume))
        prepared = open_prepared(data or Path(run.data["path"]))
    else:
        if data is None:
            raise UsageError("name the data to train on: mri-n2n train DATA. Make it with `mri-n2n prepare`.")
        if steps is not None and given(context, "epochs"):
            raise UsageError("give --epochs or --steps, not both.")
        prepared = open_prepared(data)
        kind = prepared.manifest.kind
        _check_values(kind, values)
        loss = loss or ("ht" if kind in KSPACE and targets == "noisy" else "paper")
        task = _task(kind, targets, loss, acceleration, edge_probability)
        count = steps if steps is not None else _steps(epochs, len(prepared.rows("train")), batch_size)
        schedule = RampedRate(peak=learning_rate, ramp_down=ramp_down)
        optimisation = Optimisation(count, batch_size, schedule, bf16=precision == "bf16", compile=compile)
        recipe = Recipe(task, optimisation, COMPLEX if kind in KSPACE else UNetSpec(), seed)
        world.share(batch_size)  # before anything is made
        name = _default_name(recipe, kind, targets, loss)
        if seeds is not None:
            train_each(
                run_name,
                name,
                recipe,
                seeds,
                MRI,
                lambda place, own: create_slice_run(place, own, data, prepared, chosen),
                trained,
                world,
            )
            return
        path = new_run_path(run_name or name)
        run = world.first(
            lambda: create_slice_run(path, recipe, data, prepared, chosen, overwrite=overwrite), lambda: open_run(path)
        )
    begun = run.state_path.exists()
    ended = trained(run, begun)
    if ended and world.leads:
        typer.echo(
            f"Done: {run.directory} (pictures in {run.directory / 'examples'}; runs side by side: mri-n2n runs list)"
        )
        typer.echo(f"Next: mri-n2n evaluate {quote(str(run.directory))} {quote(str(data or run.data['path']))}")
    if not ended:
        if world.leads:
            typer.echo(f"Stopped and saved. Go on with: mri-n2n train --resume {quote(str(run.directory))}")
        raise typer.Exit(INTERRUPTED)


def evaluate_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")],
    data: Annotated[Path, typer.Argument(help="Prepared data; its validation subjects are scored.")],
    classical: Annotated[
        bool, typer.Option(help="Also run total-variation compressed sensing (slow, one core per slice).")
    ] = True,
    output: Annotated[Path | None, typer.Option(help="Folder for the scores.", show_default="RUN/evaluation")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Score a run: PSNR, SSIM and NMSE per slice, per subject and overall, with 95 % intervals over subjects."""
    starting()
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.environment import chosen_device
    from mri_n2n.report import report_scores
    from mri_n2n.run_directory import find_run, open_run
    from mri_n2n.scores import table

    opened = open_run(find_run(run))
    folder = output or opened.directory / "evaluation"
    scores = report_scores(
        opened, open_prepared(data), folder, chosen_device(device), classical=classical, overwrite=overwrite
    )
    if unfinished := opened.unfinished():
        typer.echo(unfinished)
    typer.echo(table(scores))
    if opened.tracked:
        try:
            typer.echo(f"MLflow run {opened.upload()}")
        except UsageError as error:
            typer.echo(f"{error} Upload it later: mri-n2n upload {run}", err=True)
    typer.echo(f"Scores: {folder} (slices.csv, subjects.csv, summary.json, scores.png, examples.png)")
    simulated = opened.data["kind"] == "images"
    if simulated:
        typer.echo("(network: before the acquired frequencies, brightness among them, are put back.)")
    name, option = quote(str(run)), " --simulate" if simulated else ""
    typer.echo(f"Next: mri-n2n report {name}, or reconstruct {name} INPUT OUTPUT{option}")


def _steps(epochs: float, slices: int, batch_size: int) -> int:
    if not 0 < epochs < float("inf"):
        raise UsageError(f"--epochs must be positive, got {epochs:g}.")
    return max(1, round(epochs * slices / batch_size))


def _default_name(recipe: Any, kind: str, targets: str, loss: str) -> str:
    acceleration = getattr(recipe.task.corruption, "acceleration", None)
    sampling = f"-x{acceleration:g}" if acceleration else ""
    return f"{kind}-{targets}-{loss}{sampling}-{recipe.optimisation.steps}steps-seed{recipe.seed}"


def _task(
    kind: str, targets: Targets, loss: LossName, acceleration: float | None, edge_probability: float | None
) -> Any:
    from mri_n2n.recipes import kspace_task, pairs_task, undersampling_task

    if kind == "kspace":
        if targets != "noisy" or acceleration is not None or edge_probability is not None:
            raise UsageError(
                "this k-space was undersampled by the scanner: leave out --targets, --acceleration and "
                "--edge-probability, or prepare fully sampled scans."
            )
        return kspace_task(loss=loss)
    if kind == "full-kspace" and acceleration is None and edge_probability is None:
        edge_probability = 0.025
    if kind == "full-kspace":
        return kspace_task(targets=targets, loss=loss, acceleration=acceleration, edge_probability=edge_probability)
    if kind != "pairs":
        return undersampling_task(
            targets=targets, loss=loss, acceleration=acceleration, edge_probability=edge_probability
        )
    if targets != "noisy" or loss != "paper" or acceleration is not None or edge_probability is not None:
        raise UsageError(
            "real pairs have noisy targets and no simulated sampling: "
            "leave out --targets, --loss, --acceleration and --edge-probability."
        )
    return pairs_task()


def _check_values(kind: str, values: Values | None) -> None:
    known = "complex" if kind in KSPACE else "real"
    if values is not None and values != known:
        raise UsageError(f"--values {values}: this data is {known}. Leave it out, or prepare other data.")
