"""Fig 1b (§3.1): targets with brown Gaussian noise slow training down, and it ends in the same place.

Source: Lehtinen et al., ICML 2018, Fig 1b; its bandwidths are not stated. Paper: ends within 0.1 dB of white noise.
The noise of the targets is brown here, the input's white in all arms: only then do all learn the same task, and their
ends compare.
Cost: `small` trains twice as long as other figures, for slow ends to be seen: about 30 minutes on two CPU cores.
Expected: the wider the blur, the slower; the ends close to each other.
Command: mri-n2n reproduce fig1b TRAIN --test KODAK --scale small
"""

from mri_n2n.training.losses import SquaredError
from mri_n2n.training.task import Task
from natural_images.noise import BrownGaussian, Gaussian
from natural_images.recipes import noise_task
from natural_images.tasks import SyntheticNoise
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale

BANDWIDTHS = (3.0, 10.0)  # pixels
NOTE = (
    "The brown noise is in the targets, the input's is white: all arms learn one task, so that their ends compare. The "
    "paper does not say which it is."
)


def fig1b(scale: Scale) -> PhotographExperiment:
    """White targets, and brown targets of several bandwidths."""
    white, share = Gaussian(25, 25), 2.0 if scale.name == "small" else 1.0
    arms = [Arm("white targets", scale.recipe(noise_task(white), share=share), white)]
    for bandwidth in BANDWIDTHS:
        corruption = SyntheticNoise(white, target_noise=BrownGaussian(bandwidth))
        recipe = scale.recipe(Task(corruption, SquaredError()), share=share)
        arms.append(Arm(f"brown targets, {bandwidth:g} pixels", recipe, white))
    return PhotographExperiment("fig1b", tuple(arms), "curves", note=NOTE)
