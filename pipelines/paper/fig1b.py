"""Fig 1b (§3.1): targets with brown Gaussian noise slow training down, and it ends in the same place.

Source: Lehtinen et al., ICML 2018, Fig 1b; its bandwidths are not stated. Paper: ends within 0.1 dB of white noise.
The noise of the targets is brown here, the input's white in all arms: only then do all learn the same task, and their
ends compare.
Cost: `small` trains a network of a sixth of the paper's width twelve times as long as the other figures, for slow ends
to be seen, one arm twice as long again: an hour on one CPU thread, 42 minutes on two cores.
Expected: the wider the blur, the slower; with more steps the end of white targets is reached.
Command: mri-n2n reproduce fig1b TRAIN --test KODAK --scale small
"""

from dataclasses import replace

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
    """White targets, brown targets of several bandwidths; at `small` once more, for twice as long."""
    white, trainings = Gaussian(25, 25), [(bandwidth, 1) for bandwidth in BANDWIDTHS]
    if scale.name == "small":
        # A network so small that it comes near its end, and a rate that falls for most of the run: correlated noise
        # inflates Adam's second moment, and what it leaves in the weights takes long to average out.
        scale = replace(scale, unet_width=8, rate=1e-3, ramp_down=0.9, steps=30_000)
        trainings.append((BANDWIDTHS[0], 2))
    arms = [Arm("white targets", scale.recipe(noise_task(white)), white)]
    for bandwidth, times in trainings:
        task = Task(SyntheticNoise(white, target_noise=BrownGaussian(bandwidth)), SquaredError())
        title = f"brown targets, {bandwidth:g} pixels" + (", twice as long" if times == 2 else "")
        arms.append(Arm(title, scale.recipe(task, share=times), white))
    return PhotographExperiment("fig1b", tuple(arms), "curves", note=NOTE)
