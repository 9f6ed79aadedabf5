"""Running an experiment on photographs: its arms trained and scored, a table, a picture. Interrupted, it goes on."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import torch

from mri_n2n.durable import read_json, write_csv, write_json, write_text
from mri_n2n.errors import UNREADABLE, UsageError
from mri_n2n.evaluation import Estimate
from mri_n2n.progress import say
from mri_n2n.recipes import described
from mri_n2n.run_directory import Run, create_run, open_run
from mri_n2n.runs import spoken as spoken_duration
from mri_n2n.tracking import announce_experiment
from natural_images.captures import captured
from natural_images.datasets import ImageScenes, Scenes, index_folder, split
from natural_images.drawing import draw_strips
from natural_images.evaluation import (
    INPUT,
    Method,
    Score,
    TestImage,
    check_some,
    covered_share,
    difference,
    evaluate,
    images_of_sets,
    network_method,
    read_reference,
    realisation_of,
    table,
)
from natural_images.image_files import BadImage, digest
from natural_images.noise import Bernoulli, NoiseModel
from natural_images.recipes import PHOTOGRAPHS, spoken
from natural_images.report import INTERVAL, classical, restored_row
from natural_images.training import crops_of, train_on_crops, validation_pairs
from pipelines.experiments import check_own, tell_tracker
from pipelines.figures import Curve, Panel, draw_curves
from pipelines.paper.photographs import Arm, PhotographExperiment

FORMAT = "photograph scores 1"
SCORES = "scores"

Scores = dict[NoiseModel, list[Score]]


@dataclass(frozen=True)
class Bench:
    """What an experiment is run with: photographs to train on, test images, folders, a device."""

    scenes: ImageScenes
    tests: Sequence[TestImage]
    runs: Path
    results: Path
    device: torch.device
    baseline: bool
    prior_steps: int

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of every test image."""
        return {f"{test.set}/{test.name}": digest(test.path) for test in self.tests}

    def classical(self, noise: NoiseModel) -> dict[str, Method]:
        """The classical methods that are wanted for a noise."""
        return classical(noise, self.device, self.prior_steps) if self.baseline else {}


@dataclass(frozen=True)
class Outcome:
    """The text of results.md, and the test images that could not be used."""

    text: str
    left_out: list[str]


def run_photograph_experiment(
    experiment: PhotographExperiment,
    training: Path,
    test_sets: Sequence[Path],
    folder: Path,
    device: torch.device,
    *,
    runs: Path,
    baseline: bool,
) -> Outcome | None:
    """Train in `runs` what is not yet trained, score it, write table, scores and picture into `folder`.

    Test images must not be among the training images; those that cannot be used are told and left out.
    Returns None if a signal stopped a training: the same call then goes on with it.
    """
    for place in (folder, runs):
        check_own(place)
    scenes, found = index_folder(training), images_of_sets(test_sets)
    tests = [test for test in found if _usable(test)]
    bench = Bench(scenes, tests, runs, folder, device, baseline, experiment.prior_steps)
    for arm in experiment.arms:
        bench.classical(arm.test)  # a method that is not installed is missed now, and not after the training
    seen = next((name for name, known in bench.digests.items() if known in scenes.digests), None)
    if seen:
        raise UsageError(f"the test image {seen} is among the training images. Choose others.")
    for place in (folder, runs):
        announce_experiment(place)
    trained: dict[Arm, Run] = {}
    for arm in experiment.arms:
        run = _trained(arm, bench)
        if run is None:
            return None
        trained[arm] = run
    scores = _scored(trained, bench)
    tested = _tested(bench, scores)
    left_out = [f"{test.set}/{test.name}" for test in found if test not in tested]
    text = _results(experiment, trained, scores, bench, tested, left_out)
    write_text(folder / "results.md", text)
    write_csv(
        folder / "scores.csv", [{"noise": spoken(noise), **asdict(s)} for noise, own in scores.items() for s in own]
    )
    _draw(experiment, trained, scores, bench, tested)
    tell_tracker(runs, folder)
    return Outcome(text, left_out)


def _usable(test: TestImage) -> bool:
    """Whether a test image can be decoded; if not, it is told."""
    try:
        read_reference(test, 3)
    except BadImage as error:
        say(f"left out: {error}")
        return False
    return True


def _tested(bench: Bench, scores: Scores) -> list[TestImage]:
    """The test images that could be scored under every noise."""
    usable = [{(score.set, score.image) for score in own} for own in scores.values()]
    return [test for test in bench.tests if all((test.set, test.name) in own for own in usable)]


def _slug(noise: NoiseModel, title: str) -> str:
    """A name for files: "gaussian-sigma-25-noisy-targets"."""
    words = f"{spoken(noise)} {title}".lower().replace("σ", "sigma").replace("λ", "lambda")
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in words).split())


