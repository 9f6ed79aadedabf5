"""Fig 3 (§3.2): text is removed by the median (L1); the mean (L2) fades towards the text's mean colour.

Source: Lehtinen et al., ICML 2018, Fig 3. Paper, one image at p = 0.25: input 17.12, L2 26.89, L1 35.75,
clean 35.82 dB.
Cost: `small` about 20 minutes on two CPU cores.
Expected: L1 near clean targets, L2 far below.
Command: mri-n2n reproduce fig3 TRAIN --test KODAK --scale small
"""

from natural_images.noise import at_level
from natural_images.overlays import TextOverlay
from natural_images.recipes import noise_task
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale


def fig3(scale: Scale) -> PhotographExperiment:
    """Clean targets, and text in the targets with L1 and with L2."""
    noise = TextOverlay()
    arms = (
        Arm("clean targets (L1)", scale.recipe(noise_task(noise, "clean")), at_level(noise)),
        Arm("noisy targets, L1", scale.recipe(noise_task(noise, loss="l1")), at_level(noise)),
        Arm("noisy targets, L2", scale.recipe(noise_task(noise, loss="l2")), at_level(noise)),
    )
    return PhotographExperiment("fig3", arms, "examples")
