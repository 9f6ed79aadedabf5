"""Comparing runs: what they differ in, how good each is with 95 % intervals, image by image, and what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mri_n2n.comparison.arms import COMMIT, ENVIRONMENT, Arm, arms_of, differing
from mri_n2n.comparison.curves import Milestone, milestones
from mri_n2n.comparison.paired import Difference, Quality, ScoreArray, order_of
from mri_n2n.comparison.records import Evaluated, RunRecord, Scores
from mri_n2n.errors import UsageError
from mri_n2n.run_files import SIMULATED

SAME_SCORE = 1e-3  # what machines differ by
NAMED = 3  # runs that a note names
UNSCORED = "not for diagnostic use"
SAMPLING = ("task.corruption.acceleration", "task.corruption.edge_probability")


@dataclass(frozen=True)
class Cost:
    """What an arm's run takes on average.

    seconds: by the clock, from the first step to the last, without the pages of --report; evaluation_seconds: of these
    on validation images, None where that was not recorded and is not in `seconds`; images_per_second: while training.
    """

    arm: str
    seconds: float
    evaluation_seconds: float | None
    images_per_second: float | None
    device: str


@dataclass(frozen=True)
class Scored:
    """The scores of all arms on a test set ("" where there is one).

    references: methods that all arms were scored beside, with the same scores. by_unit: of every metric and arm the
    means over each unit (a subject, an image, a scene). images: how many all arms were scored on; 0 where they differ.
    units: how many, of what differs the fewest.
    """

    set: str
    images: int
    units: int
    qualities: tuple[Quality, ...]
    references: tuple[Quality, ...]
    differences: tuple[Difference, ...]
    by_unit: Mapping[str, Mapping[str, tuple[float, ...]]]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side. The first arm is what the others are compared with.

    parameters: those that differ, with a text for every arm. scored: on each test set; none where nothing was.
    """

    arms: tuple[Arm, ...]
    parameters: Mapping[str, tuple[str, ...]]
    scored: tuple[Scored, ...]
    milestones: tuple[Milestone, ...]
    costs: tuple[Cost, ...]
    interval: str
    label: str
    notes: tuple[str, ...]


def compare(
    records: Sequence[RunRecord], *, method: str | None = None, different_data: bool = False, grouped: bool = True
) -> Comparison:
    """Compare runs, seeds of one recipe together if `grouped`; method: whose scores, by default each run's own result.

    Raises `UsageError` where there are fewer than two runs, or their validation data differ and not `different_data`,
    which leaves the differences image by image out, and seeds apart.
    """
    if len(records) < 2:
        raise UsageError(f"a comparison takes at least two runs, got {len(records)}.")
    alike = _check_data(records, different_data)
    arms = arms_of(records, grouped=grouped, alike=alike)
    evaluated = {arm.name: found for arm in arms if (found := _evaluations(arm))}
    every = [own for found in evaluated.values() for own in found]
    return Comparison(
        arms=tuple(arms),
        parameters=differing(arms),
        scored=tuple(_scored(arms, evaluated, method, alike)),
        milestones=tuple(milestones(arms)),
        costs=tuple(_cost(arm) for arm in arms),
        interval="; ".join(dict.fromkeys(own.interval for own in every)),
        label=_label(records),
        notes=tuple(_notes(arms, alike)),
    )


def _label(records: Sequence[RunRecord]) -> str:
    """What must be said of runs together: the labels of their evaluations, of those without one what is known."""
    simulated = any(run.domain == "MRI" and run.parameters.get("data.kind") == "images" for run in records)
    known = [run.evaluated.label for run in records if run.evaluated is not None and run.evaluated.label]
    return "; ".join(dict.fromkeys(known)) or (SIMULATED if simulated else UNSCORED)


def _scored(
    arms: Sequence[Arm], evaluated: Mapping[str, Sequence[Evaluated]], method: str | None, alike: bool
) -> Iterator[Scored]:
    """The scores set by set; of images that differ only the means."""
    scores = {name: [_of_method(name, own, method) for own in found] for name, found in evaluated.items()}
    if not scores:
        return
    if not alike:
        arrays = [ScoreArray.of({name: own}) for name, own in scores.items()]
        fewest = min(len(set(array.units)) for array in arrays)
        yield Scored("", 0, fewest, tuple(quality for array in arrays for quality in array.qualities()), (), (), {})
        return
    every = [own for found in evaluated.values() for own in found]
    references = _references(every, method)
    seeds = {arm.name: arm.seeds for arm in arms}
    for name in every[0].sets:
        array = ScoreArray.of({arm: [own.of_set(name) for own in found] for arm, found in scores.items()})
        beside = {method: [found.of_set(name)] for method, found in references.items()}
        yield Scored(
            name,
            len(array.units),
            len(set(array.units)),
            tuple(array.qualities()),
            tuple(ScoreArray.of(beside).qualities()) if beside else (),
            tuple(array.differences(seeds)),
            array.by_unit(),
        )


