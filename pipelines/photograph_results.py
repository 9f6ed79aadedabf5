"""What an experiment on photographs found: tables in Markdown, and pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from mri_n2n.drawing import draw_strips
from mri_n2n.intervals import Estimate
from mri_n2n.progress import spoken as spoken_duration
from mri_n2n.run_directory import Run
from natural_images.evaluation import (
    INPUT,
    Method,
    Score,
    TestImage,
    covered_share,
    difference,
    read_reference,
    realisation_of,
    table,
)
from natural_images.noise import NoiseModel, at_level
from natural_images.recipes import slug, spoken
from natural_images.report import INTERVAL, restored_row
from natural_images.tasks import SyntheticNoise
from natural_images.training import crops_of
from pipelines.figures import Curve, Panel, draw_curves
from pipelines.paper.photographs import Arm, PhotographExperiment


@dataclass(frozen=True)
class Findings:
    """An experiment's trained arms, their scores by the noise of the test, and the test images.

    left_out: those that could not be used. without_prior: the deep image prior was wanted and is left out.
    """

    experiment: PhotographExperiment
    trained: Mapping[Arm, Run]
    scores: Mapping[NoiseModel, Sequence[Score]]
    tested: Sequence[TestImage]
    left_out: Sequence[str]
    without_prior: bool


def results(found: Findings) -> str:
    """Markdown: the scores and differences, and how they were measured."""
    experiment, trained, scores = found.experiment, found.trained, found.scores
    notes = [note for note in (experiment.caution, experiment.note) if note]
    if found.without_prior:
        notes.append("The deep image prior, hours per image on a CPU, is left out at this scale.")
    if found.left_out:
        notes.append(f"Test images that could not be used: {', '.join(found.left_out)}.")
    lines = [f"# {experiment.name}", "", *(line for note in notes for line in (note, ""))]
    for noise, own in scores.items():
        first, *others = [arm.title for arm in trained if arm.test == noise]
        lines += [f"## {spoken(noise)}", "", table(own), "", "| difference | dB |", "| --- | --- |"]
        arms = [(other, first) for other in others] + [(later, earlier) for earlier, later in pairwise(others)]
        lines += [f"| {one} − {other} | {_signed(difference(own, one, other))} |" for one, other in arms]
        compared = [name for name in dict.fromkeys(s.method for s in own) if name not in (INPUT, first, *others)]
        lines += [
            f"| {arm} − {name} | {_signed(difference(own, arm, name))} |"
            for name in (*compared, INPUT)
            for arm in (first, *others)
        ]
        lines.append("")
        share = covered_share(found.tested, 3, noise)
        if share is not None:
            lines += [f"The noise replaced or took {share:.2%} of the test images' pixels.", ""]
        if experiment.figure == "curves":
            lines += [*_course(noise, trained), ""]
    run = next(iter(trained.values()))
    optimisation, crops = run.recipe.optimisation, crops_of(run.recipe)
    steps = sorted({own.recipe.optimisation.steps for own in trained.values()})
    times = ", ".join(
        f"{slug(arm.test, arm.title)} {spoken_duration(own.training_seconds())}" for arm, own in trained.items()
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
        _trained_how(trained),
        "",
    ]
    return "\n".join(lines)


def _trained_how(trained: Mapping[Arm, Run]) -> str:
    """The networks, the rate and the levels of the noise: what differs from scale to scale."""
    recipes = [run.recipe for run in trained.values()]
    networks = {f"{type(r.network).__name__.removesuffix('Spec')} of {r.network.width} feature maps" for r in recipes}
    rates = [r.optimisation.schedule for r in recipes]
    schedules = {f"{rate.peak:g}, falling over the last {rate.ramp_down:g} of the run" for rate in rates}
    noises = [r.task.corruption.noise for r in recipes if isinstance(r.task.corruption, SyntheticNoise)]
    levels = {f"{spoken(at_level(n, n.low))} to {n.high:g}" for n in noises if n.low < n.high}
    trained_with = f" Noise in training: {', '.join(sorted(levels))}." if levels else ""
    return f"Networks: {', '.join(sorted(networks))}; rate {', '.join(sorted(schedules))}.{trained_with}"


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


def draw(found: Findings, methods: Mapping[NoiseModel, Mapping[str, Method]], path: Path) -> None:
    """The experiment's figure as PNG; beside curves, also examples.png. methods: by title, under each noise."""
    figure, caution = found.experiment.figure, found.experiment.caution
    if figure == "sweep":
        panel = _sweep(found.scores, found.experiment.arms[0].title)
        draw_curves(path, [panel], f"One network per level and loss; bands: {INTERVAL}. {caution}")
        return
    if figure == "curves":
        panels = [_convergence(noise, found.trained) for noise in found.scores]
        draw_curves(path, panels, f"PSNR of held-out images while training. {caution}")
    reference = read_reference(found.tested[len(found.tested) // 5], 3)
    rows = [
        (spoken(noise), restored_row(reference, realisation_of(noise, reference), own)[1])
        for noise, own in methods.items()
    ]
    draw_strips(path if figure == "examples" else path.with_name("examples.png"), rows, caution)


def _convergence(noise: NoiseModel, trained: Mapping[Arm, Run]) -> Panel:
    curves = []
    for arm, run in trained.items():
        if arm.test == noise:
            steps, values = zip(*_curve(run), strict=True)
            curves.append(Curve(arm.title, steps, values))
    return Panel(spoken(noise), "steps", "PSNR, dB", curves)


def _sweep(scores: Mapping[NoiseModel, Sequence[Score]], first: str) -> Panel:
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
