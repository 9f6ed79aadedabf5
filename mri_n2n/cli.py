"""The commands of the main job. Nothing heavy is imported before a command runs, so that --help answers at once."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mri_n2n.data.cli import (
    Overwrite,
    SplitTable,
    Strict,
    Train,
    Validation,
    given,
    phantom_command,
    prepare,
    report_prepared,
    request_of,
)
from mri_n2n.errors import INTERRUPTED, UsageError

app = typer.Typer(
    help="Train MRI reconstruction from undersampled, noisy scans only. Not for diagnostic use.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prepare, name="prepare")
app.command("phantom")(phantom_command)


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


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]

Gpus = Annotated[
    int | None, typer.Option(help="Train on so many GPUs of this machine (with --device cpu: in so many processes).")
]
ScanEdge = Annotated[
    float | None,
    typer.Option(help="Sampling density at the end of the axis, of raw k-space that does not state it."),
]
ScanDensity = Annotated[
    Path | None, typer.Option(help="Or: a .npy of probabilities [row column], the centre of k-space in the middle.")
]
Targets = Literal["noisy", "clean"]
LossName = Literal["paper", "ht"]
Values = Literal["real", "complex"]
KSPACE = ("kspace", "full-kspace")  # kinds of data that are complex


@prepare.command("kspace")
def prepare_kspace_command(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder of raw k-space (.h5, .mrd, .cfl).")],
    dest: Annotated[Path, typer.Argument(help="Folder for the prepared k-space.")],
    train: Train = 50,
    validation: Validation = 10,
    split: SplitTable = None,
    slices: Annotated[
        str, typer.Option(help="First and last slice, counted from 0, FIRST:LAST.", show_default="all")
    ] = "0:2047",
    edge_probability: ScanEdge = None,
    density: ScanDensity = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare raw scans, complex values and all: every slice of every coil, undersampled or fully sampled."""
    from mri_n2n.data.raw import SUFFIXES
    from mri_n2n.densities import given_density
    from mri_n2n.kspace_preparation import prepare_kspace

    request = request_of(context, source, split, slices, train, validation, 8, strict, overwrite, SUFFIXES)
    report_prepared(prepare_kspace(source, dest, request, given_density(edge_probability, density)), dest)


@app.command("train")
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
    overwrite: Overwrite = False,
) -> None:
    """Train a network. The defaults are the published configuration (300 epochs, meant for a GPU)."""
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.environment import chosen_device
    from mri_n2n.launch import launched
    from mri_n2n.networks.spec import UNetSpec
    from mri_n2n.recipes import COMPLEX, Optimisation, Recipe
    from mri_n2n.run_directory import find_run, new_run_path, open_run
    from mri_n2n.slice_training import create_slice_run, train_on_slices
    from mri_n2n.training.schedules import RampedRate
    from mri_n2n.training.world import joined

    if gpus is not None:
        raise typer.Exit(launched(gpus, device, "--gpus"))
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}.")
    if not save_seconds >= 0:
        raise UsageError(f"--save-seconds must not be negative, got {save_seconds:g}.")
    world, chosen = joined(chosen_device(device))
    if resume is not None:
        refuse_with_resume(context, {"data", "resume", "device", "save_seconds"})
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
        path = new_run_path(run_name or _default_name(recipe, kind, targets, loss))
        run = world.first(
            lambda: create_slice_run(path, recipe, data, prepared, chosen, overwrite=overwrite), lambda: open_run(path)
        )
    begun = run.state_path.exists()
    ended = train_on_slices(run, prepared, chosen, resume=begun, save_seconds=save_seconds, world=world)
    if ended and world.leads:
        typer.echo(f"Done: {run.directory} (pictures in {run.directory / 'examples'}; runs side by side: mlflow ui)")
        typer.echo(f"Next: mri-n2n evaluate {run.directory} {data or run.data['path']}")
    if not ended:
        if world.leads:
            typer.echo(f"Stopped and saved. Go on with: mri-n2n train --resume {run.directory}")
        raise typer.Exit(INTERRUPTED)


