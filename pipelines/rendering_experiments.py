"""Running an experiment on renderings: frames rendered, arms trained and scored, a table, a picture. It goes on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mri_n2n.data.selection import evenly_spread
from mri_n2n.drawing import draw_strips
from mri_n2n.durable import write_csv, write_text
from mri_n2n.parent_run import announce_experiment
from mri_n2n.progress import say
from mri_n2n.run_directory import Run, check_own, check_same_recipe, open_run
from pipelines.experiments import tell_tracker
from pipelines.figures import Curve, Panel, draw_curves
from pipelines.paper.renderings import Arm, RenderingExperiment, RenderingScale
from pipelines.rendering_results import Findings, results
from rendering.denoising import denoiser_of
from rendering.evaluation import Method, evaluate
from rendering.frames import FORMAT, FrameStore
from rendering.interiors.sets import InteriorSet, write_interiors
from rendering.production import FrameRequest, render_frames
from rendering.recipes import RENDERINGS
from rendering.renderer import chosen_variant, version
from rendering.report import example_row, open_image_denoise_methods
from rendering.scenes import find_scenes
from rendering.training import create_frames_run, frames_to_train_on, train_on_frames

SHOWN = 3


@dataclass(frozen=True)
class Studio:
    """Where scenes and frames are kept, and what renders and trains. scenes: somebody's own, or None for interiors.

    A folder of scenes has two parts, `training` and `validation`.
    """

    frames: Path
    scenes: Path | None
    device: torch.device
    variant: str = "auto"

    def scenes_of(self, scale: RenderingScale) -> Path:
        """The scenes: interiors are written if they are missing."""
        if self.scenes is not None:
            return self.scenes
        interiors = self.frames / f"interiors-{scale.name}"
        write_interiors(interiors, InteriorSet(*scale.scenes))
        return interiors

    def rendered(self, scenes: Path, request: FrameRequest, name: str, views_file: Path | None = None) -> FrameStore:
        """The frames of a request, from disk if they were rendered before: the folder's name is a hash of all of it."""
        found = [(scene.name, scene.sha256) for scene in find_scenes(scenes)]
        renderer = [chosen_variant(self.variant), version(), FORMAT]
        asked = [found, asdict(request), renderer, None if views_file is None else views_file.read_text()]
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
        place = self.frames / f"{name}-{key}"
        say(f"{place.name}:")
        return render_frames(scenes, place, request, variant=self.variant, views_file=views_file)


def run_rendering_experiment(
    experiment: RenderingExperiment, scale: RenderingScale, studio: Studio, folder: Path
) -> str | None:
    """Render what is not yet rendered, train what is not yet trained, score all, write table and pictures.

    Returns the text of results.md, or None if a signal stopped a training: the same call then goes on with it.
    """
    check_own(folder)
    methods: dict[str, Method] = dict(open_image_denoise_methods())  # what is not installed is missed now
    announce_experiment(folder)
    scenes = studio.scenes_of(scale)
    spp = f"{experiment.spp}spp"
    training = studio.rendered(scenes / "training", scale.training_frames(experiment), f"training-{spp}")
    validation = studio.rendered(scenes / "validation", scale.validation_frames(experiment), f"validation-{spp}")
    trained: dict[str, tuple[Run, ...]] = {}
    for arm in experiment.arms:
        for seed in scale.seeds:
            run = _trained(arm, seed, scale, training, validation, folder, studio.device)
            if run is None:
                return None
            trained[arm.title] = (*trained.get(arm.title, ()), run)
    seeds = {title: tuple(f"{title}, seed {run.recipe.seed}" for run in runs) for title, runs in trained.items()}
    for title, own in trained.items():
        methods |= {name: denoiser_of(run, studio.device) for name, run in zip(seeds[title], own, strict=True)}
    scores = evaluate(validation, methods)
    write_csv(folder / "views.csv", [asdict(score) for score in scores])
    text = results(Findings(experiment, scale, trained, seeds, scores, training, validation))
    _draw(experiment, trained, seeds, methods, validation, folder)
    write_text(folder / "results.md", text)
    tell_tracker(folder, folder)
    return text


def _trained(
    arm: Arm,
    seed: int,
    scale: RenderingScale,
    training: FrameStore,
    validation: FrameStore,
    folder: Path,
    device: torch.device,
) -> Run | None:
    recipe = scale.recipe(arm, seed)
    directory = folder / f"{slug(arm.title)}-seed-{seed}"
    say(f"{directory.name}:")
    if (directory / "run.json").exists():
        run = open_run(directory, RENDERINGS)
        check_same_recipe(run, recipe)
    else:
        frames_to_train_on(training.directory, recipe)
        run = create_frames_run(directory, recipe, training, device, validation=validation)
    ended = train_on_frames(run, training, device, validation=validation, resume=run.state_path.exists())
    return run if ended else None


def slug(title: str) -> str:
    """A title as a name for files: "l_hdr-t-x"."""
    words = title.lower().replace("x̂", "x").replace("ŷ", "y")
    return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in words).split())


def _draw(
    experiment: RenderingExperiment,
    trained: Mapping[str, Sequence[Run]],
    seeds: Mapping[str, Sequence[str]],
    methods: Mapping[str, Method],
    validation: FrameStore,
    folder: Path,
) -> None:
    """Views denoised by the first seed of every arm, and how the arms came to it."""
    shown = {title: methods[names[0]] for title, names in seeds.items()}
    rows = evenly_spread(validation.layout.frames, min(SHOWN, validation.layout.frames))
    draw_strips(folder / f"{experiment.name}.png", [example_row(validation, row, shown) for row in rows])
    curves = []
    for title, runs in trained.items():
        courses = [run.metric("validation/psnr/network")[1:] for run in runs]
        steps = [step for step, _ in courses[0]]
        means = [sum(value for _, value in at) / len(at) for at in zip(*courses, strict=True)]
        curves.append(Curve(title, steps, means))
    panel = Panel("held-out scenes", "steps", "PSNR, dB", curves)
    draw_curves(folder / "training.png", [panel], "PSNR of tone-mapped images of held-out scenes, mean over seeds.")
