"""Fig 7 (§3.3): renders of 64 samples per pixel, with noisy and with clean targets.

Source: Lehtinen et al., ICML 2018, Fig 7. Paper, 860 and 34 images of 960×540: input 22.31, clean targets 31.83, noisy
targets 31.3 dB at 2,000 epochs and 31.83 at 4,000.
Cost: `paper` 12 h per run on a P100, and months of rendering at 131k spp on one GPU; `small` below an hour in all on
two CPU cores; `smoke` a minute.
Expected: noisy targets within 0.3 dB of clean ones, or nearing them as training grows.
Command: mri-n2n reproduce fig7 --scale small
"""

from pipelines.paper.renderings import Arm, RenderingExperiment
from rendering.recipes import rendering_task

NOISY, CLEAN = "noisy targets", "clean targets"


def fig7() -> RenderingExperiment:
    """Noisy and clean targets, everything else alike."""
    arms = (Arm(NOISY, rendering_task(targets="noisy")), Arm(CLEAN, rendering_task(targets="clean")))
    return RenderingExperiment("fig7", arms, 64, True, ((NOISY, CLEAN),), "")
