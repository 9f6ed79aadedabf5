"""DICOM associations: the one door to pynetdicom. In through `listening`, out through `associated`."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from mri_n2n.data.dicom import MR_IMAGES, SENT
from mri_n2n.errors import UsageError
from pipelines.batch.delivery import Hindrance
from pipelines.node.peers import Caller, Peer, admitted, known_address, plain_address

VERIFICATION = "1.2.840.10008.1.1"
PLAIN = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]  # explicit and implicit little endian
MOST_PDU = 128 << 10  # bytes
CONNECT, ANSWER, IDLE = 10.0, 30.0, 60.0  # seconds for a connection, a message or PDU, and between messages
NOT_KNOWN = (0x01, 0x01, 0x03)  # rejected for good, by the user, for the calling AE title

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it prints what is in headers
_config.LOG_HANDLER_LEVEL = "none"


@dataclass(frozen=True)
class Door:
    """Where instances come in. title: our own. size: bytes of the largest instance. associations: at a time."""

    title: str
    host: str
    port: int
    callers: tuple[Caller, ...]
    size: int = 32 << 20
    associations: int = 8


@dataclass(frozen=True)
class Arrival:
    """An instance as it was sent. kind, name: SOP class and UID that were announced. sender: AE@ADDRESS."""

    kind: str
    name: str
    syntax: str
    dataset: bytes
    sender: str


@dataclass(frozen=True)
class Listener:
    """A door that is open: the port it has, who is connected now, and whether it still stands."""

    port: int
    connected: Callable[[], set[str]]
    alive: Callable[[], bool]


class NotSent(Exception):
    """An association with a peer did not come about, or broke."""

    def __init__(self, hindrance: Hindrance) -> None:
        super().__init__(hindrance.value)
        self.hindrance = hindrance


class _Server(ThreadedAssociationServer):
    door: Door

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is worth a thread."""
        del request
        return (
            known_address(self.door.callers, plain_address(client_address[0]))
            and len(self.active_associations) < 2 * self.door.associations
        )


@contextmanager
def listening(
    door: Door, take: Callable[[Arrival], int], turned_away: Callable[[], None] = lambda: None
) -> Iterator[Listener]:
    """Accept MR images and echoes while this lasts.

    `take`, called in several threads, says the status of an image; `turned_away` hears of associations that are not
    accepted.
    """
    entity = AE(door.title)
    entity.maximum_pdu_size, entity.maximum_associations = MOST_PDU, door.associations
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = ANSWER, ANSWER, IDLE
    entity.require_called_aet = True
    entity.add_supported_context(VERIFICATION)
    entity.add_supported_context(MR_IMAGES, list(SENT))
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, _guard, [door.size]),
        (evt.EVT_REQUESTED, _admit, [door.callers, turned_away]),
        (evt.EVT_REJECTED, _rejected, [turned_away]),
        (evt.EVT_C_STORE, _store, [take]),
    ]
    try:
        server = _Server(entity, (door.host, door.port), door.title, entity.supported_contexts, evt_handlers=handlers)
    except OSError as error:
        raise UsageError(f"cannot listen on {door.host}, port {door.port}: {error.strerror}. Choose another.") from None
    server.door = door
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield Listener(server.server_address[1], lambda: _connected(server), thread.is_alive)
    finally:
        BaseServer.shutdown(server)
        server.server_close()
        for association in server.active_associations:
            association.abort()


@contextmanager
def associated(peer: Peer, title: str) -> Iterator[Callable[[Path], int]]:
    """An association with a peer: a function that sends a file and returns the peer's status. Raises `NotSent`."""
    entity = AE(title)
    entity.connection_timeout, entity.acse_timeout, entity.dimse_timeout = CONNECT, ANSWER, ANSWER
    entity.network_timeout = IDLE
    entity.add_requested_context(MR_IMAGES, PLAIN)
    try:
        association = entity.associate(peer.host, peer.port, ae_title=peer.title)
    except OSError:  # a name that nobody knows
        raise NotSent(Hindrance.UNREACHABLE) from None
    if not association.is_established:
        raise NotSent(Hindrance.REJECTED if association.is_rejected else Hindrance.UNREACHABLE)
    if not association.accepted_contexts:
        association.abort()
        raise NotSent(Hindrance.REJECTED)

    def send(path: Path) -> int:
        status = association.send_c_store(path) if association.is_established else None
        if not status:  # it timed out, or was aborted
            raise NotSent(Hindrance.BROKEN)
        return int(status.Status)

    try:
        yield send
    finally:
        if association.is_established:
            association.release()


def _store(event: evt.Event, take: Callable[[Arrival], int]) -> int:
    request: Any = event.request
    sender = _name(event.assoc)
    kind, name = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    return take(Arrival(kind, name, str(event.context.transfer_syntax), request.DataSet.getvalue(), sender))


def _rejected(event: evt.Event, turned_away: Callable[[], None]) -> None:
    del event
    turned_away()


def _admit(event: evt.Event, callers: tuple[Caller, ...], turned_away: Callable[[], None]) -> None:
    """Reject one who may not call. (That the called title is ours, pynetdicom sees to.)"""
    asked: Any = event.assoc.requestor.primitive
    if not admitted(callers, str(asked.calling_ae_title).strip(), _address(event.assoc)):
        turned_away()
        event.assoc.acse.send_reject(*NOT_KNOWN)
        event.assoc.kill()


def _guard(event: evt.Event, size: int) -> None:
    """Have the connection read within bounds: pynetdicom would read a PDU, and a message, of any length for ever."""
    connection: Any = event.assoc.dul.socket
    connection.recv = partial(_read, event.assoc, connection.socket, size, [0])


def _read(association: Association, connection: Any, size: int, taken: list[int], count: int) -> bytearray:
    """`count` bytes of the connection, or fewer at its end. taken: of the message that is being received."""
    dimse = association.dimse
    taken[0] = count + (taken[0] if dimse.message is not None else 0)
    if count > MOST_PDU or taken[0] > size + MOST_PDU or dimse.msg_queue.qsize() > 1:
        connection.shutdown(2)
        raise ConnectionAbortedError
    end = time.monotonic() + ANSWER
    content = bytearray()
    while len(content) < count:
        connection.settimeout(max(0.001, end - time.monotonic()))
        part = connection.recv(min(count - len(content), MOST_PDU))
        if not part:
            break
        content += part
    connection.settimeout(ANSWER)
    return content


def _connected(server: ThreadedAssociationServer) -> set[str]:
    return {_name(association) for association in server.active_associations if association.is_established}


def _name(association: Association) -> str:
    return f"{association.requestor.ae_title.strip()}@{_address(association)}"


def _address(association: Association) -> str:
    return plain_address(str(association.requestor.address))
