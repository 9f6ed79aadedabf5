"""The command of unattended work: `mri-n2n batch`, and what it shares with the DICOM node."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mri_n2n.cli.options import Device, ScanDensity, ScanEdge, Simulate, White
from mri_n2n.errors import UsageError
from pipelines.batch.exits import Exit

if TYPE_CHECKING:
    from pipelines.batch.folder import BatchFolder
    from pipelines.batch.local import Engine

WeightsSha256 = Annotated[
    str | None, typer.Option(envvar="MRI_N2N_WEIGHTS_SHA256", help="The only weights that may run, by their SHA-256.")
]
Workers = Annotated[
    int | None, typer.Option(help="Studies at a time on this machine.", show_default="3 beside a GPU, else 1")
]


@contextmanager
def stoppable() -> Iterator[None]:
    """Interrupted before there is anything to drain, a command ends as if it were drained."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(Exit.DRAINED) from None


@stoppable()
def batch_command(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", readable=False, help="Folder of studies; or the word status.")
    ],
    output: Annotated[Path, typer.Argument(readable=False, help="Folder for reconstructions, states and summary.")],
    model: Annotated[Path | None, typer.Option(help="A run's folder, or its name under runs/.")] = None,
    simulate: Simulate = False,
    white: White = None,
    edge_probability: ScanEdge = None,
    density: ScanDensity = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that a study may take.")] = 3600.0,
    grace: Annotated[float, typer.Option(help="Seconds that the study at hand still has after SIGTERM.")] = 30.0,
    watch: Annotated[
        float | None, typer.Option(help="Keep going: look for new studies every so many seconds, until SIGTERM.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="One of several shares of the studies, as i/n from 0/n on.",
            show_default="the job array's of Kubernetes or Slurm, else 0/1",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="local: on this machine; ray: on a Ray cluster.")
    ] = "local",
    workers: Workers = None,
    weights_sha256: WeightsSha256 = None,
    device: Device = "auto",
    names: Annotated[
        bool,
        typer.Option("--names", help="Of status: list what is not done, by file and in words; for OUTPUT's owner."),
    ] = False,
) -> None:
    """Reconstruct a folder of studies, unattended: `batch INPUT OUTPUT --model RUN`, then `batch status OUTPUT`.

    Exit codes: 0 all done, 2 usage, 3 some quarantined or failed, 70 bug, 74 disk full, 75 stopped by a signal, or
    another process is at work on the shard. Of status: 0 all that ended is done, 2 usage, 3 some is not.
    """
    from mri_n2n.densities import given_density
    from mri_n2n.run_directory import find_run
    from pipelines.batch.folder import BatchFolder
    from pipelines.batch.run import Limits, run_batch
    from pipelines.batch.shard import WHOLE, chosen_shard
    from pipelines.batch.study import Setup

    folder = BatchFolder(output)
    if str(source) == "status" and model is None:
        raise typer.Exit(tell_status(folder, names))
    if names:
        raise UsageError("--names is of status: mri-n2n batch status OUTPUT --names.")
    if model is None:
        raise UsageError("name the network: --model RUN.")
    known = given_density(edge_probability, density)
    setup = Setup(find_run(model), output, device, simulate, white, known, weights_sha256 or None)
    limits, share = Limits(time_limit, grace, watch), chosen_shard(shard)
    folder = BatchFolder(output, share)
    if share != WHOLE:
        typer.echo(f"Shard {share} of the studies.")
    unattended(folder, lambda: run_batch(source, setup, limits, share, engine_of(engine, workers, device)))


def unattended(folder: "BatchFolder", work: Callable[[], int]) -> None:
    """Run a batch, say what became of the studies, and exit with its code."""
    from contextlib import suppress
    from traceback import format_exc

    from pipelines.batch.delivery import deliveries, delivery_table
    from pipelines.batch.summary import some_not, table, which

    try:
        ended = work()
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 (its text may name a person: it is for the owner's eyes)
        with suppress(UsageError):  # there may be no place for it yet
            folder.report(format_exc())
        typer.echo(f"error: a bug. What happened is in {folder.private / 'errors.jsonl'}.", err=True)
        raise typer.Exit(Exit.BUG) from None
    outcomes = folder.outcomes()
    typer.echo(table(outcomes))
    typer.echo(delivery_table(deliveries(folder)), nl=False)
    if some_not(outcomes):
        typer.echo(f"Which are not done, and why: {which(folder)}")
    typer.echo(f"Summary: {folder.path / 'summary.html'}; reconstructions: {folder.path / 'studies'}")
    if ended == Exit.DRAINED:
        typer.echo("Stopped. Go on with the same command.")
    raise typer.Exit(ended)


def tell_status(folder: "BatchFolder", names: bool) -> int:
    """Say whether a batch is at work and what became of the studies; return the exit code that tells the latter."""
    from pipelines.batch.delivery import deliveries, delivery_table
    from pipelines.batch.liveness import in_one_line, shares
    from pipelines.batch.names import listing
    from pipelines.batch.summary import shard_table, some_not, table, which

    outcomes = folder.existing()
    lives = shares(folder)
    parts = [in_one_line(folder, lives) + "\n", table(outcomes) + "\n", shard_table(lives)]
    parts.append(delivery_table(deliveries(folder)))
    if names:
        parts.append(listing(folder, outcomes))
    elif some_not(outcomes):
        parts.append(f"Which are not done, and why: {which(folder)}\n")
    typer.echo("\n\n".join(part for part in map(str.strip, parts) if part))
    return Exit.SOME_NOT if some_not(outcomes) else Exit.ALL_DONE


def engine_of(name: str, workers: int | None, device: str) -> "Engine":
    """How several studies are worked on, as the options say."""
    from mri_n2n.environment import chosen_device, volumes_overlapped
    from pipelines.batch.local import on_this_machine

    if name == "local":
        return on_this_machine(max(1, volumes_overlapped(chosen_device(device))) if workers is None else workers)
    if workers is not None:
        raise UsageError("--workers is for this machine; Ray knows its own: leave it out with --engine ray.")
    from pipelines.batch.ray_tasks import on_ray

    return on_ray
