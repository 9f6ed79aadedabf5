"""All studies of a batch at a glance: as lines for a terminal, and as a page."""

import html
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.batch.delivery import Delivery, deliveries
from pipelines.batch.folder import BatchFolder
from pipelines.batch.liveness import Life
from pipelines.batch.outcome import Outcome, State
from pipelines.batch.shard import WHOLE, Shard
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
    if not outcomes:
        return "No study has ended yet."
    counts = Counter((outcome.state, outcome.reason) for outcome in outcomes)
    lines = ["| state | reason | studies |", "| --- | --- | --- |"]
    for (state, reason), count in sorted(counts.items(), key=lambda item: (ORDER[item[0][0]], -item[1], item[0][1])):
        lines.append(f"| {state} | {reason} | {count} |")
    return "\n".join(lines)


def some_not(outcomes: Sequence[Outcome]) -> bool:
    """Whether some are not done."""
    return any(outcome.state is not State.DONE for outcome in outcomes)


def which(folder: BatchFolder) -> str:
    """The command that tells which are not, and why."""
    return f"mri-n2n batch status {shlex.quote(str(folder.path))} --names"


def shard_table(lives: Mapping[Shard, Life]) -> str:
    """Whether each shard is at work; empty where there are none."""
    if WHOLE in lives:
        return ""
    lines = [f"| {shard} | {life} | {life.when} |" for shard, life in lives.items()]
    return "\n".join(["| shard | | last heard of (UTC) |", "| --- | --- | --- |", *lines]) + "\n"


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
    folder.summarise(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Reconstructed studies</title><style>{STYLE}</style></head>
<body><h1>Reconstructed studies</h1>
<p class="caution">Reconstructed by a network. Not for diagnostic use.</p>
<p>{said}. Which are not done, and why: <code>mri-n2n batch status OUTPUT --names</code>. Which study is which file:
<code>private/sources.jsonl</code>, of shards in <code>shards/</code>.</p>
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
