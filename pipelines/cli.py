"""The command line: `mri-n2n`, also `python -m pipelines`."""

import errno
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mri_n2n.cli import Device, ScanDensity, ScanEdge, app
from mri_n2n.errors import INTERRUPTED, UsageError
from natural_images.cli import SOME_FAILED, photos

if TYPE_CHECKING:
    from pipelines.batch.folder import BatchFolder
    from pipelines.batch.local import Engine

RESEARCH = ("matplotlib", "mlflow", "pyvips", "sigpy", "SimpleITK")  # what reconstruction does without
LATER = 5.0  # seconds in which a failed process's others are stopped

reproduce = typer.Typer(help="Repeat tables and figures of the paper.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(photos, name="photos")
app.add_typer(reproduce, name="reproduce")

WeightsSha256 = Annotated[
    str | None, typer.Option(envvar="MRI_N2N_WEIGHTS_SHA256", help="The only weights that may run, by their SHA-256.")
]
Workers = Annotated[
    int | None, typer.Option(help="Studies at a time on this machine.", show_default="3 beside a GPU, else 1")
]
Scale = Annotated[
    Literal["smoke", "small", "paper"],
    typer.Option(
        help="smoke: below a minute; small: about 45 minutes on two CPU cores; paper: the full protocol, on a GPU."
    ),
]
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
        f"Table: {folder / 'results.md'}; picture: {folder / (experiment.name + '.png')}; runs side by side: mlflow ui"
    )


@app.command("benchmark")
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


@app.command("batch")
def batch_command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder of studies; or the word status.")],
    output: Annotated[Path, typer.Argument(help="Folder for reconstructions, states and summary.")],
    model: Annotated[Path | None, typer.Option(help="A run's folder, or its name under runs/.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Undersample fully sampled volumes first, as in training.")
    ] = False,
    white: Annotated[float | None, typer.Option(help="What is white, if the input does not say.")] = None,
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
) -> None:
    """Reconstruct a folder of studies, unattended: `batch INPUT OUTPUT --model RUN`, then `batch status OUTPUT`.

    Exit codes: 0 all done, 2 usage, 3 some quarantined or failed, 70 bug, 74 disk full, 75 stopped by a signal, or
    another process is at work on the shard.
    """
    from mri_n2n.densities import given_density
    from mri_n2n.run_directory import find_run
    from pipelines.batch.delivery import deliveries, delivery_table
    from pipelines.batch.folder import BatchFolder
    from pipelines.batch.run import Limits, run_batch
    from pipelines.batch.shard import WHOLE, chosen_shard
    from pipelines.batch.study import Setup
    from pipelines.batch.summary import shards, table

    folder = BatchFolder(output)
    if str(source) == "status" and model is None:
        typer.echo(table(folder.existing()))
        typer.echo(shards(folder), nl=False)
        typer.echo(delivery_table(deliveries(folder)), nl=False)
        return
    if model is None:
        raise UsageError("name the network: --model RUN.")
    known = given_density(edge_probability, density)
    setup = Setup(find_run(model), output, device, simulate, white, known, weights_sha256 or None)
    limits, share = Limits(time_limit, grace, watch), chosen_shard(shard)
    folder = BatchFolder(output, share)
    if share != WHOLE:
        typer.echo(f"Shard {share} of the studies.")
    _unattended(folder, lambda: run_batch(source, setup, limits, share, _engine(engine, workers, device)))


