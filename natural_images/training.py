"""Training on photographs: how runs are begun, fed and watched over."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mri_n2n.drawing import Picture, draw_strips, illustrated, middle
from mri_n2n.durable import write_text
from mri_n2n.errors import UsageError
from mri_n2n.illustrations import Illustration, Watch, watching
from mri_n2n.intervals import Estimate, estimate
from mri_n2n.metrics import quality_of
from mri_n2n.recipes import Recipe
from mri_n2n.restoration import restored
from mri_n2n.run_directory import Run, create_run
from mri_n2n.run_files import LEFT_OUT
from mri_n2n.runs import run_training
from mri_n2n.scores import as_metrics
from mri_n2n.training.task import TrainingPair
from mri_n2n.training.world import ALONE, World
from natural_images.crops import CropLoader, Crops
from natural_images.datasets import Channels, ImageScenes, Scenes, as_images, index_folder, index_pairs, split
from natural_images.evaluation import INPUT, Reference, realisation_of
from natural_images.noise import NoiseModel, at_level
from natural_images.recipes import PHOTOGRAPHS
from natural_images.tasks import SyntheticNoise

DRAWN = 3


def indexed(paths: Sequence[Path]) -> ImageScenes:
    """The scenes of one folder of images, or of two folders of exposures."""
    return index_folder(paths[0]) if len(paths) == 1 else index_pairs(paths[0], paths[1])


def create_photograph_run(
    directory: Path,
    recipe: Recipe[Any],
    paths: Sequence[Path],
    scenes: ImageScenes,
    device: torch.device,
    *,
    overwrite: bool = False,
) -> Run:
    """A new run on the images that `paths` hold."""
    training, held_out = split(len(scenes))
    about = {
        "paths": [str(path.resolve()) for path in paths],
        "fingerprint": scenes.fingerprint,
        "training_images": len(training),
        "held_out_images": len(held_out),
        "left_out_images": scenes.bad,
    }
    run = create_run(directory, recipe, about, device, PHOTOGRAPHS, overwrite=overwrite)
    if scenes.left_out:
        write_text(directory / LEFT_OUT, "\n".join(scenes.left_out) + "\n")
    return run


def train_on_photographs(
    run: Run,
    scenes: Scenes,
    device: torch.device,
    *,
    resume: bool = False,
    save_seconds: float = 60.0,
    track: bool = True,
    world: World = ALONE,
    report: Watch | None = None,
) -> bool:
    """Train `run` on the scenes it was begun with, one in twenty held out; see `run_training`."""
    training, held_out = split(len(scenes))
    channels = crops_of(run.recipe).channels
    validation = validation_pairs(scenes, held_out, channels, noise_to_test(run.recipe))
    return train_on_crops(
        run,
        scenes,
        training,
        validation,
        device,
        resume=resume,
        save_seconds=save_seconds,
        track=track,
        world=world,
        report=report,
    )


def train_on_crops(
    run: Run,
    scenes: Scenes,
    rows: Sequence[int],
    validation: Sequence[TrainingPair],
    device: torch.device,
    *,
    resume: bool = False,
    save_seconds: float = 60.0,
    track: bool = True,
    world: World = ALONE,
    report: Watch | None = None,
) -> bool:
    """Train `run` on crops of some scenes, watched over by pairs of one image each."""
    run.check_data(scenes.fingerprint)
    recipe = run.recipe
    loader = CropLoader(
        scenes, rows, crops_of(recipe), recipe.optimisation.batch_size, recipe.seed, device, world=world
    )

    def monitor(network: nn.Module) -> PhotographMonitor:
        return PhotographMonitor(run, validation, network, device, world)

    with loader:
        return run_training(
            run,
            loader,
            monitor,
            device,
            resume=resume,
            save_seconds=save_seconds,
            track=track,
            world=world,
            watch=watching(report),
        )


def crops_of(recipe: Recipe[Any]) -> Crops:
    """How the recipe crops."""
    if not isinstance(recipe.samples, Crops):
        raise UsageError("this recipe does not say how photographs are cropped: give it `samples=Crops(...)`.")
    return recipe.samples


def validation_pairs(
    scenes: Scenes, rows: Sequence[int], channels: Channels, noise: NoiseModel | None
) -> list[TrainingPair]:
    """The middle of held-out scenes: corrupted by `noise` against clean, or without it one exposure against another."""
    pairs = []
    for row in rows:
        images = middle(as_images(scenes.read(row), channels)).clone()  # a view would keep the whole image in memory
        if noise is None:
            pairs.append(TrainingPair(images[:1], images[1:2]))
        else:
            realisation = realisation_of(noise, Reference("held out", str(row), images[0]))
            pairs.append(TrainingPair(realisation.image, images[:1]))
    return pairs


def noise_to_test(recipe: Recipe[Any], level: float | None = None) -> NoiseModel | None:
    """The noise to test a recipe with, at a level (without one, the paper's); None where it is trained on captures."""
    corruption = recipe.task.corruption
    return at_level(corruption.noise, level) if isinstance(corruption, SyntheticNoise) else None


class PhotographMonitor:
    """Scores the held-out images while training, and draws a few of them: always the same ones."""

    def __init__(
        self,
        run: Run,
        validation: Sequence[TrainingPair],
        network: nn.Module,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self.latest = "not measured"
        self._run, self._validation, self._network, self._device = run, validation, network, device
        self._world = world
        self._naive = _mean([quality_of(pair.input[0], pair.target[0]) for pair in validation])

    def assess(self, step: int, *, draw: bool) -> dict[str, float]:
        """Mean PSNR of the inputs and of the network, and their intervals over images."""
        results: list[Float[Tensor, "c h w"]] = self._world.mapped(
            lambda pair: restored(self._network, pair.input[0], self._device), self._validation
        )
        qualities = [quality_of(result, pair.target[0]) for result, pair in zip(results, self._validation, strict=True)]
        mean = _mean(qualities)
        self.latest = f"{mean.mean:.2f} dB"
        if draw and self._world.leads:
            draw_strips(self._run.examples_path(step), [("", images) for images in self._rows(results)])
        return as_metrics({INPUT: self._naive, "network": mean})

    def examples(self) -> list[Illustration]:
        """The images that are drawn, as they are restored now."""
        drawn = self._validation[:DRAWN]
        rows = self._rows([restored(self._network, pair.input[0], self._device) for pair in drawn])
        return illustrated([(f"held-out image {number}", images) for number, images in enumerate(rows, 1)])

    def _rows(self, results: Sequence[Float[Tensor, "c h w"]]) -> list[dict[str, Picture]]:
        return [
            {"input": pair.input[0], "network": result, "reference": pair.target[0]}
            for pair, result in list(zip(self._validation, results, strict=False))[:DRAWN]
        ]


def _mean(qualities: Sequence[float]) -> Estimate:
    """The mean of what is finite: an image that noise leaves as it is (a black one, say) has no PSNR."""
    finite = [(str(image), quality) for image, quality in enumerate(qualities) if math.isfinite(quality)]
    return estimate(finite) if finite else Estimate(0.0, None, None)
