"""The page of a hospital's studies: what became of each, how good it is, and what it looks like."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mri_n2n.pages.page import Picture, data_uri, rendered
from mri_n2n.pictures import decoded_size
from mri_n2n.run_files import sentence
from pipelines.batch.delivery import Delivery, deliveries
from pipelines.batch.folder import BatchFolder
from pipelines.batch.outcome import Outcome, State
from pipelines.batch.study import THUMBNAIL
from pipelines.batch.summary import ORDER

MOST_PICTURES = 9_000_000  # bytes of thumbnails on a page
MADE_OF = {"weights_sha256": "weights, SHA-256", "recipe_sha256": "recipe, SHA-256", "mri-n2n": "mri-n2n"}
UNLABELLED = "reconstructed by a network; not for diagnostic use"
SECTIONS = [("summary", "Summary"), ("studies", "Studies"), ("provenance", "Provenance"), ("next", "Next")]


def study_page(folder: BatchFolder) -> str:
    """The page of a batch as HTML. It names studies as the batch's output does, and nobody. Raises where there is none.

    First comes what is wrong: failed, quarantined, outliers.
    """
    outcomes = sorted(folder.existing(), key=_urgency)
    counts = Counter(outcome.state for outcome in outcomes)
    outliers = sum(_outlier(outcome) for outcome in outcomes)
    sent: dict[str, list[Delivery]] = {}
    for record in deliveries(folder):
        sent.setdefault(record.study, []).append(record)
    room = MOST_PICTURES
    rows = []
    for outcome in outcomes:
        picture = _thumbnail(folder, outcome) if room > 0 else None
        room -= len(picture.source) if picture else 0
        rows.append(_row(outcome, picture, sent.get(outcome.study, [])))
    content = {
        "title": "Reconstructed studies",
        "kind": "A batch of studies",
        "label": _label(outcomes),
        "states": [] if room > 0 else ["There are too many studies for one page to hold a picture of each."],
        "refresh": None,
        "sections": SECTIONS,
        "figures": [
            *((str(state), f"{counts[state]:,}") for state in reversed(ORDER)),
            ("outliers of quality", f"{outliers:,}"),
            ("median seconds", _median([sum(own.seconds.values()) for own in outcomes if own.state is State.DONE])),
        ],
        "rows": rows,
        "some_sent": bool(sent),
        "reasons": Counter(str(own.reason) for own in outcomes if own.state is not State.DONE).most_common(),
        "provenance": _provenance(outcomes),
        "next": {"why": "Which are not done, and why, by file:", "command": "mri-n2n batch status OUTPUT --names"},
    }
    return rendered("studies.html", content)


def _urgency(outcome: Outcome) -> tuple[Any, ...]:
    return (ORDER[outcome.state], outcome.reason, not _outlier(outcome), outcome.study)


def _outlier(outcome: Outcome) -> bool:
    return bool(outcome.quality.get("outlier"))


def _label(outcomes: Sequence[Outcome]) -> str:
    labels = dict.fromkeys(
        str(own.about["label"]).removeprefix("mri-n2n: ") for own in outcomes if "label" in own.about
    )
    return " ".join(map(sentence, labels or (UNLABELLED,)))


def _row(outcome: Outcome, picture: Picture | None, sent: Sequence[Delivery]) -> dict[str, Any]:
    psnr, residual = (outcome.quality.get(name) for name in ("held_out_psnr", "consistency_residual"))
    done = outcome.state is State.DONE
    return {
        "study": outcome.study,
        "done": done,
        "state": str(outcome.state) if done else f"{outcome.state}: {outcome.reason}",
        "picture": picture,
        "psnr": "" if psnr is None else f"{psnr:.1f} dB",
        "outlier": _outlier(outcome),
        "residual": "" if residual is None else f"{residual:.2%}",
        "seconds": f"{sum(outcome.seconds.values()):.1f}" if done else "",
        "clipped": f"{outcome.clipped:,}" if done else "",
        "sent": [f"{own.peer}: {own.said}{'' if own.key == outcome.key else ', an earlier edition'}" for own in sent],
    }


def _thumbnail(folder: BatchFolder, outcome: Outcome) -> Picture | None:
    path = folder.published(outcome.study, outcome.key) / THUMBNAIL
    if outcome.state is not State.DONE or not path.is_file():
        return None
    content = path.read_bytes()
    try:
        width, height = decoded_size(content, "png")
    except (ValueError, OSError):
        return None  # it is for the eye alone: a page without it is as true
    return Picture(data_uri(content, "png"), width, height, f"three slices of {outcome.study}")


def _median(values: Sequence[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.1f}" if values else "none yet"


def _provenance(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """What made the outputs: of several networks or versions each, with its count."""
    facts = []
    for key, name in MADE_OF.items():
        found = Counter(str(own.about[key]) for own in outcomes if own.about.get(key) is not None)
        facts += [(name, value if len(found) == 1 else f"{value} ({count} studies)") for value, count in found.items()]
    return facts
