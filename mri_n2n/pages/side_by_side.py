"""The same images by several runs: what a person looks at to compare them."""

from collections.abc import Iterator, Sequence

import numpy as np

from mri_n2n.comparison.arms import Arm
from mri_n2n.illustrations import REFERENCE, Illustration, read_illustrations
from mri_n2n.run_files import EVALUATION

MOST = 6  # runs that stand beside each other


def side_by_side(arms: Sequence[Arm], method: str | None = None) -> list[Illustration]:
    """The examples that the first runs of all arms stored of the same images, by `method` or as each run's result.

    Of one arm they are by its seeds. Before is the first one, after the last one of at most `MOST`. Empty where runs
    have no folder here, or none in common. Raises `UsageError` for damaged files.
    """
    alone = arms[0].runs if len(arms) == 1 else ()  # several seeds of one recipe: what differs is chance
    runs = {run.name: run for run in alone[:MOST]} or {arm.name: arm.runs[0] for arm in arms[:MOST]}
    tested = [run.evaluated.tested_on if run.evaluated is not None else None for run in runs.values()]
    if len(runs) < 2 or None in tested or any(own != tested[0] for own in tested):
        return []
    stored = {}
    for name, run in runs.items():
        if run.directory is None:
            return []
        examples = {own.title: own for own in read_illustrations(run.directory / EVALUATION)}
        stored[f"{name} (run)" if name == REFERENCE else name] = examples
    return list(_shared(stored, method))


def _shared(stored: dict[str, dict[str, Illustration]], method: str | None) -> Iterator[Illustration]:
    first, *others = stored.values()
    for title, example in first.items():
        same = [own[title] for own in others if title in own and _same_image(example, own[title])]
        images = {
            name: own[title].images[wanted]
            for name, own in stored.items()
            if title in own and (wanted := method or own[title].after) in own[title].images
        }
        if len(same) < len(others) or len(images) < len(stored):
            continue
        if example.has_reference:
            images[REFERENCE] = example.images[list(example.images)[-1]]
        yield Illustration(title, images, next(iter(stored)), example.has_reference, example.white)


def _same_image(one: Illustration, other: Illustration) -> bool:
    """Whether both are of one image, as far as can be told."""
    if one.has_reference != other.has_reference:
        return False
    first, second = (own.images[list(own.images)[-1]] for own in (one, other))
    return first.shape == second.shape and (not one.has_reference or bool(np.allclose(first, second, atol=1e-2)))
