"""Running an experiment on photographs: its arms trained and scored, a table, a picture. Interrupted, it goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mri_n2n.durable import write_csv, write_text
from mri_n2n.errors import UsageError
from mri_n2n.parent_run import announce_experiment
from mri_n2n.progress import say
from mri_n2n.run_directory import Run, check_own, check_same_recipe, create_run, open_run
from natural_images.captures import captured
from natural_images.datasets import ImageScenes, Scenes, index_folder, split
from natural_images.evaluation import Method, TestImage, digests_of, evaluate, images_of_sets, read_reference
from natural_images.image_files import BadImage
from natural_images.noise import Bernoulli, NoiseModel
from natural_images.recipes import PHOTOGRAPHS, slug, spoken
from natural_images.report import SCORES, classical, method_of
from natural_images.training import crops_of, train_on_crops, validation_pairs
from pipelines.experiments import tell_tracker
from pipelines.paper.photographs import Arm, PhotographExperiment
from pipelines.photograph_results import Findings, draw, results


@dataclass(frozen=True)
class Bench:
    """What an experiment's arms are run with: photographs to train on, a folder for runs, a device."""

    scenes: ImageScenes
    runs: Path
    device: torch.device
    baseline: bool
    prior_steps: int

    def classical(self, noise: NoiseModel) -> dict[str, Method]:
        """The classical methods that are wanted for a noise."""
        return classical(noise, self.device, self.prior_steps) if self.baseline else {}

    def methods(self, noise: NoiseModel, trained: Mapping[Arm, Run]) -> dict[str, Method]:
        """All that are compared under a noise, by their titles."""
        networks = {arm.title: method_of(run, self.device) for arm, run in trained.items() if arm.test == noise}
        return self.classical(noise) | networks


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
    if not tests:
        raise UsageError("none of the test images can be used. What is wrong with each is told above.")
    bench = Bench(scenes, runs, device, baseline, experiment.prior_steps)
    for arm in experiment.arms:
        bench.classical(arm.test)  # a method that is not installed is missed now, and not after the training
    seen = next((name for name, known in digests_of(tests).items() if known in scenes.digests), None)
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
    methods = {noise: bench.methods(noise, trained) for noise in dict.fromkeys(arm.test for arm in trained)}
    scores = {noise: evaluate(tests, 3, noise, own, folder / SCORES) for noise, own in methods.items()}
    scorable = [{(score.set, score.image) for score in own} for own in scores.values()]
    tested = [test for test in tests if all((test.set, test.name) in own for own in scorable)]
    left_out = [test.label for test in found if test not in tested]
    without_prior = baseline and not experiment.prior_steps and any(isinstance(noise, Bernoulli) for noise in scores)
    findings = Findings(experiment, trained, scores, tested, left_out, without_prior)
    text, page = results(findings), folder / "results.md"
    rows = [{"noise": spoken(noise), **asdict(score)} for noise, own in scores.items() for score in own]
    write_csv(folder / "scores.csv", rows)
    drawn = folder / f"{experiment.name}.png"
    if not (drawn.exists() and page.exists() and page.read_text(encoding="utf-8") == text):
        draw(findings, methods, drawn)
        write_text(page, text)  # last: the pictures beside it are of these results, and the methods need not run again
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


def _trained(arm: Arm, bench: Bench) -> Run | None:
    """The finished run of an arm: begun, gone on with, or found done."""
    directory = bench.runs / slug(arm.test, arm.title)
    training, held_out = split(len(bench.scenes))
    scenes: Scenes = bench.scenes
    rows = training
    if arm.captures is not None:
        name = f"captures-{arm.captures.latents}x{arm.captures.realisations}"
        scenes = captured(bench.runs / name, arm.captures, bench.scenes, training)
        rows = list(range(len(scenes)))
    if (directory / "run.json").exists():
        run = open_run(directory, PHOTOGRAPHS)
        check_same_recipe(run, arm.recipe)
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