def _trained(arm: Arm, bench: Bench) -> Run | None:
    """The finished run of an arm: begun, gone on with, or found done."""
    directory = bench.runs / _slug(arm.test, arm.title)
    training, held_out = split(len(bench.scenes))
    scenes: Scenes = bench.scenes
    rows = training
    if arm.captures is not None:
        name = f"captures-{arm.captures.latents}x{arm.captures.realisations}"
        scenes = captured(bench.runs / name, arm.captures, bench.scenes, training)
        rows = list(range(len(scenes)))
    if (directory / "run.json").exists():
        run = open_run(directory, PHOTOGRAPHS)
        if described(run.recipe) != described(arm.recipe):
            raise UsageError(f"{directory} holds a run of another recipe. Choose another --output.")
    else:
        about = {
            "fingerprint": scenes.fingerprint,
            "training_images": len(rows),
            "held_out_images": len(held_out),
            "left_out_images": bench.scenes.bad,
        }
        run = create_run(directory, arm.recipe, about, bench.device, PHOTOGRAPHS)
    say(f"{directory.name}:")
    validation = validation_pairs(bench.scenes, held_out, crops_of(arm.recipe).channels, arm.test)
    ended = train_on_crops(run, scenes, rows, validation, bench.device, resume=run.state_path.exists())
    return run if ended else None


def _scored(trained: Mapping[Arm, Run], bench: Bench) -> Scores:
    """All scores by the noise of the test: the input, the classical method if wanted, every arm."""
    scores: Scores = {}
    for noise in dict.fromkeys(arm.test for arm in trained):
        scores[noise] = []
        for name, method in bench.classical(noise).items():
            identity = f"classical, {_bm3d()}, {bench.prior_steps} steps"
            scores[noise] += _kept(name, identity, method, noise, bench)
        for arm, run in trained.items():
            if arm.test == noise:
                method = network_method(run.network().to(bench.device), bench.device)
                own = _kept(arm.title, str(run.provenance()["weights_sha256"]), method, noise, bench)
                scores[noise] += own if not scores[noise] else [score for score in own if score.method != INPUT]
    return scores


def _bm3d() -> str:
    return f"bm3d {version('bm3d')}" if find_spec("bm3d") else "no bm3d"


def _kept(title: str, identity: str, method: Method, noise: NoiseModel, bench: Bench) -> list[Score]:
    """The scores of one method, and the input's: measured, or kept from an earlier call on the same weights and images.

    Kept image by image: an evaluation that is stopped goes on.
    """
    path = bench.results / SCORES / f"{_slug(noise, title)}.json"
    key = {"format": FORMAT, "method": identity, "noise": described(noise), "images": bench.digests}
    try:
        content = read_json(path, "scores")
        known = [Score(**score) for score in content["scores"]] if content["key"] == json.loads(json.dumps(key)) else []
    except (UsageError, *UNREADABLE):
        known = []
    done = {(score.set, score.image) for score in known}
    missing = [test for test in bench.tests if (test.set, test.name) not in done]

    def keep(scores: list[Score]) -> None:
        known.extend(scores)
        write_json(path, {"key": key, "scores": [asdict(score) for score in known]})

    if missing:
        say(f"{spoken(noise)}: {title}")
        evaluate(missing, 3, noise, {title: method}, keep=keep)
    check_some(known)
    return known


