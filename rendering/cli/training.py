"""The commands that train on frames: from a store, or in flight."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mri_n2n.cli.options import Device, Gpus, Report, Targets, check_save_seconds, refuse_with_resume
from mri_n2n.cli.seeds import Seeds, check_seeds, train_each
from mri_n2n.data.cli import Overwrite
from mri_n2n.errors import INTERRUPTED, UsageError
from rendering.cli.options import Size, Variant, sides_of

if TYPE_CHECKING:
    from mri_n2n.run_directory import Run

Scale = Literal["linear", "tone-mapped"]


def train_command(
    context: typer.Context,
    frames: Annotated[Path | None, typer.Argument(help="Frames, made by `render frames` or `render import`.")] = None,
    targets: Annotated[Targets, typer.Option(help="Noisy targets, or clean ones to compare.")] = "noisy",
    loss: Annotated[Literal["hdr", "l2"], typer.Option(help="Relative to the prediction (L_HDR), or plain.")] = "hdr",
    input: Annotated[Scale, typer.Option(help="Scale of the colour that the network sees.")] = "tone-mapped",
    output: Annotated[
        Literal["logarithm", "linear", "tone-mapped"],
        typer.Option(help="What the network gives of radiance: its logarithm; itself (the paper); its tone (biased)."),
    ] = "logarithm",
    exposure: Annotated[
        Literal["input", "none"], typer.Option(help="Scale radiance to middle grey, by the input, or not.")
    ] = "input",
    width: Annotated[int, typer.Option(help="Feature maps of the U-Net.")] = 48,
    crop: Annotated[int, typer.Option(help="Side of the random crops in pixels.")] = 256,
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 100_000,
    batch_size: Annotated[int, typer.Option(help="Crops per step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Adam's rate before it falls.")] = 3e-4,
    ramp_down: Annotated[float, typer.Option(help="Share of the run at its end over which the rate falls.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of weights, order, crops and pairs.")] = 0,
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
    """Train a denoiser on frames. On a CPU, --crop 96 --width 24 --learning-rate 1e-3 --steps 2000."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.launch import launched
    from mri_n2n.pages.live import live_report
    from mri_n2n.run_directory import check_new, find_run, new_run_path, open_run
    from mri_n2n.training.world import joined
    from rendering.recipes import RENDERINGS, rendering_recipe, rendering_task
    from rendering.tasks import Encoding
    from rendering.training import create_frames_run, frames_to_train_on, train_on_frames

    check_save_seconds(save_seconds)
    check_seeds(context, seeds)
    if gpus is not None:
        raise typer.Exit(launched(gpus, device, "--gpus"))
    world, chosen = joined(chosen_device(device))

    def trained(run: "Run", resume: bool) -> bool:
        live = live_report(run) if report else None
        return train_on_frames(run, store, chosen, resume=resume, save_seconds=save_seconds, world=world, report=live)

    if resume is not None:
        refuse_with_resume(context, {"frames", "resume", "device", "save_seconds", "report"})
        run = open_run(find_run(resume), RENDERINGS)
        if "poses" in run.data:
            raise UsageError(f"{run.directory} is a flight: mri-n2n render flythrough --resume {run.directory}")
        if "path" not in run.data:
            raise UsageError(f"{run.directory} belongs to an experiment: go on with it by `mri-n2n reproduce`.")
        store = frames_to_train_on(frames or Path(run.data["path"]), run.recipe)
    else:
        if frames is None:
            raise UsageError("name the frames to train on: mri-n2n render train FRAMES.")
        recipe = rendering_recipe(
            rendering_task(Encoding(input, output, exposure == "input"), targets, loss),
            steps,
            crop=crop,
            batch_size=batch_size,
            width=width,
            rate=learning_rate,
            ramp_down=ramp_down,
            seed=seed,
            bf16=precision == "bf16",
            compile=compile,
        )
        world.share(batch_size)  # before anything is made
        name = f"render-{loss}-{targets}-{steps}steps-seed{seed}"
        path = new_run_path(run_name or name)
        if world.leads and seeds is None:
            check_new(path, overwrite=overwrite)
        store = frames_to_train_on(frames, recipe)
        if seeds is not None:
            train_each(
                run_name,
                name,
                recipe,
                seeds,
                RENDERINGS,
                lambda place, own: create_frames_run(place, own, store, chosen),
                trained,
                world,
            )
            return
        run = world.first(
            lambda: create_frames_run(path, recipe, store, chosen, overwrite=overwrite),
            lambda: open_run(path, RENDERINGS),
        )
    begun = run.state_path.exists()
    ended = trained(run, begun)
    if not world.leads:
        raise typer.Exit(0 if ended else INTERRUPTED)
    if not ended:
        typer.echo(f"Stopped and saved. Go on with: mri-n2n render train --resume {quote(str(run.directory))}")
        raise typer.Exit(INTERRUPTED)
    typer.echo(
        f"Done: {run.directory} (pictures in {run.directory / 'examples'}; runs side by side: mri-n2n runs list)"
    )
    place = quote(str(run.directory))
    typer.echo(f"Next: mri-n2n render evaluate {place} FRAMES, or render denoise {place} IN OUT")


