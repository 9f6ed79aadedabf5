"""One recipe under several seeds: what of a result is the recipe's, and what is chance."""

import json
import re
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mri_n2n.comparison.curves import HIGH, LOW, PSNR
from mri_n2n.drawing import draw_courses
from mri_n2n.durable import write_csv, write_json, write_text
from mri_n2n.errors import UsageError
from mri_n2n.evaluation import label_in
from mri_n2n.parent_run import announce_experiment, mirror_experiment
from mri_n2n.progress import say
from mri_n2n.recipes import Domain, Recipe
from mri_n2n.run_directory import Run, check_own, check_same_recipe, open_run
from mri_n2n.run_files import METRICS, SEEDS_SUMMARY, sentence
from mri_n2n.training.world import ALONE, World

MOST = 1000
VALIDATION = "validation/"
RANGE = re.compile(r"([0-9]{1,19})\.\.([0-9]{1,19})")
PLACE = re.compile(r"seed-(?:0|[1-9][0-9]*)")
LIST = re.compile(r"[0-9]{1,19}(,[0-9]{1,19})*")


@dataclass(frozen=True)
class Spread:
    """A final metric over seeds: mean, sample standard deviation (None for one seed), and every seed's own value."""

    mean: float
    deviation: float | None
    values: Mapping[int, float]


def parsed_seeds(text: str) -> tuple[int, ...]:
    """The seeds that are meant by "0..4" (both ends belong to it) or "0,3,7"."""
    if ends := RANGE.fullmatch(text):
        first, last = map(int, ends.groups())
        if first > last or last - first >= MOST:
            raise UsageError(
                f"--seeds {text} is no range of 1 to {MOST} seeds: the smaller one comes first, as in 0..4."
            )
        return tuple(range(first, last + 1))
    if not LIST.fullmatch(text):
        raise UsageError(f"--seeds {text!r}: expected a range such as 0..4, or a list such as 0,3,7.")
    seeds = tuple(map(int, text.split(",")))
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text} names a seed twice.")
    return seeds


def train_seeds(
    directory: Path,
    recipe: Recipe[Any],
    seeds: Sequence[int],
    domain: Domain,
    begin: Callable[[Path, Recipe[Any]], Run],
    train: Callable[[Run, bool], bool],
    *,
    world: World = ALONE,
    track: bool = True,
) -> str | None:
    """Train `recipe` under every seed, each run in a folder of its own under `directory`, and compare how they end.

    Runs that are finished are not trained again, a stopped one is gone on with. begin: makes a run's folder. train:
    trains it, to its end or until a signal, and is told whether to resume. Returns the summary, which is also of
    finished runs of other seeds that lie there, or None if a signal stopped a training: the same call then goes on with
    it. Raises, before anything is trained, where the folder holds something else, or runs of another recipe or data.
    """

    def announce() -> None:
        check_own(directory, "--run-name")
        known = _there(directory, domain)
        for run in known:
            check_same_recipe(run, replace(recipe, seed=int(run.directory.name.removeprefix("seed-"))), "--run-name")
            known[0].check_data(run.data["fingerprint"])
        announce_experiment(directory)

    world.first(announce, lambda: None)
    runs = []
    for seed in seeds:
        place, own = directory / f"seed-{seed}", replace(recipe, seed=seed)
        run = world.first(partial(_begun, place, own, domain, begin), partial(open_run, place, domain))
        if world.leads:
            say(f"{place.name}:")
        status = "FAILED"
        try:
            status = "FINISHED" if train(run, run.state_path.exists()) else "KILLED"
        finally:
            if status != "FINISHED" and world.leads and track:
                _tell(directory, status=status)
        if status == "KILLED":
            return None
        runs.append(run)
    if not world.leads:
        return ""
    for run in _there(directory, domain):
        if run.recipe.seed in seeds:
            continue
        if told := run.unfinished():
            say(f"{run.directory} is not named now and left out. {told}")
        else:
            runs.append(run)
    return summarise(directory, sorted(runs, key=lambda run: run.recipe.seed), track=track)


def _there(directory: Path, domain: Domain) -> list[Run]:
    """The runs of seeds that lie in a folder."""
    places = [path for path in directory.glob("seed-*") if PLACE.fullmatch(path.name) and (path / "run.json").exists()]
    return sorted((open_run(place, domain) for place in places), key=lambda run: run.recipe.seed)


