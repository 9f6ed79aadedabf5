"""The commands for renderings. Nothing heavy is imported before a command runs."""

import re
from pathlib import Path
from typing import Annotated

import typer

from mri_n2n.data.cli import Overwrite
from mri_n2n.errors import INTERRUPTED, UsageError

render = typer.Typer(
    help="Monte Carlo renderings: frames of a path tracer, to train on.", no_args_is_help=True, rich_markup_mode=None
)


@render.callback()
def _group() -> None:
    """Keeps `frames` a command of its own while it is the only one."""


@render.command("frames")
def frames_command(
    scenes: Annotated[Path, typer.Argument(help="A scene of Mitsuba 3 (.xml), or a folder of scene.xml files.")],
    out: Annotated[Path, typer.Argument(help="Folder for the frames.")],
    views: Annotated[int, typer.Option(help="Camera views of each scene.")] = 8,
    views_file: Annotated[
        Path | None, typer.Option(help="Or: a JSON list of views, each an origin and a target.")
    ] = None,
    replicates: Annotated[int, typer.Option(help="Independent renders of each view.")] = 2,
    spp: Annotated[int, typer.Option(help="Samples per pixel.")] = 8,
    reference_spp: Annotated[int, typer.Option(help="Samples per pixel of a clean reference; 0: none.")] = 256,
    size: Annotated[str, typer.Option(help="Pixels: WIDTHxHEIGHT, or one number for a square.")] = "256",
    seed: Annotated[int, typer.Option(help="Of the views and of all noise.")] = 0,
    variant: Annotated[
        str, typer.Option(help="cuda_ad_rgb, llvm_ad_rgb or scalar_rgb; auto: the first that works.")
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Render views of scenes, each several times with independent noise. Interrupted, it goes on."""
    sides = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", size)
    if sides is None:
        raise UsageError(f"--size is WIDTHxHEIGHT in pixels or one number, as 960x540 or 256; got {size}.")
    from rendering.frames import CONTACT
    from rendering.production import FrameRequest, render_frames
    from rendering.renderer import chosen_variant

    width, height = int(sides[1]), int(sides[2] or sides[1])
    request = FrameRequest(views, replicates, spp, reference_spp, (height, width), seed)
    if variant == "auto" and chosen_variant() == "scalar_rgb":
        typer.echo(
            "Rendering by scalar_rgb, the slow one: a recent LLVM (Debian: libllvm19) or a GPU is faster.", err=True
        )
    try:
        store = render_frames(scenes, out, request, views_file=views_file, variant=variant, overwrite=overwrite)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    made = f"{len(store.complete)} frames of {len(store.manifest['views'])} scenes"
    typer.echo(f"{made}, {replicates} renders each ({width}×{height}, {spp} samples per pixel): {out}")
    clamped, replaced = store.counted("clamped"), store.counted("replaced")
    typer.echo(f"{clamped} values clamped to float16's range, {replaced} pixels that were no numbers set to 0.")
    typer.echo(f"Look at {out / CONTACT} before training on them.")
