"""Whether a batch is at work, as far as its folder tells: by its lock, its heartbeat and the end of its log."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pipelines.batch.folder import BatchFolder
from pipelines.batch.shard import WHOLE, Shard

FRESH = 60.0  # seconds; a heartbeat is touched every five or so, but for what takes longer at a time
TURNS = ("listening", "begun", "ended")  # events, after which others may come


class Phase(StrEnum):
    """What can be told of a process by what it left."""

    NOT_BEGUN = "not begun"
    AT_WORK = "at work"
    PERHAPS = "at work, or just cut off"  # no lock is seen: it may be of another machine
    HANGING = "hanging"
    STOPPED = "stopped"
    CUT_OFF = "cut off"


@dataclass(frozen=True)
class Life:
    """Of who holds a share, or held it last. heard: when a line was last written in its log, in seconds since 1970."""

    phase: Phase
    detail: str = ""
    heard: float | None = None

    def __str__(self) -> str:
        return f"{self.phase}{self.detail}"

    @property
    def when(self) -> str:
        """The time that it was last heard of."""
        return f"{datetime.fromtimestamp(self.heard, UTC):%Y-%m-%d %H:%M:%S}" if self.heard else ""


def life(folder: BatchFolder) -> Life:
    """Of the share that the folder is asked about. Raises `UsageError` if its log may not be read."""
    events, age = folder.latest_events(), folder.heartbeat_age()
    heard = events[-1].get("time") if events else None
    beat = "" if age is None else f", heartbeat {_said(age)} ago"
    fresh = age is not None and age < FRESH
    turns = [event for event in events if event["event"] in TURNS]
    if folder.is_held():
        return Life(Phase.AT_WORK if fresh or age is None else Phase.HANGING, beat, heard)
    if turns and turns[-1]["event"] == "ended":
        return Life(Phase.STOPPED, f", exit code {turns[-1]['exit']}", heard)
    if not events and age is None:
        return Life(Phase.NOT_BEGUN)
    return Life(Phase.PERHAPS if fresh else Phase.CUT_OFF, beat, heard)


def shares(folder: BatchFolder) -> dict[Shard, Life]:
    """Those of the shards that were heard of last, also of those among them that have said nothing.

    There may have been another number of shards before; or no shards, which is the whole.
    """
    known = {shard: life(BatchFolder(folder.path, shard)) for shard in (WHOLE, *folder.shards())}
    count = max(known, key=lambda shard: (known[shard].heard or 0, shard.count)).count
    each = (Shard(number, count) for number in range(count))
    return {shard: known[shard] if shard in known else Life(Phase.NOT_BEGUN) for shard in each}


def in_one_line(folder: BatchFolder, lives: dict[Shard, Life]) -> str:
    """Whether somebody is at work, and how many studies are at hand: or were, when it was cut off."""
    phases = Counter(one.phase for one in lives.values())
    if WHOLE in lives:
        one = lives[WHOLE]
        last = (
            f" (last heard of {one.when} UTC)" if one.when and one.phase not in (Phase.AT_WORK, Phase.PERHAPS) else ""
        )
        said = f"Batch {one}{last}."
    else:
        said = (
            f"Of {len(lives)} shards " + ", ".join(f"{phases[phase]} {phase}" for phase in Phase if phases[phase]) + "."
        )
    at_hand = folder.at_hand()
    if at_hand:
        were = "" if any(phases[phase] for phase in (Phase.AT_WORK, Phase.PERHAPS, Phase.HANGING)) else " when it ended"
        said += f" Studies at hand{were}: {at_hand}."
    if phases[Phase.CUT_OFF]:
        said += " Go on with the same command."
    return said


def _said(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
