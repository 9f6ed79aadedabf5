"""Table 1 (§3.1, §3.2): Gaussian, Poisson and Bernoulli noise, trained with clean and with noisy targets.

Source: Lehtinen et al., ICML 2018, Table 1; the Gaussian row of the paper is RED30's, its U-Net is 0.2 dB below.
Paper, average of Kodak, BSD300 and Set14, clean / noisy / baseline: Gaussian 31.63 / 31.61 / BM3D 30.89,
Poisson 30.59 / 30.57 / Anscombe + BM3D 28.36, Bernoulli 31.85 / 32.02 / deep image prior 30.14 dB.
Cost: `paper` about a day per network on a GPU; `small` below 45 minutes on two CPU cores; `smoke` seconds.
Expected at `small`: noisy within 0.1 dB of clean, every network 5 dB above its input.
Command: mri-n2n reproduce table1 TRAIN --test KODAK --test BSD300 --scale small
"""

from natural_images.noise import Bernoulli, Gaussian, NoiseModel, Poisson, at_level
from natural_images.recipes import noise_task
from natural_images.tasks import Targets
from pipelines.paper.photographs import Arm, PhotographExperiment, Scale

TARGETS: tuple[Targets, ...] = ("clean", "noisy")


def _by_red30(noise: NoiseModel, scale: Scale) -> bool:
    """The paper's Gaussian row; ten U-Nets' work, and so at full scale only."""
    return scale.name == "paper" and isinstance(noise, Gaussian)


def table1(scale: Scale) -> PhotographExperiment:
    """Three noises, each with clean and with noisy targets."""
    noises: tuple[NoiseModel, ...] = (Gaussian(), Poisson(low=scale.least_light), Bernoulli())
    arms = tuple(
        Arm(
            f"{targets} targets",
            scale.recipe(noise_task(noise, targets), red30=_by_red30(noise, scale)),
            at_level(noise),
        )
        for noise in noises
        for targets in TARGETS
    )
    return PhotographExperiment("table1", arms, "examples", prior_steps=scale.prior_steps)
