"""The command that measures: `mri-n2n benchmark`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mri_n2n.cli.options import Device


def benchmark_command(
    part: Annotated[
        Literal["all", "train", "photographs", "reconstruct", "load", "corrupt", "start"],
        typer.Argument(help="What to measure."),
    ] = "all",
    size: Annotated[int, typer.Option(help="Side of the slices.")] = 256,
    batch_size: Annotated[int, typer.Option(help="Slices per step.")] = 16,
    repeats: Annotated[int, typer.Option(help="Repetitions of every measurement.")] = 5,
    device: Device = "auto",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="Of the network.")] = "fp32",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the network (pays on GPUs).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything measured, as JSON.")] = False,
    output: Annotated[Path | None, typer.Option(help="File for everything measured, as JSON.")] = None,
) -> None:
    """How fast this machine trains and reconstructs, and how close to its limits: some minutes on a CPU."""
    from json import dumps

    from mri_n2n.durable import check_writable, write_json
    from mri_n2n.environment import chosen_device
    from pipelines.benchmark.measure import PARTS, measured
    from pipelines.benchmark.table import table
    from pipelines.benchmark.workload import Workload

    work = Workload(size, batch_size, repeats, bf16=precision == "bf16", compile=compile, device=chosen_device(device))
    if output:
        check_writable(output.parent)
    result = measured(list(PARTS) if part == "all" else [part], work)
    if output:
        write_json(output, result)
    typer.echo(dumps(result, indent=2) if json else table(result))
