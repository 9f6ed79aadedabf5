"""All studies of a batch at a glance: as lines for a terminal, and as a page."""

import html
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from pipelines.batch.delivery import Delivery, deliveries
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, State
from pipelines.batch.shard import Shard
from pipelines.batch.study import RECONSTRUCTION, THUMBNAIL

ORDER = {State.FAILED: 0, State.QUARANTINED: 1, State.DONE: 2}
COLUMNS = ("study", "state", "slices", "held-out PSNR, residual", "seconds", "clipped voxels", "sent to")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .4em .8em; vertical-align: top; }
tr { border-top: 1px solid #ccc; } img { background: #000; } code { font-size: 85%; }
.done { color: #060; } .quarantined { color: #850; } .failed { color: #a00; } .caution { font-weight: bold; }
"""


def table(outcomes: Sequence[Outcome]) -> str:
    """How many studies ended in which state, and why."""
    counts = Counter((outcome.state, outcome.reason) for outcome in outcomes)
    lines = ["| state | reason | studies |", "| --- | --- | --- |"]
    for (state, reason), count in sorted(counts.items(), key=lambda item: (ORDER[item[0][0]], -item[1], item[0][1])):
        lines.append(f"| {state} | {reason} | {count} |")
    return "\n".join(lines)


def shards(folder: BatchFolder) -> str:
    """What each shard said last, also of those that have said nothing; empty where there are none."""
    counts = sorted({shard.count for shard in folder.shards()})
    if not counts:
        return ""
    events = {
        shard: BatchFolder(folder.path, shard).last_event()
        for shard in (Shard(number, count) for count in counts for number in range(count))
    }
    whole = BatchFolder(folder.path).last_event()  # of a batch without shards, which has gone over all since
    if whole and all(event.get("time", 0) < whole["time"] for event in events.values()):
        return ""
    lines = ["", "| shard | | last heard of (UTC) |", "| --- | --- | --- |"]
    for shard, event in events.items():
        ended = f"ended, exit code {event['exit']}" if event.get("event") == "ended" else "at work, or cut off"
        when = f"{datetime.fromtimestamp(event['time'], UTC):%Y-%m-%d %H:%M:%S}" if event else ""
        lines.append(f"| {shard} | {ended if event else 'not begun'} | {when} |")
    return "\n".join(lines) + "\n"


def write_summary(folder: BatchFolder) -> None:
    """Write summary.html: what is wrong first. It names studies as the output does, and nothing else of them."""
    outcomes = sorted(folder.outcomes(), key=lambda outcome: (ORDER[outcome.state], outcome.reason, outcome.study))
    counts = Counter(outcome.state for outcome in outcomes)
    said = ", ".join(f"{counts[state]} {state}" for state in reversed(ORDER) if counts[state]) or "none yet"
    sent: dict[str, list[Delivery]] = {}
    for record in deliveries(folder):
        sent.setdefault(record.study, []).append(record)
    rows = "\n".join(_row(folder, outcome, sent.get(outcome.study, [])) for outcome in outcomes)
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    names = "</code>, <code>".join(
        place for place in ("private/sources.json", "shards/*/private/sources.json") if any(folder.path.glob(place))
    )
    folder.summarise(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reconstructed studies</title><style>{STYLE}</style></head>
<body><h1>Reconstructed studies</h1>
<p class="caution">Reconstructed by a network. Not for diagnostic use.</p>
<p>{said}. Which study is which file: <code>{names}</code>.</p>
<p>Held-out PSNR: estimated from samples that were kept from the network; not known for plain images. Residual: how
far the image is from the acquired samples. An outlier is below the lower 99.5 % prediction limit of the validation's
subjects.</p>
<table><tr>{head}</tr>
{rows}
</table></body></html>
""",
    )


def _row(folder: BatchFolder, outcome: Outcome, sent: Sequence[Delivery]) -> str:
    name = html.escape(outcome.study)
    state = f'<span class="{outcome.state}">{outcome.state}</span>'
    if outcome.state is not State.DONE:
        blank = "<td></td>" * 4
        return f"<tr><td><code>{name}</code></td><td>{state}: {outcome.reason}</td>{blank}{_sent(outcome, sent)}</tr>"
    place = folder.published(outcome.study, outcome.key).relative_to(folder.path).as_posix()
    picture = f'<a href="{place}/{RECONSTRUCTION}"><img src="{place}/{THUMBNAIL}" loading="lazy" alt="slices"></a>'
    seconds = sum(outcome.seconds.values())
    return (
        f"<tr><td><code>{name}</code></td><td>{state}</td><td>{picture}</td><td>{_quality(outcome)}</td>"
        f"<td>{seconds:.1f}</td><td>{outcome.clipped}</td>{_sent(outcome, sent)}</tr>"
    )


def _sent(outcome: Outcome, records: Sequence[Delivery]) -> str:
    """Who has what a study published, and what it published before."""
    lines = []
    for record in records:
        earlier = "" if record.key == outcome.key else ", an earlier edition"
        style = State.DONE if record.done else State.QUARANTINED
        lines.append(f'{html.escape(record.peer)}: <span class="{style}">{record.said}</span>{earlier}')
    return f"<td>{'<br>'.join(lines)}</td>"


def _quality(outcome: Outcome) -> str:
    value = outcome.quality.get("held_out_psnr")
    if value is None:
        return ""
    residual = outcome.quality.get("consistency_residual")
    said = f"{value:.1f} dB" + ("" if residual is None else f", {residual:.2%}")
    return said + (' <span class="quarantined">outlier</span>' if outcome.quality.get("outlier") else "")
