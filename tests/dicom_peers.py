"""The other side of an association, for tests: one that sends, and one that receives. On loopback only."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_ECHO

MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float = 60.0, alive: Callable[[], bool] = lambda: True) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert alive(), "it has ended"
        if time.monotonic() > end:
            pytest.fail(f"it did not get there within {seconds:g} s")
        time.sleep(0.05)


@contextmanager
def calling(port: int, caller: str = "SCANNER", called: str = "MRI-N2N", syntax: str | None = None) -> Iterator[Any]:
    """An association with a node, which may not have come about."""
    entity = AE(caller)
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 20
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(CT)
    entity.add_requested_context(MR, *([syntax] if syntax else []))
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        elif association.is_alive():
            association.abort()


def ask_echo(association: Any, number: int) -> None:
    """Send a C-ECHO and do not wait for an answer."""
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = number, VERIFICATION
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)


def store(port: int, files: Sequence[Path], **options: Any) -> list[int | None]:
    """The node's status for each file; None where there is none."""
    with calling(port, **options) as association:
        found = []
        for path in files:
            status = association.send_c_store(path) if association.is_established else None
            found.append(int(status.Status) if status else None)
        return found


@dataclass
class Pacs:
    """One that receives. got: how often each instance came, by UID; series: their series. answer: what it says."""

    port: int
    got: dict[str, int] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)
    answer: Callable[[int], int] = lambda _: 0x0000
    associations: list[str] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator["Pacs"]:
        entity = AE("PACS")
        entity.add_supported_context(MR)
        entity.require_called_aet = True
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._asked)]
        server: Any = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            server.shutdown()
            for association in server.active_associations:
                association.abort()

    def _asked(self, event: evt.Event) -> None:
        self.associations.append(str(event.assoc.requestor.primitive.calling_ae_title))

    def _store(self, event: evt.Event) -> int:
        status = self.answer(sum(self.got.values()))
        if status == 0x0000:
            dataset = event.dataset
            name = str(dataset.SOPInstanceUID)
            self.got[name] = self.got.get(name, 0) + 1
            self.series[name] = str(dataset.SeriesInstanceUID)
        return status


def uids(files: Sequence[Path]) -> list[str]:
    return [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]


def start_node(
    model: Path, folder: Path, port: int, peer: str, *more: object, caller: str = "SCANNER", before: str = ""
) -> subprocess.Popen[bytes]:
    """A node in a process of its own, listening. before: Python that it runs first."""
    arguments = [folder / "inbox", folder / "out", "--model", model, "--port", port, "--allow", f"{caller}@127.0.0.1"]
    arguments += ["--send-to", peer, "--settle", 1, "--simulate", "--device", "cpu", "--reserve", 0, *more]
    script = folder / "node.py"
    script.write_text(f"from pipelines.cli import main\n{before}\nif __name__ == '__main__':\n    main()\n")
    asked = [sys.executable, str(script), "dicom-node", *map(str, arguments)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}
    with (folder / "said.txt").open("ab") as said:
        process = subprocess.Popen(asked, env=os.environ | environment, stdout=said, stderr=said)
    wait_until(lambda: listens(port), 120, lambda: process.poll() is None)
    return process


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
