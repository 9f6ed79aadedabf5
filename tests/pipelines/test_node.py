"""A DICOM node: nothing that was acknowledged is lost, nothing comes twice, and nobody comes in who may not."""

import gc
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from compressed import compress
from dicom_files import SERIES, everywhere, some_series
from dicom_peers import CT, Pacs, ask_echo, calling, free_port, start_node, store, wait_until
from pydicom import uid
from pydicom.dataset import Dataset

from mri_n2n.data import dicom
from mri_n2n.durable import sha256_of
from mri_n2n.errors import BadVolume, Problem
from pipelines.batch.delivery import Delivery, Hindrance, deliveries, delivery_table
from pipelines.batch.discovery import studies, study_name
from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.publishing import publish
from pipelines.batch.summary import write_summary
from pipelines.node.answer import Answer, Refused
from pipelines.node.association import MOST_PDU, PLAIN, Arrival, Door, Listener, listening
from pipelines.node.inbox import PATIENCE, Inbox, Room
from pipelines.node.peers import Caller, Peer, admitted, plain_address
from pipelines.node.run import Node, NodeSetup
from pipelines.node.sender import Sender

ANYBODY = (Caller("SCANNER"),)
KEEP = Room(reserve=0)
STORESCU = {  # its options that propose an encoding
    uid.JPEGLosslessSV1: "-xs",
    uid.JPEGLSLossless: "-xt",
    uid.JPEG2000Lossless: "-xv",
    uid.RLELossless: "-xr",
}
STUDY = study_name(f"series {SERIES}")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom leaves them to Python


@pytest.fixture(autouse=True, scope="module")
def sockets() -> Iterator[None]:
    """Have them collected where they are not minded."""
    yield
    gc.collect()


# The door


@contextmanager
def door(take: Callable[[Arrival], int], callers: tuple[Caller, ...] = ANYBODY, **options: Any) -> Iterator[int]:
    with listening(Door("MRI-N2N", "127.0.0.1", 0, callers, **options), take) as listener:
        assert listener.alive()
        yield listener.port
    assert not listener.alive()


def never(arrival: Arrival) -> int:
    raise AssertionError("nothing was to come this far")


@pytest.mark.parametrize(
    ("options", "callers", "let_in"),
    [
        ({}, ANYBODY, True),
        ({}, (Caller("SCANNER", "127.0.0.1"),), True),
        ({"caller": "INTRUDER"}, ANYBODY, False),
        ({"called": "OTHER"}, ANYBODY, False),
        ({}, (Caller("SCANNER", "10.9.8.7"), Caller("OTHER")), False),
        ({}, (Caller("SCANNER", "10.9.8.7"),), False),
    ],
)
def test_only_who_may_comes_in(options: dict[str, str], callers: tuple[Caller, ...], let_in: bool) -> None:
    with door(never, callers) as port, calling(port, **options) as association:
        assert association.is_established == let_in
        if let_in:
            assert association.send_c_echo().Status == 0x0000
            assert {context.abstract_syntax for context in association.rejected_contexts} == {CT}


def test_too_many_at_once_are_asked_to_come_later() -> None:
    with door(never, associations=2) as port, calling(port), calling(port):
        with calling(port) as third:
            assert third.is_rejected
        with ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
            silent[-1].settimeout(10)
            assert silent[-1].recv(1) == b""  # before it has said anything


def test_an_instance_that_is_too_large_ends_the_association(tmp_path: Path) -> None:
    files = some_series(tmp_path, everywhere(PixelData=bytes(2 << 20), Rows=1024, Columns=1024), slices=1)
    with door(never, size=1 << 20) as port:
        assert store(port, files) == [None]
        with calling(port) as association:
            assert association.send_c_echo().Status == 0x0000


def test_a_pdu_that_is_too_long_is_not_read() -> None:
    with door(never) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(10)
        connection.sendall(struct.pack(">BBL", 1, 0, MOST_PDU + 1))
        try:
            ended = connection.recv(1)
        except ConnectionResetError:
            ended = b""
        assert ended == b""


def test_nobody_sends_without_waiting_for_answers(tmp_path: Path) -> None:
    """Requests would pile up in memory: no asynchronous operations have been negotiated."""
    (path,) = some_series(tmp_path, slices=1)
    answered = threading.Event()
    with door(lambda _: int(not answered.wait(20))) as port, calling(port) as association:
        threading.Thread(target=association.send_c_store, args=[path]).start()
        for number in range(10):
            ask_echo(association, number)
        try:
            wait_until(lambda: not association.is_established, 10)
        finally:
            answered.set()


