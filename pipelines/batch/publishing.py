"""A finished study brought to its place: whole, and once, however many are at it."""

from pathlib import Path

from mri_n2n.durable import sha256_of, sync, writing
from pipelines.batch.folder import STATUS_FILE, BatchFolder
from pipelines.batch.outcome import Outcome, State


def publish(folder: BatchFolder, staged: Path, outcome: Outcome) -> Outcome:
    """Move a study from where it was written to its place, and say so.

    Return what is said of it there: another attempt at the same study may have been quicker.
    """
    place = folder.published(outcome.study, outcome.key)
    outcome.write(staged / STATUS_FILE, folder.staging)
    with writing(place):
        for path in (*staged.rglob("*"), staged):
            sync(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        published = _there(folder, outcome)
        if published is None:
            if place.exists():  # and was changed since
                place.replace(folder.staging / f"replaced-{outcome.study}")
            try:
                staged.replace(place)
            except OSError:  # another attempt, or a request that a network file system has repeated
                published = _there(folder, outcome)
                if published is None:
                    raise
        for path in (place.parent, place.parent.parent):
            sync(path)
    folder.settle(published or outcome)
    return published or outcome


def _there(folder: BatchFolder, outcome: Outcome) -> Outcome | None:
    said = folder.said(outcome.study, outcome.key)
    return said if said and stands(folder, said) else None


def stands(folder: BatchFolder, known: Outcome) -> bool:
    """Whether what was published is still there, byte for byte."""
    if known.state is not State.DONE:
        return True
    place = folder.published(known.study, known.key)
    try:
        return all(sha256_of(place / name) == digest for name, digest in known.files.items())
    except OSError:
        return False


def published_since(folder: BatchFolder, study: str, before: dict[str, Outcome]) -> Outcome | None:
    """The edition that was published since there were these, and had perhaps only not said so yet."""
    since = (outcome for edition, outcome in folder.editions(study).items() if before.get(edition) != outcome)
    return next(since, None)
