"""The commands that make data. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mri_n2n.errors import UsageError

prepare = typer.Typer(
    help="Turn folders of volumes or raw scans into training data.", no_args_is_help=True, rich_markup_mode=None
)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output that exists.")]
Train = Annotated[int, typer.Option("--train", help="Subjects to train on: the first by path.")]
Validation = Annotated[int, typer.Option("--validation", help="Subjects to validate on: the next.")]
SplitTable = Annotated[
    Path | None,
    typer.Option("--split", help="CSV with the columns subject and split (train or validation), instead of counts."),
]
Slices = Annotated[str, typer.Option(help="First and last slice of the third axis, counted from 0, FIRST:LAST.")]
Bits = Annotated[int, typer.Option(help="8 or 16 bits per stored pixel.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad volume instead of skipping it.")]


@prepare.command("ixi")
def prepare_ixi_command(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder of 3-D volumes (.nii, .nii.gz, .mgz), IXI's or any other.")],
    dest: Annotated[Path, typer.Argument(help="Folder for the prepared slices.")],
    train: Train = 50,
    validation: Validation = 10,
    split: SplitTable = None,
    slices: Slices = "25:124",
    bits: Bits = 8,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare magnitude volumes, from which undersampled k-space is simulated."""
    starting()
    from mri_n2n.data.ixi import prepare_ixi

    request = request_of(context, source, split, slices, train, validation, bits, strict, overwrite)
    manifest = prepare_ixi(source, dest, request)
    report_prepared(manifest, dest)


@prepare.command("pairs")
def prepare_pairs_command(
    context: typer.Context,
    dir_a: Annotated[Path, typer.Argument(help="Folder of first scans.")],
    dir_b: Annotated[Path, typer.Argument(help="Folder of second scans, of the same names.")],
    dest: Annotated[Path, typer.Argument(help="Folder for the prepared slices.")],
    train: Train = 50,
    validation: Validation = 10,
    split: SplitTable = None,
    slices: Slices = "25:124",
    bits: Bits = 16,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare real pairs: two noisy scans of each subject, the second rigidly registered to the first."""
    starting()
    from mri_n2n.data.pairs import prepare_pairs

    request = request_of(context, dir_a, split, slices, train, validation, bits, strict, overwrite)
    manifest = prepare_pairs(dir_a, dir_b, dest, request)
    report_prepared(manifest, dest)


def phantom_command(
    dest: Annotated[Path, typer.Argument(help="Folder for the volumes.")],
    subjects: Annotated[int, typer.Option(help="How many different heads.")] = 8,
    size: Annotated[int, typer.Option(help="Pixels per side of a slice.")] = 96,
    seed: Annotated[int, typer.Option(help="Another seed, other heads.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write procedural heads as NIfTI, to try everything without data."""
    from mri_n2n.data.phantom import write_heads

    paths = write_heads(dest, subjects=subjects, size=size, seed=seed, overwrite=overwrite)
    typer.echo(f"{len(paths)} volumes in {dest}.")
    if subjects < 2:
        return
    validation = max(1, subjects // 4)
    typer.echo(f"Next: mri-n2n prepare ixi {dest} DEST --train {subjects - validation} --validation {validation}")


def starting() -> None:
    """Say at once, to somebody who waits, that there is a program: what commands need takes seconds to import."""
    if sys.stderr.isatty():
        print("starting ...", file=sys.stderr)


def given(context: typer.Context, name: str) -> bool:
    """Whether a person gave this option, rather than leaving its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def request_of(
    context: typer.Context,
    source: Path,
    table: Path | None,
    slices: str | None,
    train: int,
    validation: int,
    bits: int,
    strict: bool,
    overwrite: bool,
    suffixes: Sequence[str] | None = None,
) -> Any:
    """What the options of a preparation ask for; suffixes: of sources that are no volumes; slices: None is all."""
    from mri_n2n.data.preparation import PrepareRequest
    from mri_n2n.data.scan import LARGEST
    from mri_n2n.data.selection import SliceRequest
    from mri_n2n.data.subjects import SplitRequest, read_split_table
    from mri_n2n.data.volumes import SUFFIXES, named

    first, colon, last = (f"0:{LARGEST - 1}" if slices is None else slices).partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise UsageError(f"--slices {slices!r}: expected FIRST:LAST such as 25:124.")
    assigned = read_split_table(table, named(source, suffixes or SUFFIXES)) if table else None
    chosen = SliceRequest(int(first), int(last), exact=given(context, "slices"))
    return PrepareRequest(SplitRequest(train, validation, assigned), chosen, bits, strict, overwrite)


def report_prepared(manifest: Any, dest: Path) -> None:
    """Say what was prepared, and what comes next."""
    for split in ("train", "validation"):
        slices = sum(len(volume.slices) for volume in manifest.split(split))
        typer.echo(f"{split}: {slices} slices of {len(manifest.subjects(split))} subjects")
    height, width = manifest.size
    typer.echo(f"{height}×{width}, {manifest.bits} bit; {len(manifest.skipped)} volumes skipped.")
    typer.echo(f"Next: mri-n2n train {dest}")