@app.command("evaluate")
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
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.environment import chosen_device
    from mri_n2n.evaluation import table
    from mri_n2n.report import report_scores
    from mri_n2n.run_directory import find_run, open_run

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
            upload_command(run)
        except UsageError as error:
            typer.echo(f"{error} Upload it later: mri-n2n upload {run}", err=True)
    typer.echo(f"Scores: {folder} (slices.csv, subjects.csv, summary.json, scores.png, examples.png)")
    simulated = opened.data["kind"] == "images"
    if simulated:
        typer.echo("(network: before the acquired frequencies, brightness among them, are put back.)")
    typer.echo(f"Next: mri-n2n reconstruct {run} INPUT OUTPUT" + (" --simulate" if simulated else ""))


@app.command("simulate")
def simulate_command(
    volumes: Annotated[Path, typer.Argument(help="A fully sampled volume, or a folder of them, DICOM MR series too.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files of raw k-space.")],
    acceleration: Annotated[
        float | None, typer.Option(help="Keep exactly the share 1/ACCELERATION of k-space, in expectation.")
    ] = None,
    edge_probability: Annotated[
        float | None,
        typer.Option(help="Or: sampling density at the end of the axis (published: 0.025).", show_default="0.025"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other masks.")] = 0,
    values: Annotated[
        Values, typer.Option(help="Real images as they are, or complex ones with a smooth random phase.")
    ] = "real",
    coils: Annotated[
        int | None, typer.Option(help="Receive coils of complex images, on a ring.", show_default="1")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write raw k-space (ISMRMRD) of scans simulated from magnitude volumes, one mask per volume."""
    from mri_n2n.simulation import simulate_path
    from mri_n2n.task import Undersampling

    if acceleration is None and edge_probability is None:
        edge_probability = 0.025
    if values == "real" and coils is not None:
        raise UsageError("--coils goes with --values complex: real images are those of one coil.")
    if coils is not None and not 1 <= coils <= 64:
        raise UsageError(f"--coils must lie in 1 .. 64, got {coils}.")
    sampling = Undersampling(acceleration, edge_probability)
    number = (coils or 1) if values == "complex" else None
    done = simulate_path(volumes, out, sampling, seed, coils=number, overwrite=overwrite)
    typer.echo(f"{len(done)} scans written to {out}. SIMULATED; not for diagnostic use.")
    typer.echo(f"Next: mri-n2n reconstruct RUN {out} OUTPUT")


@app.command("reconstruct")
def reconstruct_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")],
    input: Annotated[Path, typer.Argument(help="Raw k-space (.h5, .mrd, .cfl), an image, or a folder; DICOM, too.")],
    output: Annotated[Path, typer.Argument(help="A file, or a folder for a folder.")],
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Undersample fully sampled volumes first, as in training.")
    ] = False,
    white: Annotated[
        float | None, typer.Option(help="What is white, if the input does not say (see the docs).")
    ] = None,
    edge_probability: ScanEdge = None,
    density: ScanDensity = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Reconstruct scans (raw k-space) as volumes, in the scanner's geometry; or, with --simulate, volumes."""
    from mri_n2n.densities import given_density
    from mri_n2n.environment import chosen_device
    from mri_n2n.reconstruction import Reconstructor, reconstruct_path
    from mri_n2n.run_directory import find_run, open_run

    opened = open_run(find_run(run))
    known = given_density(edge_probability, density)
    reconstructor = Reconstructor(
        opened.network(), opened.recipe, chosen_device(device), simulate, white=white, density=known
    )
    for result in reconstruct_path(reconstructor, input, output, opened.provenance(), overwrite=overwrite):
        typer.echo(f"{result.output}" + ("" if result.psnr is None else f"  PSNR {result.psnr:.2f} dB (simulated)"))


@app.command("upload")
def upload_command(run: Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")]) -> None:
    """Bring MLflow's copy of a run up to date (MLFLOW_TRACKING_URI, else mlflow.db here)."""
    from mri_n2n.run_directory import find_run, open_run

    typer.echo(f"MLflow run {open_run(find_run(run)).upload()}")


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


def refuse_with_resume(context: typer.Context, allowed: set[str]) -> None:
    """Raise if an option is given that a resumed run has already decided."""
    clashing = [name for name in context.params if name not in allowed and given(context, name)]
    if clashing:
        names = ", ".join("--" + name.replace("_", "-") for name in clashing)
        raise UsageError(f"a resumed run keeps its recipe: leave out {names}.")
