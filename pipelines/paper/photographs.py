"""What the experiments on photographs (§3.1, §3.2) share: their arms and their scales."""

from dataclasses import dataclass
from typing import Any, Literal

from mri_n2n.networks.spec import NetworkSpec, RED30Spec, UNetSpec
from mri_n2n.recipes import Optimisation, Recipe
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.task import Task
from natural_images.baselines import DeepImagePrior
from natural_images.captures import CaptureRequest
from natural_images.crops import Crops
from natural_images.noise import NoiseModel

ScaleName = Literal["smoke", "small", "paper"]
Figure = Literal["curves", "examples", "sweep"]


@dataclass(frozen=True)
class Arm:
    """One network of an experiment: how it is trained, on what captures if on any, and the noise it is tested with."""

    title: str
    recipe: Recipe[Any]
    test: NoiseModel
    captures: CaptureRequest | None = None


@dataclass(frozen=True)
class PhotographExperiment:
    """The arms behind one table or figure. Arms tested with the same noise are compared, each with the first of them.

    figure: what the paper shows. runs: the experiment whose runs are used, if another's. prior_steps: of the deep image
    prior among the classical methods. note, caution: what must be said beside the results, of the experiment and of its
    scale.
    """

    name: str
    arms: tuple[Arm, ...]
    figure: Figure
    runs: str = ""
    prior_steps: int = 0
    note: str = ""
    caution: str = ""


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    The paper's: crops of 256 (§3.1), four per step (§A.2); its length is not stated there, 300,000 steps are ours.
    """

    name: ScaleName
    steps: int
    crop: int
    batch_size: int = 4
    unet_width: int = 48
    red30_width: int = 128
    rate: float = 1e-3
    ramp_down: float = 0.3  # of the run, at its end
    least_light: float = 0.0  # the smallest λ of photon noise while training; tests are at λ = 30
    bf16: bool = True
    prior_steps: int = DeepImagePrior.steps  # of the deep image prior; 0 leaves it out
    latents: int = 100  # captured images in cases 1 and 2 of Fig 1c
    latent: int = 384  # pixels of a side of theirs
    budget: int = 20  # captures of each of them

    def recipe(self, task: Task[Any], *, red30: bool = False, share: float = 1.0) -> Recipe[Any]:
        """The recipe of a task: the rate is constant, then falls (§A.2); `share` of the scale's steps."""
        network: NetworkSpec = RED30Spec(width=self.red30_width) if red30 else UNetSpec(3, 3, width=self.unet_width)
        schedule = RampedRate(self.rate, ramp_up=0.0, ramp_down=self.ramp_down, last_momentum=0.9)
        steps = max(1, round(share * self.steps))
        optimisation = Optimisation(steps, self.batch_size, schedule, bf16=self.bf16)
        return Recipe(task, optimisation, network, samples=Crops(self.crop))


SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        "smoke",
        3,
        crop=32,
        batch_size=2,
        unet_width=6,
        red30_width=4,
        bf16=False,
        prior_steps=2,
        latents=4,
        latent=48,
        budget=3,
    ),
    # A step sees an eighth of the paper's pixels, which the paper's rate does not survive; crops below 128 would leave
    # the U-Net's coarsest maps nothing but their borders, and it would fail on larger images.
    # A tenth of Fig 1c's captures, and no room to move the crops: else so short a training never exhausts them.
    # Towards λ = 0 the variance of a noisy target, x/λ, has no bound: two such crops move so short a training for long.
    "small": Scale(
        "small",
        2400,
        crop=128,
        batch_size=2,
        rate=3e-4,
        least_light=1.0,
        red30_width=32,
        prior_steps=0,
        latents=10,
        latent=128,
    ),
    "paper": Scale("paper", 300_000, crop=256, bf16=False),
}
