"""Fig 1a (§3.1): RED30 on white Gaussian noise converges alike with clean and with noisy targets.

Source: Lehtinen et al., ICML 2018, Fig 1a and Table 1. Paper, Kodak: clean 32.50, noisy 32.48 dB.
Cost: `paper` days on a GPU (RED30 costs ten U-Nets); `small` a RED30 of 32 maps, below 45 minutes on two CPU cores.
Expected: the two curves lie on each other.
Command: mri-n2n reproduce fig1a TRAIN --test KODAK --scale small
"""

from natural_images.noise import Gaussian, at_level
from natural_images.recipes import noise_task
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale
from pipelines.paper.table1 import TARGETS


def fig1a(scale: Scale) -> PhotographExperiment:
    """Clean and noisy targets."""
    noise = Gaussian()
    arms = tuple(
        Arm(f"{targets} targets", scale.recipe(noise_task(noise, targets), red30=True), at_level(noise))
        for targets in TARGETS
    )
    return PhotographExperiment("fig1a", arms, "curves")
