"""The command of the DICOM node: `mri-n2n dicom-node`."""

from pathlib import Path
from typing import Annotated

import typer

from mri_n2n.cli.options import Device, Simulate, White
from pipelines.batch.cli import WeightsSha256, Workers, engine_of, stoppable, unattended


@stoppable()
def dicom_node_command(
    inbox: Annotated[Path, typer.Argument(readable=False, help="Folder for what is received; of this node alone.")],
    output: Annotated[
        Path, typer.Argument(readable=False, help="Folder for reconstructions, states and summary, as of batch.")
    ],
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
    simulate: Simulate = False,
    white: White = None,
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
    unattended(
        BatchFolder(output),
        lambda: run_node(node, setup, Limits(time_limit, grace), engine_of("local", workers, device)),
    )
