"""What several commands for renderings share."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from mri_n2n.errors import INTERRUPTED, UsageError

Axes = Annotated[
    Literal["auto", "camera", "forward", "world"],
    typer.Option(help="Axes of the normals: camera, forward (the camera's, z away from it), world or auto."),
]
RunPath = Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")]
Size = Annotated[str, typer.Option(help="Pixels: WIDTHxHEIGHT, or one number for a square.")]
Variant = Annotated[str, typer.Option(help="cuda_ad_rgb, llvm_ad_rgb or scalar_rgb; auto: the first that works.")]


def sides_of(size: str) -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT, or of one number for both."""
    sides = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", size)
    if sides is None:
        raise UsageError(f"--size is WIDTHxHEIGHT in pixels or one number, as 960x540 or 256; got {size}.")
    return int(sides[2] or sides[1]), int(sides[1])


@contextmanager
def going_on() -> Iterator[None]:
    """Work that Ctrl-C may stop: it is told that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on, without --overwrite.", err=True)
        raise typer.Exit(INTERRUPTED) from None
