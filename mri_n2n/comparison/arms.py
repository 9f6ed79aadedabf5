"""What is compared: runs of one recipe together, whichever their seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mri_n2n.comparison.records import RunRecord

ENVIRONMENT = "environment."
SEED = "seed"
COMMIT = "environment.commit"
HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")  # of a commit, of data: a dozen digits tell them apart
OF_SEED = re.compile(r"[-_, ]*seed[-_ ]?\d+$")  # how a name ends that tells its seed


@dataclass(frozen=True)
class Arm:
    """What is compared: runs of one recipe on the same data, which differ in their seeds."""

    name: str
    runs: tuple[RunRecord, ...]

    @property
    def seeds(self) -> list[str]:
        """The seeds of its runs."""
        return [run.parameters.get(SEED, "?") for run in self.runs]


def arms_of(records: Sequence[RunRecord], *, grouped: bool, alike: bool = True) -> list[Arm]:
    """The runs, those together that differ in their seed alone (and in where they ran), in the order of the first.

    Runs of one seed are never taken together: what differs between them is the program, or the machine. Those of a
    folder of seeds or of an experiment go together with each other alone; where not all scores are of the same images
    (not `alike`), those of the same images do.
    """
    recipes: dict[object, list[RunRecord]] = {}
    for place, record in enumerate(records):
        key = (_recipe(record), record.family, None if alike else _images(record))
        recipes.setdefault(key if grouped else place, []).append(record)
    groups = [group for runs in recipes.values() for group in _one_of_each_seed(runs)]
    named = [Arm(_name(runs), tuple(sorted(runs, key=_seed))) for runs in groups]
    names = [arm.name for arm in named]
    numbers = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [
        arm if names.count(arm.name) == 1 else replace(arm, name=f"{arm.name} ({number})")
        for arm, number in zip(named, numbers, strict=True)
    ]


def _recipe(record: RunRecord) -> object:
    names = sorted(name for name in record.parameters if name != SEED and not name.startswith(ENVIRONMENT))
    return tuple((name, record.parameters[name]) for name in names)


def _images(record: RunRecord) -> object:
    own = record.evaluated
    return None if own is None else (tuple(own.tested_on.items()), frozenset(own.methods[own.result].images))


def _one_of_each_seed(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """The runs of one recipe in groups without a seed twice: by the program's commit, if that does."""
    if len({run.parameters.get(SEED) for run in runs}) == len(runs):
        return [list(runs)]
    commits: dict[str | None, list[list[RunRecord]]] = {}
    for run in runs:
        groups = commits.setdefault(run.parameters.get(COMMIT), [])
        seed = run.parameters.get(SEED)
        free = next((group for group in groups if all(own.parameters.get(SEED) != seed for own in group)), None)
        if free is None:
            groups.append([run])
        else:
            free.append(run)
    return [group for groups in commits.values() for group in groups]


def _seed(run: RunRecord) -> int:
    seed = run.parameters.get(SEED, "")
    return int(seed) if seed.isdecimal() else 0


def _name(runs: Sequence[RunRecord]) -> str:
    first = runs[0]
    if len(runs) == 1:
        return first.name
    folder = first.directory.resolve().parent.name if first.directory else first.name
    return OF_SEED.sub("", first.name) or folder


def differing(arms: Sequence[Arm]) -> dict[str, tuple[str, ...]]:
    """The parameters, seeds aside, that are not the same in all runs: by name, a text for every arm."""
    names = dict.fromkeys(name for arm in arms for run in arm.runs for name in run.parameters if name != SEED)
    table = {
        name: tuple(", ".join(dict.fromkeys(_told(run.parameters, name) for run in arm.runs)) for arm in arms)
        for name in names
    }
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def _told(parameters: Mapping[str, str], name: str) -> str:
    return HASH.sub(r"\1", parameters.get(name, "–"))
