"""What the experiments on renderings (§3.3) share: their arms and their scales."""

from dataclasses import dataclass, replace
from typing import Literal

from mri_n2n.recipes import Recipe
from mri_n2n.training.task import Task, TrainingPair
from rendering.production import FrameRequest
from rendering.recipes import rendering_recipe

ScaleName = Literal["smoke", "small", "paper"]


@dataclass(frozen=True)
class Arm:
    """One way to train. rate: Adam's, by default the scale's."""

    title: str
    task: Task[TrainingPair]
    rate: float | None = None


@dataclass(frozen=True)
class RenderingExperiment:
    """The arms behind a figure. spp: samples per pixel of inputs and noisy targets.

    clean: whether an arm has clean targets. differences: titles of the arms to compare, first minus second. note: what
    must be said beside the results.
    """

    name: str
    arms: tuple[Arm, ...]
    spp: int
    clean: bool
    differences: tuple[tuple[str, str], ...]
    note: str


@dataclass(frozen=True)
class RenderingScale:
    """How large an experiment is.

    scenes, views: of training, and of validation; size: pixels (height, width). reference_spp, clean_spp: samples per
    pixel of what is scored against, and of clean targets, for which fewer views of a scene (clean_views) are rendered.
    frames, flight_size, flight_clean_spp: of a flight.
    """

    name: ScaleName
    steps: int
    crop: int
    width: int
    rate: float
    seeds: tuple[int, ...]
    scenes: tuple[int, int]
    views: tuple[int, int]
    size: tuple[int, int]
    reference_spp: int
    clean_spp: int
    clean_views: int
    batch_size: int = 4
    frames: int = 1000
    flight_size: tuple[int, int] = (512, 512)
    flight_clean_spp: int = 131_072
    caution: str = ""

    def recipe(self, arm: Arm, seed: int) -> Recipe[TrainingPair]:
        """An arm's recipe at this scale."""
        return rendering_recipe(
            arm.task,
            self.steps,
            crop=self.crop,
            batch_size=self.batch_size,
            width=self.width,
            rate=arm.rate or self.rate,
            seed=seed,
        )

    def training_frames(self, experiment: RenderingExperiment) -> FrameRequest:
        """What is rendered to train on."""
        views, clean_spp = (self.clean_views, self.clean_spp) if experiment.clean else (self.views[0], 0)
        return FrameRequest(views, 2, experiment.spp, clean_spp, self.size, seed=1)

    def validation_frames(self, experiment: RenderingExperiment) -> FrameRequest:
        """What is rendered to score on."""
        request = self.training_frames(experiment)
        return replace(request, views=self.views[1], reference_spp=self.reference_spp, seed=2)


SCALES: dict[ScaleName, RenderingScale] = {
    "smoke": RenderingScale(
        "smoke",
        steps=3,
        crop=32,
        width=4,
        rate=1e-3,
        seeds=(0,),
        scenes=(2, 1),
        views=(2, 2),
        size=(32, 40),
        reference_spp=8,
        clean_spp=8,
        clean_views=2,
        batch_size=2,
        frames=3,
        flight_size=(32, 32),
        flight_clean_spp=8,
        caution="Smoke: three steps, which show that it runs and nothing else.",
    ),
    # A narrower network takes more steps in the same time.
    "small": RenderingScale(
        "small",
        steps=700,
        crop=96,
        width=24,
        rate=1e-3,
        seeds=(0, 1, 2),
        scenes=(24, 8),
        views=(4, 2),
        size=(128, 128),
        reference_spp=1024,
        clean_spp=512,
        clean_views=2,
        frames=80,
        flight_size=(96, 96),
        flight_clean_spp=256,
    ),
    # §3.3: 860 training and 34 validation images of 960×540; 2,000 epochs of batches of 4 (§A.2); 131k spp.
    "paper": RenderingScale(
        "paper",
        steps=430_000,
        crop=256,
        width=48,
        rate=3e-4,
        seeds=(0, 1, 2),
        scenes=(108, 17),
        views=(8, 2),
        size=(540, 960),
        reference_spp=131_072,
        clean_spp=131_072,
        clean_views=8,
    ),
}
