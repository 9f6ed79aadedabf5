"""Recipes for renderings: losses and scales (Fig 6), and their names on the command line."""

from typing import Any, Literal

from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import Domain, Optimisation, Recipe
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.task import Task, TrainingPair, network_output
from rendering.crops import FrameCrops
from rendering.losses import RelativeError
from rendering.tasks import Encoding, Targets, TwoRenders, radiance_predicted

LossName = Literal["hdr", "l2"]
LOSSES: dict[LossName, type[Any]] = {"hdr": RelativeError, "l2": SquaredError}
RATE = 3e-4  # §A.2, for renderings

RENDERINGS = Domain(
    "renderings",
    "mri-n2n render",
    (*LOSSES.values(), Encoding, TwoRenders, FrameCrops, network_output, radiance_predicted),
    examined="FRAMES",
    use="denoise {run} INPUT OUTPUT",
    unit="view",
    caution="rendered scenes, tone-mapped: a result of research",
)


def rendering_task(
    encoding: Encoding | None = None, targets: Targets = "noisy", loss: LossName = "hdr"
) -> Task[TrainingPair]:
    """The task of denoising renderings; by default the paper's best (Fig 6), by a network that gives logarithms.

    Short trainings need that: the gradient of the HDR loss with respect to a logarithm is about 2 (1 − ŷ / f) wherever
    f is well above ε, and not up to 10⁴ times larger in the dark (docs/rendering.md).
    """
    encoding = encoding or Encoding()
    predict = radiance_predicted if encoding.output == "logarithm" else network_output
    return Task(TwoRenders(encoding, targets), LOSSES[loss](), predict)


def rendering_recipe(
    task: Task[TrainingPair],
    steps: int,
    *,
    crop: int = 256,
    batch_size: int = 4,
    width: int = 48,
    rate: float = RATE,
    ramp_down: float = 0.3,
    seed: int = 0,
    bf16: bool = False,
    compile: bool = False,
) -> Recipe[TrainingPair]:
    """The paper's U-Net with nine channels in and three out; the rate is constant, then falls (§A.2)."""
    schedule = RampedRate(rate, ramp_up=0.0, ramp_down=ramp_down, last_momentum=0.9)
    optimisation = Optimisation(steps, batch_size, schedule, bf16=bf16, compile=compile)
    network = UNetSpec(9, 3, width=width, padding=0.0)
    return Recipe(task, optimisation, network, seed, FrameCrops(crop))


def corruption_of(recipe: Recipe[Any]) -> TwoRenders:
    """How a recipe's pairs are drawn, and how its network is spoken to."""
    corruption = recipe.task.corruption
    if not isinstance(corruption, TwoRenders):
        raise ValueError(f"{type(corruption).__name__} is no task on renderings")
    return corruption


def crops_of(recipe: Recipe[Any]) -> FrameCrops:
    """How a recipe crops."""
    if not isinstance(recipe.samples, FrameCrops):
        raise ValueError("a recipe on renderings has samples=FrameCrops(...)")
    return recipe.samples
