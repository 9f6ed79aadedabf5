"""The commands that make frames: rendered, or of other renderers' images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mri_n2n.data.cli import Overwrite
from rendering.cli.options import Axes, Size, Variant, going_on, sides_of

if TYPE_CHECKING:
    from rendering.frames import FrameStore


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
    size: Size = "256",
    seed: Annotated[int, typer.Option(help="Of the views and of all noise.")] = 0,
    variant: Variant = "auto",
    processes: Annotated[int, typer.Option(help="Processes that render at once, each in a share of the cores.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Render views of scenes, each several times with independent noise. Interrupted, it goes on."""
    height, width = sides_of(size)
    from rendering.frames import CONTACT
    from rendering.production import FrameRequest, render_frames
    from rendering.renderer import chosen_variant

    request = FrameRequest(views, replicates, spp, reference_spp, (height, width), seed)
    if variant == "auto" and chosen_variant() == "scalar_rgb":
        typer.echo(
            "Rendering by scalar_rgb, the slow one: a recent LLVM (Debian: libllvm19) or a GPU is faster.", err=True
        )
    with going_on():
        store = render_frames(
            scenes, out, request, views_file=views_file, variant=variant, processes=processes, overwrite=overwrite
        )
    made = f"{len(store.complete)} frames of {len(store.manifest['views'])} scenes"
    typer.echo(f"{made}, {replicates} renders each ({width}×{height}, {spp} samples per pixel): {out}")
    _say_counted(store)
    typer.echo(f"Look at {out / CONTACT} before training on them.")
    _say_next(store)


def interiors_command(
    out: Annotated[Path, typer.Argument(help="Folder for the scenes.")],
    training: Annotated[int, typer.Option(help="Scenes to train on.")] = 24,
    validation: Annotated[int, typer.Option(help="Other scenes, to validate on.")] = 8,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw furnished rooms and write them as scenes of Mitsuba 3, for `render frames`. Interrupted, it goes on."""
    from rendering.interiors.sets import CONTACT, InteriorSet, write_interiors

    with going_on():
        made = write_interiors(out, InteriorSet(training, validation, seed), overwrite=overwrite)
    typer.echo(f"{training} training and {validation} validation scenes, {made} of them made now: {out}")
    typer.echo(f"Look at {out / CONTACT} before rendering them.")
    typer.echo(f"Next: mri-n2n render frames {out / 'training'} FRAMES")


def export_command(
    frames: Annotated[Path, typer.Argument(help="Folder of frames.")],
    out: Annotated[Path, typer.Argument(help="Folder for the images.")],
    overwrite: Overwrite = False,
) -> None:
    """Write frames as OpenEXR images: a folder per scene, a file per render. Interrupted, it goes on."""
    from rendering.exchange import export_frames

    with going_on():
        images = export_frames(frames, out, overwrite=overwrite)
    typer.echo(f"{images} images: {out}")


def import_command(
    folder: Annotated[Path, typer.Argument(help="Folder of OpenEXR images: SCENE/VIEW-NUMBER.exr.")],
    out: Annotated[Path, typer.Argument(help="Folder for the frames.")],
    normals: Axes = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Make frames of any renderer's OpenEXR images, to train on. Interrupted, it goes on."""
    from rendering.exchange import facing_away, import_frames
    from rendering.frames import CONTACT

    with going_on():
        store = import_frames(folder, out, normals=normals, overwrite=overwrite)
    height, width = store.layout.size
    made = f"{len(store.complete)} frames of {len(store.manifest['views'])} scenes"
    typer.echo(f"{made}, {store.layout.replicates} renders each ({width}×{height}): {out}")
    _say_counted(store)
    away = facing_away(store)
    if away:
        typer.echo(
            f"In {away} frames normals look away from the camera on average: of other axes, most likely. Look at the "
            "picture, and see --normals."
        )
    typer.echo(f"Look at {out / CONTACT} before training on them.")
    _say_next(store)


def _say_next(store: "FrameStore") -> None:
    if store.layout.replicates > 1:
        typer.echo(f"Next: mri-n2n render train {store.directory}")
    elif store.layout.reference:
        typer.echo(f"Next: mri-n2n render train {store.directory} --targets clean (noisy ones need two renders)")
    else:
        typer.echo("One render of each view and no reference: nothing can be learnt from them.")


def _say_counted(store: "FrameStore") -> None:
    clamped, replaced = store.counted("clamped"), store.counted("replaced")
    typer.echo(f"{clamped} values clamped to float16's range, {replaced} pixels that were no numbers set to 0.")
