"""Fig 1c (§3.1): how to spend a fixed number of captures at σ = 25.

Source: Lehtinen et al., ICML 2018, Fig 1c. Of 2,000 captures, case 1: 100 images, one noisy capture each and the mean
of its 19 others as a clean target; case 2: the same captures, all 38,000 ordered noisy pairs; case 3: 1,000 images,
two captures each. `small` has a tenth of it: 10 images of 20 captures, 100 images of 2.
Paper: case 3 above case 2 above case 1, by several tenths of a decibel each.
Cost: `small` about 20 minutes on two CPU cores.
Command: mri-n2n reproduce fig1c TRAIN --test KODAK --scale small
"""

from natural_images.captures import CaptureRequest
from natural_images.crops import Crops
from natural_images.noise import Gaussian
from natural_images.recipes import exposures_task
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale

NOTE = (
    "A latent image is a random crop of a photograph; photographs are taken in random order, and again once each has "
    "given one."
)
EACH = 2  # captures of an image in case 3


def fig1c(scale: Scale) -> PhotographExperiment:
    """The three cases."""
    noise = Gaussian(25, 25)
    crops = Crops(scale.latent)
    few = CaptureRequest(scale.latents, scale.budget, noise, crops)
    many = CaptureRequest(scale.latents * scale.budget // EACH, EACH, noise, crops)
    clean, noisy = scale.recipe(exposures_task("clean")), scale.recipe(exposures_task("noisy"))
    arms = (
        Arm("case 1: few, noisy and mean", clean, noise, few),
        Arm("case 2: few, all noisy pairs", noisy, noise, few),
        Arm("case 3: many, two captures", noisy, noise, many),
    )
    return PhotographExperiment("fig1c", arms, "curves", note=NOTE)
