"""Fig 5 (§3.2): with random-valued impulses, L1 breaks down beyond half of the pixels, L0 does not.

Source: Lehtinen et al., ICML 2018, Fig 5: noisy against clean targets, one network per level and loss, mean over Kodak.
Cost: `small` twelve short trainings (half the steps), about 35 minutes on two CPU cores.
Expected: L1 and L0 close to clean targets at small p; beyond p = 0.5 L1 falls off.
Command: mri-n2n reproduce fig5 TRAIN --test KODAK --scale small
"""

from natural_images.noise import Impulses
from natural_images.recipes import LossName, noise_task
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale

LEVELS = (0.1, 0.5, 0.7, 0.9)
LOSSES: tuple[LossName, ...] = ("l0", "l1")


def fig5(scale: Scale) -> PhotographExperiment:
    """Every level with clean targets (L2) and with noisy ones under both losses."""
    share = 0.5 if scale.name == "small" else 1.0
    arms = []
    for level in LEVELS if scale.name != "smoke" else LEVELS[::2]:
        noise = Impulses(level, level)
        arms.append(Arm("clean targets", scale.recipe(noise_task(noise, "clean", "l2"), share=share), noise))
        arms += [Arm(loss.upper(), scale.recipe(noise_task(noise, loss=loss), share=share), noise) for loss in LOSSES]
    return PhotographExperiment("fig5", tuple(arms), "sweep")