def test_the_handler_gets_what_was_sent(tmp_path: Path) -> None:
    files = some_series(tmp_path)
    came: list[Arrival] = []

    def take(arrival: Arrival) -> int:
        came.append(arrival)
        return 0xA700 if len(came) == 2 else 0x0000

    with door(take) as port:
        assert store(port, files) == [0, 0xA700, 0, 0, 0]
    assert {arrival.sender for arrival in came} == {"SCANNER@127.0.0.1"}
    for path, arrival in zip(files, came, strict=True):
        again = dicom.received(arrival.kind, arrival.name, arrival.syntax, arrival.dataset)
        assert dicom.same(again.content, path.read_bytes())
        assert (again.series, again.derived) == (SERIES, False)


@pytest.mark.parametrize("syntax", dicom.SENT)
def test_what_can_be_read_can_be_sent(inbox: Inbox, tmp_path: Path, syntax: str) -> None:
    """In every encoding, and what arrives is read as it was."""
    plain = dicom.read_series(some_series(tmp_path / "plain", slices=2)).volume
    files = some_series(tmp_path / "in", lambda _, one: _encoded(one, uid.UID(syntax)), slices=2)
    came: list[dicom.Instance] = []

    def take(arrival: Arrival) -> int:
        came.append(dicom.received(arrival.kind, arrival.name, arrival.syntax, arrival.dataset))
        inbox.keep(came[-1], arrival.sender)
        return 0x0000

    with door(take) as port:
        assert store(port, files, syntax=syntax) == [0, 0]
        assert [dicom.same(one.content, path.read_bytes()) for one, path in zip(came, files, strict=True)] == [True] * 2
        if syntax in STORESCU and shutil.which("storescu"):
            asked = ["storescu", STORESCU[syntax], "-aet", "SCANNER", "-aec", "MRI-N2N", "127.0.0.1", str(port), *files]
            subprocess.run(asked, check=True, capture_output=True)
            assert all(dicom.same(one.content, path.read_bytes()) for one, path in zip(came[2:], files, strict=True))
    (study,) = inbox.stable(0, set())
    series = dicom.read_series([inbox.path / name for name in study.files])
    np.testing.assert_array_equal(series.volume.array, plain.array)


def _encoded(one: Dataset, syntax: uid.UID) -> None:
    if syntax.is_encapsulated:
        compress(one, syntax)
    one.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_little_endian:
        one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()


def test_addresses_are_told_apart() -> None:
    caller = Caller.parse("SCANNER@::ffff:10.0.0.7")
    assert caller == Caller("SCANNER", "10.0.0.7")
    assert admitted((caller,), "SCANNER", plain_address("::ffff:10.0.0.7"))
    assert not admitted((caller,), "SCANNER", "10.0.0.8")
    assert not admitted((caller,), "OTHER", "10.0.0.7")
    assert Peer.parse("PACS@[::1]:104") == Peer("PACS", "::1", 104)


# The inbox


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    inbox = Inbox(tmp_path / "inbox", KEEP)
    inbox.open()
    return inbox


def instance(path: Path) -> dicom.Instance:
    head = pydicom.dcmread(path)
    return dicom.Instance(str(head.SOPInstanceUID), str(head.SeriesInstanceUID), path.read_bytes(), False)


def kept(inbox: Inbox) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (inbox.path / STUDY).glob("*.dcm")}


def test_names_say_nothing_and_only_the_owner_looks(inbox: Inbox, tmp_path: Path) -> None:
    for path in some_series(tmp_path / "in"):
        assert inbox.keep(instance(path), "a@b") is Answer.KEPT
    assert stat.S_IMODE(inbox.path.stat().st_mode) == 0o700
    (study,) = inbox.stable(0, set())
    assert (study.name, len(study.files)) == (STUDY, 5)
    for name in study.files:
        assert SERIES not in name
        assert "DOE" not in name
    assert studies(inbox.path) == [study]  # a batch finds the same