def _begun(place: Path, recipe: Recipe[Any], domain: Domain, begin: Callable[[Path, Recipe[Any]], Run]) -> Run:
    if (place / "run.json").exists():
        return open_run(place, domain)
    others = _there(place.parent, domain)
    run = begin(place, recipe)
    try:
        for other in others:
            other.check_data(run.data["fingerprint"])
    except UsageError:
        shutil.rmtree(place)
        raise
    return run


def summarise(directory: Path, runs: Sequence[Run], *, track: bool = True) -> str:
    """Write how finished runs of one recipe end (summary.json, seeds.csv, seeds.md, seeds.png), and tell MLflow.

    Returns the table.
    """
    last = {run.recipe.seed: _last_validation(run) for run in runs}
    shared = [name for name in last[runs[0].recipe.seed] if all(name in own for own in last.values())]
    spreads = {name: _spread({seed: own[name] for seed, own in last.items()}) for name in shared}
    seeds = [run.recipe.seed for run in runs]
    label = label_in(runs[0].domain, runs[0].recipe)
    content = {"label": label, "seeds": seeds, "metrics": {name: asdict(spread) for name, spread in spreads.items()}}
    write_json(directory / SEEDS_SUMMARY, content)
    write_csv(
        directory / "seeds.csv",
        [{"seed": seed} | {name: spread.values[seed] for name, spread in spreads.items()} for seed in seeds],
    )
    table = _table(spreads, seeds)
    table += f"\n\n{sentence(label)}"
    write_text(directory / "seeds.md", table + "\n")
    for name in [name for name in spreads if name.startswith(PSNR)][-1:]:
        courses = {f"seed {run.recipe.seed}": run.metric(name) for run in runs}
        draw_courses(directory / "seeds.png", courses, f"validation PSNR of {name.removeprefix(PSNR)}, dB", label)
    if track:
        metrics = {name: spread.mean for name, spread in spreads.items()}
        metrics |= {
            _deviation(name): spread.deviation for name, spread in spreads.items() if spread.deviation is not None
        }
        _tell(directory, metrics=metrics | {"seeds": float(len(seeds))}, parameters=_common(runs))
    return table


def _tell(directory: Path, **what: Any) -> None:
    try:
        mirror_experiment(directory, directory, **what)
    except UsageError as error:
        say(f"{error} What is in {directory} is complete.")


def _last_validation(run: Run) -> dict[str, float]:
    """The metrics of a run's last evaluation that has any, without their intervals."""
    lines = (run.directory / METRICS).read_text(encoding="utf-8").splitlines()
    for entry in map(json.loads, reversed(lines)):
        found = {name: float(value) for name, value in entry.items() if name.startswith(VALIDATION)}
        if found:
            return {name: value for name, value in found.items() if not name.startswith((LOW, HIGH))}  # over images
    return {}


def _spread(values: Mapping[int, float]) -> Spread:
    deviation = statistics.stdev(values.values()) if len(values) > 1 else None
    return Spread(statistics.fmean(values.values()), deviation, values)


def _deviation(name: str) -> str:
    """validation/psnr/network → validation/psnr_sd/network."""
    kind, metric, method = name.split("/", 2)
    return f"{kind}/{metric}_sd/{method}"


def _common(runs: Sequence[Run]) -> dict[str, str]:
    """The parameters that all runs share; where they ran may change when more seeds are added."""
    each = [run.parameters() for run in runs]
    return {
        name: value
        for name, value in each[0].items()
        if not name.startswith("environment.") and all(own.get(name) == value for own in each)
    }


def _table(spreads: Mapping[str, Spread], seeds: Sequence[int]) -> str:
    lines = [f"| at the end, {len(seeds)} seeds | mean | standard deviation | lowest | highest |", "|" + " --- |" * 5]
    for name, spread in spreads.items():
        deviation = "" if spread.deviation is None else f"{spread.deviation:.3f}"
        values = spread.values.values()
        lines.append(
            f"| {name.removeprefix(VALIDATION)} | {spread.mean:.3f} | {deviation} | {min(values):.3f} | "
            f"{max(values):.3f} |"
        )
    return "\n".join(lines)