@app.command("dicom-node")
def dicom_node_command(
    inbox: Annotated[Path, typer.Argument(help="Folder for what is received; of this node alone.")],
    output: Annotated[Path, typer.Argument(help="Folder for reconstructions, states and summary, as of batch.")],
    model: Annotated[Path, typer.Option(help="A run's folder, or its name under runs/.")],
    allow: Annotated[list[str], typer.Option(help="Who may send: AE, or AE@ADDRESS. May be given again.")],
    send_to: Annotated[
        list[str] | None, typer.Option(help="Where derived series go: AE@HOST:PORT. May be given again.")
    ] = None,
    title: Annotated[str, typer.Option(help="AE title of this node.")] = "MRI-N2N",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 11112,
    settle: Annotated[float, typer.Option(help="Seconds without a new image after which a series is whole.")] = 30.0,
    keep: Annotated[
        float | None,
        typer.Option(help="Days until a series that was delivered is removed from INBOX.", show_default="for ever"),
    ] = None,
    reserve: Annotated[float, typer.Option(help="Gigabytes of the disk that are left free.")] = 2.0,
    simulate: Annotated[bool, typer.Option("--simulate", help="Undersample what comes first, as in training.")] = False,
    white: Annotated[float | None, typer.Option(help="What is white, if the input does not say.")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that a series may take.")] = 3600.0,
    grace: Annotated[float, typer.Option(help="Seconds that the series at hand still has after SIGTERM.")] = 30.0,
    weights_sha256: WeightsSha256 = None,
    workers: Workers = None,
    device: Device = "auto",
) -> None:
    """Receive DICOM MR series, reconstruct them and send the derived series on, until SIGTERM.

    Exit codes: 2 usage, 70 bug, 74 disk full, 75 stopped by a signal.
    """
    from mri_n2n.run_directory import find_run
    from pipelines.batch.folder import BatchFolder
    from pipelines.batch.run import Limits
    from pipelines.batch.study import Setup
    from pipelines.node.association import Door
    from pipelines.node.inbox import Room
    from pipelines.node.peers import Caller, Peer, checked_title
    from pipelines.node.run import NodeSetup, run_node

    door = Door(checked_title(title), host, port, tuple(Caller.parse(caller) for caller in allow))
    peers = tuple(Peer.parse(peer) for peer in send_to or ())
    node = NodeSetup(inbox, door, peers, settle, keep, Room(reserve=int(reserve * 2**30)))
    setup = Setup(find_run(model), output, device, simulate, white, weights_sha256=weights_sha256 or None)
    _unattended(
        BatchFolder(output), lambda: run_node(node, setup, Limits(time_limit, grace), _engine("local", workers, device))
    )


def _unattended(folder: "BatchFolder", work: Callable[[], int]) -> None:
    """Run a batch, say what became of the studies, and exit with its code."""
    from contextlib import suppress
    from traceback import format_exc

    from pipelines.batch.delivery import deliveries, delivery_table
    from pipelines.batch.run import Exit
    from pipelines.batch.summary import table

    try:
        ended = work()
    except UsageError:
        raise
    except KeyboardInterrupt:  # before there was anything to drain
        raise typer.Exit(Exit.DRAINED) from None
    except Exception:  # noqa: BLE001 (its text may name a person: it is for the owner's eyes)
        with suppress(UsageError):  # there may be no place for it yet
            folder.remember("errors", text=format_exc())
        typer.echo(f"error: a bug. What happened is in {folder.private / 'errors.jsonl'}.", err=True)
        raise typer.Exit(Exit.BUG) from None
    typer.echo(table(folder.outcomes()))
    typer.echo(delivery_table(deliveries(folder)), nl=False)
    typer.echo(f"Summary: {folder.path / 'summary.html'}; reconstructions: {folder.path / 'studies'}")
    if ended == Exit.DRAINED:
        typer.echo("Stopped. Go on with the same command.")
    raise typer.Exit(ended)


def _engine(name: str, workers: int | None, device: str) -> "Engine":
    from mri_n2n.environment import chosen_device, volumes_overlapped
    from pipelines.batch.local import on_this_machine

    if name == "local":
        return on_this_machine(max(1, volumes_overlapped(chosen_device(device))) if workers is None else workers)
    if workers is not None:
        raise UsageError("--workers is for this machine; Ray knows its own: leave it out with --engine ray.")
    from pipelines.batch.ray_tasks import on_ray

    return on_ray


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
        from mri_n2n.tracking import announce_experiment
        from natural_images.procedural import write_pictures
        from pipelines.experiments import check_own
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
        typer.echo(f"Table: {folder / 'results.md'}; picture: {folder / (name + '.png')}; runs side by side: mlflow ui")
        if outcome.left_out:
            typer.echo(f"{len(outcome.left_out)} test images could not be used (named above).", err=True)
            raise typer.Exit(SOME_FAILED)

    reproduce.command(name, help=f"{about} Interrupted, it goes on.")(command)


for _name, _about in PHOTOGRAPH_FIGURES.items():
    _photograph_command(_name, _about)


def _let_the_first_speak() -> None:
    """Where several processes train, the first tells what all of them met: the others are stopped before they do."""
    if os.environ.get("RANK", "0") != "0":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(LATER)


def main() -> None:
    """Run the command line: a `UsageError` is one line and exit code 2, anything else a bug with its traceback."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half-written is cleared
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED and "RANK" not in os.environ:  # of several processes, the one that began them
            print("Interrupted.", file=sys.stderr)
        raise
    except UsageError as error:
        _let_the_first_speak()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in RESEARCH:
            raise
        print(f"error: {error.name} is not installed here. Run: pip install 'mri-n2n[research]'", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:  # met by looking, before there is anything to read or write
        print(f"error: cannot reach {error.filename}: {error.strerror}. Check its permissions.", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # of standard output: whoever writes a file says which
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        sys.stdout = io.StringIO()  # or Python would try again at its end
        print("error: cannot write to standard output: the disk is full. Free space.", file=sys.stderr)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, earlier)