def test_what_comes_again_is_not_kept_twice_and_what_differs_is_set_aside(inbox: Inbox, tmp_path: Path) -> None:
    files = some_series(tmp_path / "in")
    for path in files:
        inbox.keep(instance(path), "a@b")
    inbox.stable(0, set())
    assert inbox.settle(STUDY)
    before = kept(inbox)
    other = pydicom.dcmread(files[0])
    other.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    other.save_as(tmp_path / "other")  # the same in another encoding
    for path in (*files, tmp_path / "other"):
        assert inbox.keep(instance(path), "a@b") is Answer.AGAIN
    assert inbox.stable(0, set()) == []
    assert kept(inbox) == before
    other.PatientName = "ROE^RICHARD"
    other.save_as(tmp_path / "other")
    assert inbox.keep(instance(tmp_path / "other"), "a@b") is Answer.KEPT
    assert [study.name for study in inbox.stable(0, set())] == [STUDY]
    changed = [name for name, content in kept(inbox).items() if content != before[name]]
    assert len(changed) == 1
    (aside,) = (inbox.path / STUDY / ".replaced").iterdir()
    assert aside.read_bytes() == before[changed[0]]
    assert len(studies(inbox.path)[0].files) == 5


def test_a_series_is_stable_when_nothing_comes_any_more(inbox: Inbox, tmp_path: Path, monkeypatch: Any) -> None:
    clock = [1000.0]
    monkeypatch.setattr("pipelines.node.inbox.time.monotonic", lambda: clock[0])
    one, two, *_ = some_series(tmp_path / "in")
    inbox.keep(instance(one), "SCANNER@10.0.0.7")
    clock[0] += 9
    assert inbox.stable(10, set()) == []
    inbox.keep(instance(two), "SCANNER@10.0.0.7")
    clock[0] += 9
    assert inbox.stable(10, set()) == []
    clock[0] += 1
    assert inbox.stable(10, {"SCANNER@10.0.0.7"}) == []
    assert len(inbox.stable(10, {"OTHER@10.0.0.7"})) == 1
    clock[0] += 10 * PATIENCE  # a sender that never hangs up
    assert len(inbox.stable(10, {"SCANNER@10.0.0.7"})) == 1


def test_what_comes_while_a_series_is_worked_on_keeps_it_open(inbox: Inbox, tmp_path: Path) -> None:
    one, two, *_ = some_series(tmp_path / "in")
    inbox.keep(instance(one), "a@b")
    assert len(inbox.stable(0, set())[0].files) == 1
    inbox.keep(instance(two), "a@b")
    assert not inbox.unchanged(STUDY)
    assert not inbox.settle(STUDY)
    assert len(inbox.stable(0, set())[0].files) == 2
    assert inbox.settle(STUDY)
    again = Inbox(inbox.path, KEEP)
    again.open()
    again.resume({STUDY})
    assert again.stable(0, set()) == []
    again.resume(set())  # the output is gone
    assert len(again.stable(0, set())) == 1


@pytest.mark.parametrize(
    ("room", "answer"),
    [
        (Room(reserve=1 << 60), Answer.FULL),
        (Room(reserve=0, instances=2), Answer.TOO_LARGE),
        (Room(reserve=0, size=2500), Answer.TOO_LARGE),
    ],
)
def test_room_is_limited(tmp_path: Path, room: Room, answer: Answer) -> None:
    inbox = Inbox(tmp_path / "inbox", room)
    inbox.open()
    files = some_series(tmp_path / "in")
    answers: list[Answer] = []
    for path in files:
        try:
            answers.append(inbox.keep(instance(path), "a@b"))
        except Refused as refusal:
            answers.append(refusal.answer)
    taken = answers.count(Answer.KEPT)
    assert answers[taken:] == [answer] * (5 - taken)
    assert taken == (0 if answer is Answer.FULL else 2)
    assert len(list(inbox.path.rglob("*.dcm"))) == taken