def _evaluations(arm: Arm) -> list[Evaluated]:
    """Of all runs of an arm; empty if one of them has none."""
    found = [run.evaluated for run in arm.runs if run.evaluated is not None]
    return found if len(found) == len(arm.runs) else []


def _of_method(arm: str, evaluated: Evaluated, method: str | None) -> Scores:
    name = evaluated.result if method is None else method
    if name not in evaluated.methods:
        raise UsageError(f"{arm} has no scores of {method!r}, but of {', '.join(evaluated.methods)}.")
    return evaluated.methods[name]


def _check_data(records: Sequence[RunRecord], different_data: bool) -> bool:
    """Whether all runs were scored (of those that never were: watched over) on the same images."""
    scored = [run for run in records if run.evaluated is not None] or list(records)
    first = scored[0]
    domains = ((run, f"data ({run.domain}, not {first.domain})") for run in records if run.domain != first.domain)
    other = next(domains, None) or next(((run, what) for run in scored if (what := _other_data(first, run))), None)
    if other is not None and not different_data:
        run, what = other
        raise UsageError(
            f"the validation data differ: {run.name} has other {what} than {first.name}. "
            "Evaluate them on the same, or add --different-data."
        )
    return other is None


def _other_data(first: RunRecord, run: RunRecord) -> str:
    """In what a run's validation data are not the first one's; empty if in nothing."""
    one, other = first.evaluated, run.evaluated
    if one is None or other is None:
        same = first.parameters.get("data.fingerprint") == run.parameters.get("data.fingerprint")
        return "" if same else "data"
    for what in dict.fromkeys([*one.tested_on, *other.tested_on]):
        if one.tested_on.get(what) != other.tested_on.get(what):
            return what
    same = set(one.methods[one.result].images) == set(other.methods[other.result].images)
    return "" if same else "images"


def _references(every: Sequence[Evaluated], method: str | None) -> dict[str, Scores]:
    """The methods, other than what is compared, that every run was scored beside with the same scores."""
    first, *others = every
    if not others:
        return {}  # what it would share with others cannot be told
    compared = {own.result if method is None else method for own in every}
    return {
        name: scores
        for name, scores in first.methods.items()
        if name not in compared and all(_same(scores, other.methods.get(name)) for other in others)
    }


def _same(scores: Scores, other: Scores | None) -> bool:
    if other is None or set(other.images) != set(scores.images) or set(other.metrics) != set(scores.metrics):
        return False
    order = order_of(other, scores.images)
    return all(np.allclose(own, other.metrics[name][order], atol=SAME_SCORE) for name, own in scores.metrics.items())


def _cost(arm: Arm) -> Cost:
    speeds = [run.images_per_second for run in arm.runs if run.images_per_second is not None]
    devices = dict.fromkeys(run.parameters.get(f"{ENVIRONMENT}hardware", "?") for run in arm.runs)
    training = float(np.mean([run.seconds for run in arm.runs]))
    known = [run.evaluation_seconds for run in arm.runs if run.evaluation_seconds is not None]
    evaluating = float(np.mean(known)) if len(known) == len(arm.runs) else None
    speed = float(np.mean(speeds)) if speeds else None
    return Cost(arm.name, training + (evaluating or 0.0), evaluating, speed, ", ".join(devices))


def _notes(arms: Sequence[Arm], alike: bool) -> list[str]:
    runs = [run for arm in arms for run in arm.runs]
    unscored = [run.name for run in runs if run.evaluated is None]
    notes = []
    if unscored:
        advice = "Evaluate them (an older evaluation: again, --overwrite)."
        notes.append(f"No scores image by image: {_some(unscored)}. {advice}")
    notes += [
        f"{arm.name}: {len(arm.runs)} seeds together ({_some([run.name for run in arm.runs])})."
        for arm in arms
        if len(arm.runs) > 1
    ]
    notes += [f"{run.name} has a damaged record: its curves end before it did." for run in runs if run.cut]
    notes += [f"{run.name} is not finished: {run.steps[0]} of {run.steps[1]} steps." for run in runs if run.unended]
    notes += [f"{run.name} was trained on after it was evaluated: evaluate it again." for run in runs if run.stale]
    notes += [
        f"{arm.name} has runs of several commits of this program."
        for arm in arms
        if len({run.parameters.get(COMMIT) for run in arm.runs}) > 1
    ]
    if alike and len({tuple(run.parameters.get(name) for name in SAMPLING) for run in runs}) > 1:
        notes.append("The images are the same, but not how they are sampled: each run was scored under its own.")
    if not alike:
        notes.append("The validation data differ: nothing is compared image by image.")
    if len({run.parameters.get("data.fingerprint") for run in runs}) > 1:
        notes.append("The runs were trained on different data: validation during training is not of the same images.")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
