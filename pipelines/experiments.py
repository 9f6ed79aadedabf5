"""Running an experiment: every arm trained and scored, a table with intervals, a picture. Interrupted, it goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mri_n2n import environment
from mri_n2n.baselines import TotalVariation
from mri_n2n.data.slices import PreparedData
from mri_n2n.drawing import draw_scores
from mri_n2n.durable import write_text
from mri_n2n.errors import UsageError
from mri_n2n.evaluation import (
    CONSISTENT,
    INPUT,
    PLAIN,
    ZERO_FILLED,
    Method,
    evaluable,
    evaluate,
    label_for,
    methods_for,
)
from mri_n2n.intervals import Estimate
from mri_n2n.parent_run import announce_experiment, mirror_experiment
from mri_n2n.progress import say, spoken
from mri_n2n.recipes import Experiment, Recipe, described
from mri_n2n.report import draw_slices
from mri_n2n.run_directory import Run, check_same_recipe, open_run
from mri_n2n.scores import Score, differences, summarised, write_scores
from mri_n2n.slice_training import create_slice_run, train_on_slices

PLAINLY = ", no replacement"


@dataclass(frozen=True)
class Outcome:
    """What an experiment found: the scores of all methods, the table and where everything lies."""

    scores: list[Score]
    table: str
    directory: Path


def run_experiment(
    experiment: Experiment, data_path: Path, data: PreparedData, directory: Path, device: torch.device
) -> Outcome | None:
    """Train what is not yet trained, score all arms on the same masks, and write tables and pictures into `directory`.

    Returns None if a signal stopped a training: the same call then goes on with it.
    """
    runs: dict[str, Run] = {}
    arms: dict[str, list[str]] = {}
    announce_experiment(directory)
    for arm, recipes in experiment.arms.items():
        for recipe in recipes:
            title = arm if len(recipes) == 1 else f"{arm}, seed {recipe.seed}"
            run = _trained(recipe, directory / title.replace(", ", "-").replace(" ", "-"), data_path, data, device)
            if run is None:
                return None
            runs[title] = run
            arms.setdefault(arm, []).append(title)
    first = next(iter(runs.values()))
    methods = _compared(runs, device)
    scores = evaluate(data, evaluable(first.recipe), methods, device)
    found = _differences(arms, scores)
    label = label_for(first.recipe)
    about = {
        "label": label,
        "experiment": experiment.name,
        "tested_on": data.manifest.fingerprint,
        "differences": {name: asdict(value) for name, value in found.items()},
        "training_seconds": {title: run.training_seconds() for title, run in runs.items()},
        "environment": environment.description(device),
    }
    write_scores(directory, scores, about)
    table = _table(experiment, runs, scores, found, label)
    write_text(directory / "results.md", table)
    draw_scores(directory / "scores.png", scores, label)
    shown = {name: method for name, method in methods.items() if name == INPUT or name in runs}
    draw_slices(directory / f"{experiment.name}.png", data, first.recipe, shown, device)
    tell_tracker(directory, directory)
    return Outcome(scores, table, directory)


def tell_tracker(runs: Path, results: Path) -> None:
    """Give MLflow the tables and pictures of an experiment; say so where it does not take them."""
    try:
        mirror_experiment(runs, results)
    except UsageError as error:
        say(f"{error} The results in {results} are complete.")


def _trained(recipe: Recipe[Any], directory: Path, path: Path, data: PreparedData, device: torch.device) -> Run | None:
    """The finished run of `recipe` in `directory`: begun, gone on with, or found done."""
    begun = (directory / "run.json").exists()
    run = open_run(directory) if begun else create_slice_run(directory, recipe, path, data, device)
    check_same_recipe(run, recipe)
    say(f"{directory.name}:")
    return run if train_on_slices(run, data, device, resume=run.state_path.exists()) else None


def _compared(runs: Mapping[str, Run], device: torch.device) -> dict[str, Method]:
    """The naive and classical reconstructions, and every network with and without replacement."""
    methods: dict[str, Method] = {}
    for title, run in runs.items():
        own = methods_for(run.recipe, run.network().to(device), classical=TotalVariation())
        methods |= {
            name: method for name, method in own.items() if name not in (PLAIN, CONSISTENT) and name not in methods
        }
        methods[title + PLAINLY] = own[PLAIN]
        methods[title] = own[CONSISTENT]
    return methods


def _differences(arms: Mapping[str, Sequence[str]], scores: Sequence[Score]) -> dict[str, Estimate]:
    """PSNR differences, slice by slice and seed by seed: every arm against the better zero-filled image, the first arm
    against the others, and every network against itself without replacement."""
    means = {method: values["psnr"].mean for method, values in summarised(scores).items()}
    naive = max((INPUT, ZERO_FILLED), key=lambda name: means[name])
    first, *others = arms
    found = {f"{arm} − {naive}": differences(scores, [(own, naive) for own in titles]) for arm, titles in arms.items()}
    for arm in others:
        found[f"{first} − {arm}"] = differences(scores, list(zip(arms[first], arms[arm], strict=True)))
    for arm, titles in arms.items():
        found[f"{arm}: replacement − none"] = differences(scores, [(own, own + PLAINLY) for own in titles])
    return found


def _table(
    experiment: Experiment,
    runs: Mapping[str, Run],
    scores: Sequence[Score],
    found: Mapping[str, Estimate],
    label: str,
) -> str:
    """Markdown: the scores and differences, and how they were measured."""
    run = next(iter(runs.values()))
    optimisation, where = run.recipe.optimisation, run.environment
    density = described(run.recipe.task.corruption)
    kept = (
        f"1/{density['acceleration']:g}"
        if density["acceleration"]
        else f"p = {density['edge_probability']} at the edge"
    )
    lines = [
        f"# {experiment.name}",
        "",
        f"{label[0].upper()}{label[1:]}.",
        "",
        "| method | PSNR dB | SSIM | NMSE |",
        "| --- | --- | --- | --- |",
    ]
    for method, metrics in summarised(scores).items():
        lines.append(f"| {method} | {metrics['psnr']} | {metrics['ssim']:.4f} | {metrics['nmse']:.4f} |")
    lines += [
        "",
        "| PSNR difference | dB |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in found.items()),
    ]
    slices, subjects = len({(s.subject, s.slice) for s in scores}), len({s.subject for s in scores})
    seeds = ", ".join(map(str, sorted({own.recipe.seed for own in runs.values()})))
    times = ", ".join(f"{title} {spoken(own.training_seconds())}" for title, own in runs.items())
    height, width = run.data["size"]
    lost = next((own.data["ht_lost_weight"] for own in runs.values() if "ht_lost_weight" in own.data), None)
    lines += [
        "",
        *([f"The ht loss's cap of 1/p takes {100 * lost:.2f} % of its weight.", ""] if lost is not None else []),
        f"Brackets: 95 % bootstrap interval over {subjects} subjects ({slices} slices). Trained on "
        f"{run.data['training_slices']} slices of {height}×{width}, sampling {kept}, {optimisation.steps} steps of "
        f"{optimisation.batch_size}, seed {seeds}, on {where['hardware']} (torch {where['torch']}). "
        f"Training time: {times}.",
        "",
    ]
    return "\n".join(lines)
