"""Fig 4 (§3.2): random-valued impulses on 70 % of the pixels are removed by the mode (L0), not the median or the mean.

Source: Lehtinen et al., ICML 2018, Fig 4. Paper, one image at p = 0.7: input 8.89, L2 13.02, L1 16.36, L0 28.43,
clean 28.86 dB.
Cost: `small` about 25 minutes on two CPU cores.
Expected: L0 above L1 above L2, clean targets above all.
Command: mri-n2n reproduce fig4 TRAIN --test KODAK --scale small
"""

from natural_images.noise import Impulses, at_level
from natural_images.recipes import LossName, noise_task
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale

LOSSES: tuple[LossName, ...] = ("l0", "l1", "l2")


def fig4(scale: Scale) -> PhotographExperiment:
    """Clean targets with L2, and noisy ones with the three losses."""
    noise = Impulses()
    clean = Arm("clean targets (L2)", scale.recipe(noise_task(noise, "clean", "l2")), at_level(noise))
    noisy = [
        Arm(f"noisy targets, {loss.upper()}", scale.recipe(noise_task(noise, loss=loss)), at_level(noise))
        for loss in LOSSES
    ]
    return PhotographExperiment("fig4", (clean, *noisy), "examples")
