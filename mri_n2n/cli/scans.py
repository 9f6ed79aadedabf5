"""The commands of scans: `simulate`, `prepare kspace`, `reconstruct`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from mri_n2n.cli.options import Device, ScanDensity, ScanEdge, Simulate, Values, White
from mri_n2n.data.cli import Overwrite, SplitTable, Strict, Train, Validation, report_prepared, request_of, starting
from mri_n2n.errors import UsageError


def prepare_kspace_command(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder of raw k-space (.h5, .mrd, .cfl).")],
    dest: Annotated[Path, typer.Argument(help="Folder for the prepared k-space.")],
    train: Train = 50,
    validation: Validation = 10,
    split: SplitTable = None,
    slices: Annotated[
        str | None, typer.Option(help="First and last slice, counted from 0, FIRST:LAST.", show_default="all")
    ] = None,
    edge_probability: ScanEdge = None,
    density: ScanDensity = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare raw scans, complex values and all: every slice of every coil, undersampled or fully sampled."""
    starting()
    from mri_n2n.data.raw import SUFFIXES
    from mri_n2n.densities import given_density
    from mri_n2n.kspace_preparation import prepare_kspace

    request = request_of(context, source, split, slices, train, validation, 8, strict, overwrite, SUFFIXES)
    report_prepared(prepare_kspace(source, dest, request, given_density(edge_probability, density)), dest)


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
    starting()
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
    typer.echo(f"Next: mri-n2n reconstruct RUN {quote(str(out))} OUTPUT")


def reconstruct_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its name under runs/.")],
    input: Annotated[Path, typer.Argument(help="Raw k-space (.h5, .mrd, .cfl), an image, or a folder; DICOM, too.")],
    output: Annotated[Path, typer.Argument(help="A file, or a folder for a folder.")],
    simulate: Simulate = False,
    white: White = None,
    edge_probability: ScanEdge = None,
    density: ScanDensity = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Reconstruct scans (raw k-space) as volumes, in the scanner's geometry; or, with --simulate, volumes."""
    starting()
    from mri_n2n.densities import given_density
    from mri_n2n.environment import chosen_device
    from mri_n2n.reconstructed_files import reconstruct_path
    from mri_n2n.reconstruction import Reconstructor
    from mri_n2n.run_directory import find_run, open_run

    opened = open_run(find_run(run))
    known = given_density(edge_probability, density)
    reconstructor = Reconstructor(
        opened.network(), opened.recipe, chosen_device(device), simulate, white=white, density=known
    )
    for result in reconstruct_path(reconstructor, input, output, opened.provenance(), overwrite=overwrite):
        typer.echo(f"{result.output}" + ("" if result.psnr is None else f"  PSNR {result.psnr:.2f} dB (simulated)"))
