"""The same images by several runs: what a person looks at to compare them."""

from collections.abc import Iterator, Sequence

import numpy as np

from mri_n2n.comparison.arms import Arm
from mri_n2n.illustrations import REFERENCE, Illustration, read_illustrations
from mri_n2n.run_files import EVALUATION

MOST = 6  # runs that stand beside each other


def side_by_side(arms: Sequence[Arm]) -> list[Illustration]:
    """The examples that the first runs of all arms stored of the same images, each by what the run makes of it.

    Before is the first arm, after the last one. Empty where runs have no folder here, or none in common. Raises
    `UsageError` for damaged files.
    """
    stored = {}
    for arm in arms[:MOST]:
        directory = arm.runs[0].directory
        if directory is None:
            return []
        stored[arm.name] = {own.title: own for own in read_illustrations(directory / EVALUATION)}
    return list(_shared(stored)) if len(stored) > 1 else []


def _shared(stored: dict[str, dict[str, Illustration]]) -> Iterator[Illustration]:
    first, *others = stored.values()
    for title, example in first.items():
        same = [own[title] for own in others if title in own and _same_image(example, own[title])]
        if len(same) < len(others):
            continue
        images = {name: own[title].images[own[title].after] for name, own in stored.items()}
        if example.has_reference:
            images[REFERENCE] = example.images[list(example.images)[-1]]
        yield Illustration(title, images, next(iter(stored)), example.has_reference, example.white)


def _same_image(one: Illustration, other: Illustration) -> bool:
    """Whether both are of one image, as far as can be told."""
    if one.has_reference != other.has_reference:
        return False
    first, second = (own.images[list(own.images)[-1]] for own in (one, other))
    return first.shape == second.shape and (not one.has_reference or bool(np.allclose(first, second, atol=1e-2)))