def test_a_full_disk_is_answered_and_leaves_nothing(inbox: Inbox, tmp_path: Path) -> None:
    """In a process whose files may not grow: that is a full disk as far as anybody can tell."""
    (path,) = some_series(tmp_path / "in", everywhere(PixelData=bytes(40000), Rows=100, Columns=200), slices=1)
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "sys.path[:0] = ['tests'];"
        "from pipelines.node.inbox import Inbox, Room; from pipelines.node.answer import Refused;"
        "from mri_n2n.data import dicom;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "i = Inbox(Path(sys.argv[1]), Room(reserve=0)); i.open();\n"
        "try: i.keep(dicom.Instance('1', '2', Path(sys.argv[2]).read_bytes(), False), 'a@b')\n"
        "except Refused as refusal: print(f'{refusal.answer.status:04X}', len(i.stable(0, set())))"
    )
    done = subprocess.run([sys.executable, "-c", code, inbox.path, path], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "A700 0", done.stderr
    assert [left for left in inbox.path.rglob("*") if left.is_file()] == [inbox.path / "inbox.json"]


def test_what_was_removed_is_known_and_takes_no_more(inbox: Inbox, tmp_path: Path) -> None:
    *files, late = some_series(tmp_path / "in")
    for path in files:
        inbox.keep(instance(path), "a@b")
    inbox.remove(STUDY)  # still open
    assert len(kept(inbox)) == 4
    inbox.stable(0, set())
    inbox.settle(STUDY)
    assert inbox.settled_for(100.0) == []
    assert inbox.settled_for(0.0) == [STUDY]
    inbox.remove(STUDY)
    again = Inbox(inbox.path, KEEP)
    again.resume(set())
    for one in (inbox, again):
        assert kept(one) == {}
        assert one.stable(0, set()) == []
        assert one.keep(instance(files[0]), "a@b") is Answer.AGAIN
        with pytest.raises(Refused, match="removed"):
            one.keep(instance(late), "a@b")


# The sender


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    folder = BatchFolder(tmp_path / "out")
    folder.open()
    return folder


def published(folder: BatchFolder, tmp_path: Path, key: str = "a" * 64, series: str = "1.2.3") -> Outcome:
    """A study whose derived series is published."""
    with folder.held() as held:
        staged = held.staging / STUDY
        some_series(staged / "dicom", lambda number, one: _renamed(one, series, number))
        for path in (staged / "dicom").iterdir():
            path.rename(path.with_suffix(".dcm"))
        files = {f"dicom/{path.name}": sha256_of(path) for path in sorted((staged / "dicom").iterdir())}
        return publish(held, staged, Outcome(STUDY, Reason.RECONSTRUCTED, key, files=files))


def _renamed(one: Any, series: str, number: int) -> None:
    one.SeriesInstanceUID, one.SOPInstanceUID = series, f"{series}.{number}"
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID


def record(folder: BatchFolder) -> Delivery:
    (found,) = deliveries(folder)
    return found


def sender(folder: BatchFolder, port: int, first: float = 0.2) -> Sender:
    return Sender(folder, Peer("PACS", "127.0.0.1", port), "MRI-N2N", first)


def test_a_peer_that_is_down_gets_it_later(folder: BatchFolder, tmp_path: Path) -> None:
    pacs = Pacs(free_port())
    outcome = published(folder, tmp_path)
    with sender(folder, pacs.port) as one:
        one.tell(outcome)
        wait_until(lambda: record(folder).hindrance is Hindrance.UNREACHABLE)
        assert delivery_table(deliveries(folder)).splitlines()[-1] == "| PACS | waiting: unreachable | 1 |"
        assert not one.delivered(outcome)
        with pacs.open():
            wait_until(lambda: one.delivered(outcome))
        one.tell(outcome)  # once more, as after a restart
    assert pacs.got == {f"1.2.3.{number}": 1 for number in range(5)}
    assert pacs.associations == ["MRI-N2N"]
    assert delivery_table(deliveries(folder)).splitlines()[-1] == "| PACS | delivered | 1 |"
    with pacs.open(), sender(folder, pacs.port) as two:
        two.tell(outcome)
        time.sleep(1)
    assert set(pacs.got.values()) == {1}


def test_what_a_peer_took_is_not_sent_again(folder: BatchFolder, tmp_path: Path) -> None:
    """The peer is full after two images; another sender brings the rest, once there is room."""
    pacs = Pacs(free_port(), answer=lambda count: 0xA700 if count >= 2 else 0x0000)
    outcome = published(folder, tmp_path)
    with pacs.open():
        with sender(folder, pacs.port) as one:
            one.tell(outcome)
            wait_until(lambda: record(folder).attempts >= 2)
        left = record(folder)
        assert (left.said, len(left.accepted)) == ("waiting: refused A700", 2)
        pacs.answer = lambda _: 0x0000
        with sender(folder, pacs.port) as two:
            wait_until(lambda: two.delivered(outcome))
    assert pacs.got == {f"1.2.3.{number}": 1 for number in range(5)}


def test_only_what_was_published_is_sent(folder: BatchFolder, tmp_path: Path) -> None:
    outcome = published(folder, tmp_path)
    (folder.published(STUDY, outcome.key) / "dicom" / "IM000.dcm").write_bytes(b"changed")
    pacs = Pacs(free_port())
    with pacs.open(), sender(folder, pacs.port) as one:
        one.tell(outcome)
        wait_until(lambda: record(folder).hindrance is Hindrance.CHANGED)
    assert pacs.got == {}


@pytest.mark.parametrize(("taken", "sent"), [(0, {"1.2.2"}), (2, {"1.2.1", "1.2.2"})])
def test_a_later_edition_takes_the_place_of_an_earlier_one(
    folder: BatchFolder, tmp_path: Path, taken: int, sent: set[str]
) -> None:
    """But of one that is half there the rest is sent, too: a part of a series helps nobody."""
    pacs = Pacs(free_port(), answer=lambda count: 0xA700 if count >= taken else 0x0000)
    with pacs.open(), sender(folder, pacs.port, first=2.0) as one:
        one.tell(published(folder, tmp_path, "a" * 64, "1.2.1"))
        wait_until(lambda: record(folder).hindrance is Hindrance.REFUSED)
        later = published(folder, tmp_path, "b" * 64, "1.2.2")
        one.tell(later)
        pacs.answer = lambda _: 0x0000
        wait_until(lambda: one.delivered(later) and not one._waiting)
    assert set(pacs.series.values()) == sent
    assert set(pacs.got.values()) == {1}


# The whole


KILLED_BEFORE_THE_ANSWER = """
from pipelines.node import inbox
import os
keep = inbox.Inbox.keep
def kept(self, instance, sender):
    answer = keep(self, instance, sender)
    if len(list(self.path.glob("*/*.dcm"))) == 3:
        os.kill(os.getpid(), 9)
    return answer
inbox.Inbox.keep = kept
"""
KILLED_BEFORE_REMEMBERING = """
from pipelines.batch import delivery
import os
write = delivery.Delivery.write
def written(self, folder):
    if self.accepted:  # not when it says that it begins
        os.kill(os.getpid(), 9)
    write(self, folder)
delivery.Delivery.write = written
"""


def test_killed_at_the_worst_moments_it_goes_on(model: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """From a scanner to a PACS, killed between reception and answer and between sending and remembering."""
    *files, late = some_series(tmp_path / "in", slices=6)
    pacs, port = Pacs(free_port()), free_port()
    peer = f"PACS@127.0.0.1:{pacs.port}"
    running: list[Any] = []
    with pacs.open():
        try:
            running.append(start_node(model, tmp_path, port, peer, before=KILLED_BEFORE_THE_ANSWER))
            answers = store(port, files)
            assert answers == [0, 0, None, None, None]
            assert running[-1].wait(timeout=20) == -signal.SIGKILL
            assert len(list((tmp_path / "inbox").rglob("*.dcm"))) == 3  # what was answered for, and one more

            running.append(start_node(model, tmp_path, port, peer, before=KILLED_BEFORE_REMEMBERING))
            assert store(port, files) == [0] * 5  # the scanner sends all of it once more
            assert running[-1].wait(timeout=120) == -signal.SIGKILL
            first = dict(pacs.series)
            assert 1 <= len(first) <= 5  # it remembers every second

            running.append(start_node(model, tmp_path, port, peer))
            folder = BatchFolder(tmp_path / "out")
            wait_until(lambda: [known.done for known in deliveries(folder)] == [True], 120)
            assert len(pacs.series) == 5  # the same instances once more, and no others
            assert first.items() <= pacs.series.items()
            (outcome,) = folder.outcomes()
            assert store(port, files) == [0] * 5
            time.sleep(3)
            assert folder.outcomes() == [outcome]
            assert len(pacs.got) == 5

            assert store(port, [late]) == [0]
            wait_until(lambda: len(pacs.got) == 11, 120)
            assert len(set(pacs.series.values())) == 2  # another series, of six images
            wait_until(lambda: len(deliveries(folder)) == 2 and all(known.done for known in deliveries(folder)))
            running[-1].send_signal(signal.SIGTERM)
            assert running[-1].wait(timeout=60) == Exit.DRAINED
        finally:
            for process in running:
                process.kill()
    assert "an earlier edition" in (tmp_path / "out/summary.html").read_text()
    status = cli("batch", "status", tmp_path / "out")
    assert status.code == Exit.ALL_DONE
    assert status.out.startswith("Batch stopped, exit code 75 ")
    assert status.out.splitlines()[-1] == "| PACS | delivered | 2 |"
    check_nothing_is_said_of_the_patient(tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(model: Path, tmp_path: Path) -> None:
    """While series come, are worked on and are sent: every one is with the PACS in the end, whole and once."""
    rng = random.Random(0)
    count, kills = 12, 12
    files = [some_series(tmp_path / f"in-{number}", _of_series(number), seed=number) for number in range(count)]
    pacs, port = Pacs(free_port()), free_port()
    peer = f"PACS@127.0.0.1:{pacs.port}"
    folder = BatchFolder(tmp_path / "out")
    process, left = None, list(range(count))
    try:
        with pacs.open():
            for number in range(kills + 1):
                process = start_node(model, tmp_path, port, peer)
                if number < kills:
                    threading.Timer(rng.choice([rng.uniform(0, 0.3), rng.uniform(0, 20)]), process.kill).start()
                for series in list(left[: 1 + number % 3] if number < kills else left):
                    left.remove(series)
                    if not acknowledged(port, files[series]):
                        left.append(series)  # the scanner tries again
                if number < kills:
                    process.wait()
            wait_until(
                lambda: (
                    len({known.study for known in deliveries(folder)}) == count
                    and all(known.done for known in deliveries(folder))
                ),
                300,
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == Exit.DRAINED
    finally:
        if process:
            process.kill()
    outcomes = folder.outcomes()
    assert [outcome.reason for outcome in outcomes] == [Reason.RECONSTRUCTED] * count
    made = [str(pydicom.dcmread(path).SeriesInstanceUID) for path in (tmp_path / "out/studies").rglob("*.dcm")]
    there = Counter(pacs.series.values())
    assert {series: there[series] for series in _latest(folder)} == dict.fromkeys(_latest(folder), 5)
    assert there.items() <= Counter(made).items()  # what else came was an edition, too, and came whole
    assert len(list((tmp_path / "inbox").rglob("*.dcm"))) == 5 * count
    check_nothing_is_said_of_the_patient(tmp_path)


def _of_series(number: int) -> Any:
    def edit(place: int, one: Any) -> None:
        _renamed(one, f"{SERIES}.{number}", place)

    return edit


def _latest(folder: BatchFolder) -> set[str]:
    places = [folder.published(outcome.study, outcome.key) / "dicom/00001.dcm" for outcome in folder.outcomes()]
    return {str(pydicom.dcmread(path).SeriesInstanceUID) for path in places}


def acknowledged(port: int, files: list[Path]) -> bool:
    """Whether each image was."""
    return store(port, files) == [0] * len(files)


def check_nothing_is_said_of_the_patient(tmp_path: Path) -> None:
    """Outside of the images and of what is for the owner's eyes."""
    seen = [tmp_path / "said.txt", *(tmp_path / "out").rglob("*.json*"), tmp_path / "out/summary.html"]
    seen += (tmp_path / "inbox").rglob("*.json")
    for path in seen:
        text = path.read_text()
        assert "DOE" not in text, path
        assert SERIES not in text, path
    for path in (*(tmp_path / "out").rglob("*"), *(tmp_path / "inbox").rglob("*")):
        assert SERIES not in path.name
        assert not path.name.startswith(".partial-")
    assert "Traceback" not in (tmp_path / "said.txt").read_text()


def arrival(path: Path) -> Arrival:
    dataset = pydicom.dcmread(path)
    content = path.read_bytes()[dataset.file_meta.FileMetaInformationGroupLength + 144 :]
    return Arrival(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), PLAIN[0], content, "SCANNER@127.0.0.1")


def test_delivered_series_are_removed_when_that_is_asked_for(folder: BatchFolder, tmp_path: Path) -> None:
    """Not before the peer has what was made of them. What was removed is known, and our own is not taken."""
    files = some_series(tmp_path / "in")
    pacs = Pacs(free_port())
    peer = Peer("PACS", "127.0.0.1", pacs.port)
    node = NodeSetup(tmp_path / "inbox", Door("MRI-N2N", "", 0, ANYBODY), (peer,), settle=0.01, keep=0, room=KEEP)
    inbox = Inbox(node.inbox, KEEP)
    inbox.open()
    listener = Listener(0, set, lambda: True)
    with sender(folder, pacs.port) as one:
        work = Node(node, inbox, folder, [one])
        assert [work.take(arrival(path)) for path in files] == [0] * 5
        time.sleep(0.1)
        (study,) = work.look(listener)
        outcome = published(folder, tmp_path)
        assert work.told(outcome)
        wait_until(lambda: deliveries(folder) and record(folder).hindrance is Hindrance.UNREACHABLE)
        time.sleep(1.1)
        assert work.look(listener) == []
        assert len(kept(inbox)) == 5
        with pacs.open():
            wait_until(lambda: one.delivered(outcome))
        wait_until(lambda: (work.look(listener), not kept(inbox))[1])
        assert work.news()
        assert not work.news()
        with folder.held() as held:
            write_summary(held)
        assert "sent to</th>" in (folder.path / "summary.html").read_text()
        assert 'PACS: <span class="done">delivered' in (folder.path / "summary.html").read_text()
        assert [work.take(arrival(path)) for path in files] == [0] * 5
        assert work.look(listener) == []
        source = dicom.read_series(files)
        (tmp_path / "derived").mkdir()
        ours, *_ = dicom.write_series(tmp_path / "derived", source.volume.array, source, "", "key", {})
        assert work.take(arrival(ours)) == 0x0124
        (late,) = some_series(tmp_path / "late", lambda number, one: _renamed(one, SERIES, 77), slices=1)
        assert work.take(arrival(late)) == 0x0124
        assert work.take(replace(arrival(files[0]), name="1.2.3")) == 0xA900
        assert work.take(replace(arrival(files[0]), dataset=b"?")) == 0xC000
    assert len(study.files) == 5
    with pytest.raises(RuntimeError, match="listens"):
        work.look(replace(listener, alive=lambda: False))


# Mistakes


def test_mistakes(cli: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    usual = ["--model", model, "--allow", "SCANNER", "--device", "cpu", "--simulate"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        wrong: list[tuple[list[object], str]] = [
            ([tmp_path / "in", tmp_path / "out", *usual, "--port", port], "cannot listen"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--allow", "A@somewhere"], "IP address"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--allow", "seventeen letters"], "AE title"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--send-to", "PACS@host"], "AE@HOST:PORT"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--send-to", "P@h:1", "--send-to", "P@i:2"], "twice"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--keep", 1], "--send-to"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--settle", 0], "--settle"),
            ([tmp_path / "in", tmp_path / "out", *usual, "--port", 70000], "--port"),
            ([tmp_path / "in", tmp_path / "out", *usual[:-1]], "--simulate"),
            ([tmp_path / "mine", tmp_path / "out", *usual], "not of an earlier node"),
            ([tmp_path / "in", tmp_path / "mine", *usual], "not of an earlier batch"),
        ]
        for arguments, message in wrong:
            answer = cli("dicom-node", *arguments)
            assert answer.code == 2, (message, answer.out, answer.err)
            assert message in answer.err
            assert answer.err.count("\n") == 1


def test_what_is_not_what_was_announced_is_refused(tmp_path: Path) -> None:
    (path,) = some_series(tmp_path, slices=1)
    dataset = pydicom.dcmread(path)
    content = path.read_bytes()[dataset.file_meta.FileMetaInformationGroupLength + 144 :]
    syntax = uid.ExplicitVRLittleEndian
    assert dicom.received(uid.MRImageStorage, dataset.SOPInstanceUID, syntax, content).series == SERIES
    for kind, name, body, problem in (
        (uid.MRImageStorage, "1.2.3", content, Problem.DAMAGED),
        (uid.CTImageStorage, dataset.SOPInstanceUID, content, Problem.DAMAGED),
        (uid.MRImageStorage, dataset.SOPInstanceUID, content[:40], Problem.UNREADABLE),
        (uid.MRImageStorage, dataset.SOPInstanceUID, b"\xff" * 200, Problem.UNREADABLE),
    ):
        with pytest.raises(BadVolume) as refusal:
            dicom.received(kind, name, syntax, body)
        assert refusal.value.problem is problem
