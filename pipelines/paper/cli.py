"""The commands that repeat the paper: `mri-n2n reproduce`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mri_n2n.cli.options import Device
from mri_n2n.errors import INTERRUPTED, UsageError
from natural_images.cli import SOME_FAILED
from rendering.cli.options import Variant, going_on

reproduce = typer.Typer(help="Repeat tables and figures of the paper.", no_args_is_help=True, rich_markup_mode=None)

Scale = Annotated[
    Literal["smoke", "small", "paper"],
    typer.Option(
        help="smoke: below a minute; small: about 45 minutes on two CPU cores; paper: the full protocol, on a GPU."
    ),
]
Frames = Annotated[Path, typer.Option(help="Folder where scenes and frames are kept.")]
PHOTOGRAPH_FIGURES = {
    "table1": "Gaussian, Poisson and Bernoulli noise, clean and noisy targets (Table 1).",
    "fig1a": "RED30 on Gaussian noise: how clean and noisy targets converge (Fig 1a).",
    "fig1b": "Targets with brown noise of several bandwidths (Fig 1b).",
    "fig1c": "Three ways to spend a capture budget (Fig 1c).",
    "fig2": "Examples of the three noises; uses the runs of table1 (Fig 2).",
    "fig3": "Text removal: L1 against L2 (Fig 3).",
    "fig4": "Random-valued impulses: L0, L1, L2 (Fig 4).",
    "fig5": "Random-valued impulses of every density: L0 against L1 (Fig 5).",
}
RENDERING_FIGURES = {
    "fig6": "Renderings: losses and scales, 8 samples per pixel (Fig 6).",
    "fig7": "Renderings: noisy and clean targets, 64 samples per pixel (Fig 7).",
}


@reproduce.command("fig9")
def fig9_command(
    data: Annotated[Path | None, typer.Argument(help="Prepared data; `smoke` draws its own heads without.")] = None,
    scale: Scale = "smoke",
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
        f"Table: {folder / 'results.md'}; picture: {folder / (experiment.name + '.png')}; "
        "runs side by side: mri-n2n runs list"
    )


@reproduce.command("appendix")
def appendix_command(
    scale: Scale = "smoke",
    output: Annotated[Path | None, typer.Option(help="Folder for results.", show_default="runs/appendix-SCALE")] = None,
) -> None:
    """Two demonstrations in numbers: finite noisy targets (A.3), and what L0 seeks (A.4)."""
    from pipelines.paper.appendix import reproduce_appendix

    folder = output or Path("runs") / f"appendix-{scale}"
    typer.echo(reproduce_appendix(folder, scale))
    typer.echo(f"Table: {folder / 'results.md'}; pictures: finite-targets.png, mode-seeking.png beside it")


def _photograph_command(name: str, about: str) -> None:
    """Add the command of one experiment on photographs."""

    def command(
        train: Annotated[
            Path | None, typer.Argument(help="Folder of photographs to train on; `smoke` draws pictures without.")
        ] = None,
        test: Annotated[list[Path] | None, typer.Option(help="Folder of test images; may be given again.")] = None,
        scale: Scale = "smoke",
        baseline: Annotated[
            bool, typer.Option("--baseline", help="Also score the classical methods (BM3D: a minute per image).")
        ] = False,
        output: Annotated[
            Path | None, typer.Option(help="Folder for runs and results.", show_default=f"runs/{name}-SCALE")
        ] = None,
        runs: Annotated[
            Path | None,
            typer.Option(help="Folder of the trained networks.", show_default="as --output; fig2: table1's"),
        ] = None,
        device: Device = "auto",
    ) -> None:
        from dataclasses import replace
        from importlib import import_module

        from mri_n2n.environment import chosen_device
        from mri_n2n.parent_run import announce_experiment
        from mri_n2n.run_directory import check_own
        from natural_images.procedural import write_pictures
        from pipelines.paper.photographs import SCALES
        from pipelines.photograph_experiments import run_photograph_experiment

        folder = output or Path("runs") / f"{name}-{scale}"
        if (train is None) != (not test):
            raise UsageError("give both: photographs to train on, and --test with a folder of others.")
        if train is None or not test:
            if scale != "smoke":
                raise UsageError(
                    f"--scale {scale} needs photographs: mri-n2n reproduce {name} TRAIN --test KODAK --scale {scale}."
                )
            pictures = folder / "pictures"
            check_own(folder)
            announce_experiment(folder)
            train, test = pictures / "train", [pictures / "test"]
            write_pictures(train, 20)
            write_pictures(test[0], 3, (64, 96))
        experiment = getattr(import_module(f"pipelines.paper.{name}"), name)(SCALES[scale])
        if scale == "smoke":
            experiment = replace(experiment, caution="Smoke: three steps, which show that it runs and nothing else.")
        own = folder.with_name(f"{experiment.runs}-{scale}") if experiment.runs else folder
        outcome = run_photograph_experiment(
            experiment, train, test, folder, chosen_device(device), runs=runs or own, baseline=baseline
        )
        if outcome is None:
            typer.echo("Stopped and saved. Go on with the same command.")
            raise typer.Exit(INTERRUPTED)
        typer.echo(outcome.text)
        typer.echo(
            f"Table: {folder / 'results.md'}; picture: {folder / (name + '.png')}; runs side by side: mri-n2n runs list"
        )
        if outcome.left_out:
            typer.echo(f"{len(outcome.left_out)} test images could not be used (named above).", err=True)
            raise typer.Exit(SOME_FAILED)

    reproduce.command(name, help=f"{about} Interrupted, it goes on.")(command)


for _name, _about in PHOTOGRAPH_FIGURES.items():
    _photograph_command(_name, _about)


def _rendering_command(name: str, about: str) -> None:
    """Add the command of one experiment on renderings."""

    def command(
        scenes: Annotated[
            Path | None,
            typer.Argument(
                help="A folder with scenes in training/ and validation/.", show_default="interiors, drawn for it"
            ),
        ] = None,
        scale: Scale = "smoke",
        output: Annotated[
            Path | None, typer.Option(help="Folder for runs and results.", show_default=f"runs/{name}-SCALE")
        ] = None,
        frames: Frames = Path("frames"),
        variant: Variant = "auto",
        device: Device = "auto",
    ) -> None:
        from importlib import import_module

        from mri_n2n.environment import chosen_device
        from pipelines.paper.renderings import SCALES
        from pipelines.rendering_experiments import Studio, run_rendering_experiment

        folder = output or Path("runs") / f"{name}-{scale}"
        experiment = getattr(import_module(f"pipelines.paper.{name}"), name)()
        studio = Studio(frames, scenes, chosen_device(device), variant)
        with going_on():
            text = run_rendering_experiment(experiment, SCALES[scale], studio, folder)
        if text is None:
            typer.echo("Stopped and saved. Go on with the same command.")
            raise typer.Exit(INTERRUPTED)
        typer.echo(text)
        typer.echo(
            f"Table: {folder / 'results.md'}; picture: {folder / (name + '.png')}; runs side by side: mri-n2n runs list"
        )

    reproduce.command(name, help=f"{about} Interrupted, it goes on.")(command)


for _name, _about in RENDERING_FIGURES.items():
    _rendering_command(_name, _about)


@reproduce.command("fig8")
def fig8_command(
    scene: Annotated[
        Path | None, typer.Argument(help="A scene of Mitsuba 3 (.xml).", show_default="an interior, drawn for it")
    ] = None,
    scale: Scale = "smoke",
    output: Annotated[
        Path | None, typer.Option(help="Folder for runs and results.", show_default="runs/fig8-SCALE")
    ] = None,
    frames: Frames = Path("frames"),
    variant: Variant = "auto",
    device: Device = "auto",
) -> None:
    """Renderings: training while the camera flies, noisy and clean targets (Fig 8). Interrupted, it goes on."""
    from mri_n2n.environment import chosen_device
    from pipelines.flight_experiments import run_flight
    from pipelines.paper.renderings import SCALES
    from pipelines.rendering_experiments import Studio

    folder = output or Path("runs") / f"fig8-{scale}"
    studio = Studio(frames, None, chosen_device(device), variant)
    with going_on():
        place = scene or studio.scenes_of(SCALES[scale]) / "validation" / "interior-000" / "scene.xml"
        text = run_flight(SCALES[scale], studio, place, folder)
    if text is None:
        typer.echo("Stopped and saved. Go on with the same command.")
        raise typer.Exit(INTERRUPTED)
    typer.echo(text)
    typer.echo(f"Table: {folder / 'results.md'}; curves: {folder / 'fig8.png'}")
    typer.echo(
        f"Video: {folder / 'noisy-targets-seed-0' / 'examples' / 'flythrough.webp'}; "
        "runs side by side: mri-n2n runs list"
    )