def _results(
    experiment: PhotographExperiment,
    trained: Mapping[Arm, Run],
    scores: Scores,
    bench: Bench,
    tested: Sequence[TestImage],
    left_out: Sequence[str],
) -> str:
    """Markdown: the scores and differences, and how they were measured."""
    notes = [note for note in (experiment.caution, experiment.note) if note]
    if bench.baseline and not bench.prior_steps and any(isinstance(noise, Bernoulli) for noise in scores):
        notes.append("The deep image prior, hours per image on a CPU, is left out at this scale.")
    if left_out:
        notes.append(f"Test images that could not be used: {', '.join(left_out)}.")
    lines = [f"# {experiment.name}", "", *(line for note in notes for line in (note, ""))]
    for noise, own in scores.items():
        first, *others = [arm.title for arm in trained if arm.test == noise]
        lines += [f"## {spoken(noise)}", "", table(own), "", "| difference | dB |", "| --- | --- |"]
        lines += [f"| {other} − {first} | {_signed(difference(own, other, first))} |" for other in others]
        compared = [name for name in dict.fromkeys(s.method for s in own) if name not in (INPUT, first, *others)]
        lines += [
            f"| {arm} − {name} | {_signed(difference(own, arm, name))} |"
            for name in (*compared, INPUT)
            for arm in (first, *others)
        ]
        lines.append("")
        share = covered_share(tested, 3, noise)
        if share is not None:
            lines += [f"Pixels that the noise replaced or took: {share:.4f} of all.", ""]
        if experiment.figure == "curves":
            lines += [*_course(noise, trained), ""]
    run = next(iter(trained.values()))
    optimisation, crops = run.recipe.optimisation, crops_of(run.recipe)
    steps = sorted({own.recipe.optimisation.steps for own in trained.values()})
    times = ", ".join(
        f"{_slug(arm.test, arm.title)} {spoken_duration(own.training_seconds())}" for arm, own in trained.items()
    )
    images = ", ".join(sorted({str(own.data["training_images"]) for own in trained.values()}))
    where = run.environment
    tested_images = {(score.set, score.image) for own in scores.values() for score in own}
    sets = Counter(name for name, _ in sorted(tested_images))
    counted = ", ".join(f"{name} ({count})" for name, count in sets.items())
    lines += [
        f"Brackets: {INTERVAL}; one training per arm, seed {run.recipe.seed}. PSNR per image, rounded and clipped to 8 "
        f"bit. Tested on {counted}. Trained on {images} images (crops of {crops.size}), {' or '.join(map(str, steps))} "
        f"steps of {optimisation.batch_size}, {'bf16' if optimisation.bf16 else 'fp32'}, on {where['hardware']} (torch "
        f"{where['torch']}). Training time: {times}.",
        "",
    ]
    return "\n".join(lines)


def _course(noise: NoiseModel, trained: Mapping[Arm, Run]) -> list[str]:
    """Markdown: how soon and how far each arm of a noise got. The slower of two has the lower mean over its course."""
    lines = ["| held-out images, dB | mean over the course | end |", "| --- | --- | --- |"]
    for arm, run in trained.items():
        if arm.test == noise:
            values = [value for _, value in _curve(run)]
            lines.append(f"| {arm.title} | {fmean(values):.2f} | {values[-1]:.2f} |")
    return lines


def _curve(run: Run) -> list[tuple[int, float]]:
    """The steps and the PSNR of held-out images; without the untrained network's, which would set the scale."""
    return run.metric("validation/psnr/network")[1:]


def _signed(value: Estimate) -> str:
    return f"{value:+.2f}"


def _draw(
    experiment: PhotographExperiment,
    trained: Mapping[Arm, Run],
    scores: Scores,
    bench: Bench,
    tests: Sequence[TestImage],
) -> None:
    path = bench.results / f"{experiment.name}.png"
    if path.exists() and path.stat().st_mtime >= max(file.stat().st_mtime for file in _score_files(bench)):
        return  # drawn from these scores: the methods need not run again
    if experiment.figure == "sweep":
        panels = [_sweep(scores, experiment.arms[0].title)]
        draw_curves(path, panels, f"One network per level and loss; bands: {INTERVAL}.")
        return
    if experiment.figure == "curves":
        panels = [_convergence(noise, trained) for noise in scores]
        draw_curves(path, panels, "PSNR of held-out images while training.")
    rows = []
    for noise in scores:
        reference = read_reference(tests[len(tests) // 5], 3)
        methods = {
            arm.title: network_method(run.network().to(bench.device), bench.device)
            for arm, run in trained.items()
            if arm.test == noise
        }
        _, images = restored_row(reference, realisation_of(noise, reference), bench.classical(noise) | methods)
        rows.append((spoken(noise), images))
    draw_strips(path if experiment.figure == "examples" else bench.results / "examples.png", rows)


def _score_files(bench: Bench) -> Iterator[Path]:
    return (bench.results / SCORES).glob("*.json")


def _convergence(noise: NoiseModel, trained: Mapping[Arm, Run]) -> Panel:
    curves = []
    for arm, run in trained.items():
        if arm.test == noise:
            steps, values = zip(*_curve(run), strict=True)
            curves.append(Curve(arm.title, steps, values))
    return Panel(spoken(noise), "steps", "PSNR, dB", curves)


def _sweep(scores: Scores, first: str) -> Panel:
    """Every arm's difference to the first over the level of the noise."""
    by_method: dict[str, dict[float, Estimate]] = {}
    for noise, own in scores.items():
        for title in dict.fromkeys(s.method for s in own if s.method not in (INPUT, first)):  # not all at every level
            by_method.setdefault(title, {})[noise.low] = difference(own, title, first)
    curves = []
    for title, values in by_method.items():
        means = [value.mean for value in values.values()]
        low = [value.mean if value.low is None else value.low for value in values.values()]
        high = [value.mean if value.high is None else value.high for value in values.values()]
        curves.append(Curve(title, list(values), means, low, high))
    return Panel("random-valued impulses", "share p of replaced pixels", f"PSNR against {first}, dB", curves)
