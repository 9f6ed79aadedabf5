"""What an experiment on renderings found: tables in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mri_n2n.progress import spoken
from mri_n2n.run_directory import Run
from pipelines.paper.renderings import RenderingExperiment, RenderingScale
from rendering.evaluation import INPUT, INTERVAL, Score, difference, mean_of
from rendering.frames import FrameStore
from rendering.report import CAUTION, WITH_FEATURES, WITHOUT


@dataclass(frozen=True)
class Findings:
    """An experiment's runs and their names among the scores, by the title of their arm, and the frames."""

    experiment: RenderingExperiment
    scale: RenderingScale
    trained: Mapping[str, Sequence[Run]]
    seeds: Mapping[str, Sequence[str]]
    scores: Sequence[Score]
    training: FrameStore
    validation: FrameStore


def results(found: Findings) -> str:
    """Markdown: scores and differences, and how they were measured."""
    experiment, scores = found.experiment, found.scores
    notes = [note for note in (found.scale.caution, experiment.note) if note]
    lines = [f"# {experiment.name}", "", *(line for note in notes for line in (note, ""))]
    lines += ["| method | PSNR, dB | seeds | brightness |", "| --- | --- | --- | --- |"]
    named = {INPUT: (INPUT,), **found.seeds, WITHOUT: (WITHOUT,), WITH_FEATURES: (WITH_FEATURES,)}
    for title, names in named.items():
        quality, brightness = (mean_of(scores, names, metric) for metric in ("psnr", "brightness"))
        means = [mean_of(scores, [name]).mean for name in names]
        lines.append(f"| {title} | {quality} | {_range(means, '.2f')} | {brightness:.3f} |")
    lines += ["", "| difference | dB | seeds |", "| --- | --- | --- |"]
    for one, other in (*experiment.differences, *((title, INPUT) for title in found.seeds)):
        first = found.seeds[one]
        second = found.seeds.get(other, (other,) * len(first))
        means = [difference(scores, [a], [b]).mean for a, b in zip(first, second, strict=True)]
        lines.append(f"| {one} − {other} | {difference(scores, first, second):+.2f} | {_range(means, '+.2f')} |")
    return "\n".join([*lines, "", _how(found), "", CAUTION, ""])


def _range(means: Sequence[float], form: str) -> str:
    """The least and the largest of the seeds' means."""
    return f"{min(means):{form}} to {max(means):{form}}" if len(means) > 1 else ""


def _how(found: Findings) -> str:
    scale, run = found.scale, next(iter(found.trained.values()))[0]
    height, width = found.training.layout.size
    clean = f", clean targets of {scale.clean_spp} spp" if found.experiment.clean else ""
    times = [own.training_seconds() for runs in found.trained.values() for own in runs]
    counted = [found.training.counted(what) + found.validation.counted(what) for what in ("replaced", "clamped")]
    peaks = {own.recipe.optimisation.schedule.peak for runs in found.trained.values() for own in runs}
    rates = " or ".join(f"{rate:g}" for rate in sorted(peaks))
    return (
        f"Brackets: {INTERVAL} ({found.validation.layout.frames} of {len(found.validation.rows())} held-out scenes), "
        f"the mean of {len(scale.seeds)} seeds; seeds: the least and the largest of their means. PSNR of tone-mapped "
        "images; brightness: their mean beside the reference's. "
        f"Input and noisy target: {found.experiment.spp} samples per pixel; reference: {scale.reference_spp}{clean}. "
        f"Trained on {found.training.layout.frames} frames of {width}×{height} of {len(found.training.rows())} scenes, "
        f"{scale.steps} steps of {scale.batch_size} crops of {scale.crop}, width {scale.width}, rate {rates}. "
        f"Each training {spoken(fmean(times))} on {run.environment['hardware']} (torch {run.environment['torch']}). "
        f"Pixels that the renderer left without a number: {counted[0]}; values clamped: {counted[1]}."
    )
