"""A DICOM node: a batch that watches an inbox, somebody who fills it, and somebody who sends what comes out."""

import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mri_n2n.data import dicom
from mri_n2n.durable import alone, disk_full
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.progress import say
from pipelines.batch.delivery import tidy
from pipelines.batch.discovery import Study
from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.local import Engine
from pipelines.batch.outcome import Outcome, State
from pipelines.batch.run import ONE_AT_A_TIME, Feed, Limits, run_batch
from pipelines.batch.study import AGAIN, Setup
from pipelines.batch.summary import write_summary
from pipelines.node.answer import Answer, Refused
from pipelines.node.association import Arrival, Door, Listener, listening
from pipelines.node.inbox import Inbox, Room
from pipelines.node.peers import Peer
from pipelines.node.sender import FIRST, Sender

LOOK = 1.0  # seconds between looks into the inbox, at most
TOLD = 60.0  # seconds between lines in the log on what was received
DAY = 86400.0
TIDIED = 600.0  # seconds between looks at what may be removed


@dataclass(frozen=True)
class NodeSetup:
    """How a node receives and sends.

    settle: seconds without a new instance after which a series is taken to be whole. keep: days after which a series
    that was reconstructed and delivered is removed from the inbox; None: never. retry: seconds until a peer is tried a
    second time.
    """

    inbox: Path
    door: Door
    peers: tuple[Peer, ...] = ()
    settle: float = 30.0
    keep: float | None = None
    room: Room = field(default_factory=Room)
    retry: float = FIRST

    def __post_init__(self) -> None:
        if not (self.settle > 0 and (self.keep is None or self.keep >= 0) and self.room.reserve >= 0):
            raise UsageError("--settle must be positive, --keep and --reserve not negative.")
        if self.keep is not None and not self.peers:
            raise UsageError("--keep removes what was delivered: say to whom with --send-to.")
        if not self.door.callers:
            raise UsageError("nobody may send: say who with --allow AE or --allow AE@ADDRESS.")
        if len({peer.title for peer in self.peers}) < len(self.peers):
            raise UsageError("--send-to names an AE title twice.")
        if not 0 <= self.door.port < 65536:
            raise UsageError(f"--port {self.door.port} is none, expected a number up to 65535.")


def run_node(node: NodeSetup, setup: Setup, limits: Limits, engine: Engine = ONE_AT_A_TIME) -> Exit:
    """Receive, reconstruct and send until a signal comes, and go on with what was left; return how it ended."""
    reconstructor = setup.reconstructor()
    if not reconstructor.takes_images:
        advice = "Choose another run." if reconstructor.complex else "Add --simulate to try it."
        raise UsageError(f"this run reconstructs raw k-space, and a node receives images. {advice}")
    try:
        return _run_node(node, setup, limits, engine)
    except UsageError as error:
        if not disk_full(error):
            raise
        say(f"error: {error}")
        return Exit.DISK_FULL


def _run_node(node: NodeSetup, setup: Setup, limits: Limits, engine: Engine) -> Exit:
    inbox, folder = Inbox(node.inbox, node.room), BatchFolder(setup.output)
    inbox.open()
    folder.open()
    with folder.held():  # before anything is promised to anybody
        tidy(folder)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # they may name a person
        stack.enter_context(alone(node.inbox))
        inbox.resume({outcome.study for outcome in folder.outcomes() if outcome.reason not in AGAIN})
        stack.callback(_summarise, folder)  # when the last one has sent its last
        senders = [stack.enter_context(Sender(folder, peer, node.door.title, node.retry)) for peer in node.peers]
        work = Node(node, inbox, folder, senders)
        stack.callback(_said, work)
        listener = stack.enter_context(listening(node.door, work.take, work.turned_away))
        folder.log("listening", port=listener.port)
        where = f"{node.door.host}, port {listener.port}"
        say(f"listening on {where}, as {node.door.title}. What happens is in {folder.own / 'log.jsonl'}.")
        every = min(LOOK, node.settle / 2)
        feed = Feed(partial(work.look, listener), work.told, work.news)
        return run_batch(node.inbox, setup, replace(limits, watch=every), engine=engine, feed=feed)


def _said(work: "Node") -> None:
    with suppress(UsageError):  # the disk is full
        work.log()


def _summarise(folder: BatchFolder) -> None:
    with suppress(UsageError), folder.held() as held:  # another one is at work, or the disk is full
        write_summary(held)


class Node:
    """What the three parts of a node tell each other."""

    def __init__(self, node: NodeSetup, inbox: Inbox, folder: BatchFolder, senders: Sequence[Sender]) -> None:
        self._node, self._inbox, self._folder, self._senders = node, inbox, folder, senders
        self._received: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._tried = 0
        self._logged = self._tidied = time.monotonic() - DAY

    def take(self, arrival: Arrival) -> int:
        """Keep an instance; return the status to answer with. In any thread."""
        try:
            answer = self._kept(arrival)
        except Refused as refusal:
            answer = refusal.answer
        except Exception:  # noqa: BLE001 (it is not kept, and the sender is told so)
            answer = Answer.BUG
            with suppress(UsageError):
                self._folder.report(traceback.format_exc())
        with self._lock:
            self._received[answer.said] += 1
        return answer.status

    def turned_away(self) -> None:
        """Count an association that was not accepted. In any thread."""
        with self._lock:
            self._received["refused associations"] += 1

    def look(self, listener: Listener, heed: Callable[[], None] = lambda: None) -> list[Study]:
        """The series that are due."""
        heed()
        if not listener.alive():
            raise RuntimeError("nobody listens any more")
        now = time.monotonic()
        if now - self._logged >= TOLD:
            self.log()
            self._logged = now
        if self._node.keep is not None and now - self._tidied >= min(TIDIED, max(1.0, self._node.keep * DAY)):
            self._tidy(self._node.keep * DAY)
            self._tidied = now
        return self._inbox.stable(self._node.settle, listener.connected())

    def news(self) -> bool:
        """Whether something was sent, or could not be, since this was last asked."""
        before, self._tried = self._tried, sum(sender.attempts for sender in self._senders)
        return before != self._tried

    def log(self) -> None:
        """Say how many instances came, and what was answered."""
        with self._lock:
            received, self._received = self._received, Counter()
        if received:
            self._folder.log("received", **received)

    def told(self, outcome: Outcome) -> bool:
        """Have the last word on a series, unless something came to it meanwhile; whether so."""
        if not self._inbox.unchanged(outcome.study):
            return False
        for sender in self._senders:  # first: were we killed in between, it would not be told otherwise
            sender.tell(outcome)
        return self._inbox.settle(outcome.study)

    def _kept(self, arrival: Arrival) -> Answer:
        try:
            instance = dicom.received(arrival.kind, arrival.name, arrival.syntax, arrival.dataset)
        except BadVolume as error:
            raise Refused(Answer.MISMATCH if error.problem is Problem.DAMAGED else Answer.UNREADABLE) from None
        if instance.derived:
            raise Refused(Answer.DERIVED)
        return self._inbox.keep(instance, arrival.sender)

    def _tidy(self, seconds: float) -> None:
        for name in self._inbox.settled_for(seconds):
            outcome = self._folder.outcome(name)
            if outcome and outcome.state is State.DONE and all(sender.delivered(outcome) for sender in self._senders):
                self._inbox.remove(name)
                self._folder.log("removed", study=name)