def flythrough_command(
    context: typer.Context,
    scene: Annotated[Path | None, typer.Argument(help="A scene of Mitsuba 3 (.xml).")] = None,
    keyframes: Annotated[
        Path | None,
        typer.Option(
            help="A JSON list of views, each an origin and a target: the way.",
            show_default="a loop around the scene's camera",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of the flight.")] = 1000,
    targets: Annotated[Targets, typer.Option(help="Noisy targets, or clean ones, of --reference-spp.")] = "noisy",
    spp: Annotated[int, typer.Option(help="Samples per pixel of each frame's two renders.")] = 8,
    reference_spp: Annotated[int, typer.Option(help="Samples per pixel of a reference.")] = 1024,
    reference_every: Annotated[int, typer.Option(help="Frames between references, which PSNRs are against.")] = 25,
    size: Size = "512",
    crop: Annotated[int, typer.Option(help="Side of the random crops in pixels.")] = 256,
    width: Annotated[int, typer.Option(help="Feature maps of the U-Net.")] = 48,
    learning_rate: Annotated[float, typer.Option(help="Adam's rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(help="Of the way, all noise, weights and crops.")] = 0,
    variant: Variant = "auto",
    device: Device = "auto",
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run and its folder under runs/.", show_default="from the options")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run, exactly as it was begun.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Fly through a scene; train on each frame (two renders, eight steps) and show it denoised. Makes a video."""
    from mri_n2n.environment import chosen_device
    from mri_n2n.run_directory import check_new, find_run, new_run_path, open_run
    from rendering.crops import check_fit
    from rendering.flights import begun_flight, create_flight_run, mean_seconds, planned_flight
    from rendering.flythrough import FlightRenderer, FlightRequest
    from rendering.online import keep_pictures, online_recipe, train_online, write_video
    from rendering.recipes import RENDERINGS, crops_of
    from rendering.renderer import chosen_variant

    chosen = chosen_device(device)
    if resume is not None:
        refuse_with_resume(context, {"scene", "resume", "device"})
        run = open_run(find_run(resume), RENDERINGS)
        flight, drawn = begun_flight(run, scene)
    else:
        if scene is None:
            raise UsageError("name the scene to fly through: mri-n2n render flythrough SCENE.")
        recipe = online_recipe(frames, targets=targets, crop=crop, width=width, seed=seed, rate=learning_rate)
        path = new_run_path(run_name or f"flythrough-{targets}-{frames}frames-seed{seed}")
        check_new(path, overwrite=overwrite)
        drawn = chosen_variant(variant)
        clean_spp = reference_spp if targets == "clean" else 0
        request = FlightRequest(sides_of(size), spp, reference_spp, reference_every, clean_spp, seed)
        check_fit(crops_of(recipe), request.size)
        flight = planned_flight(scene, keyframes, frames, request, drawn)
        run = create_flight_run(path, recipe, flight, drawn, chosen, overwrite=overwrite)
    began = run.state_path.exists()
    ended = train_online(run, FlightRenderer(flight, drawn), chosen, resume=began, watch=keep_pictures(run))
    if not ended:
        typer.echo(f"Stopped and saved. Go on with: mri-n2n render flythrough --resume {quote(str(run.directory))}")
        raise typer.Exit(INTERRUPTED)
    video = write_video(run)
    typer.echo(mean_seconds(run))
    typer.echo(f"Done: {run.directory} (noisy, denoised and reference side by side: {video})")
    typer.echo(f"Next: mri-n2n render denoise {quote(str(run.directory))} IN OUT")
