"""Fig 2 (§3.1, §3.2): what networks trained with noisy targets only make of Gaussian, Poisson and Bernoulli noise.

Source: Lehtinen et al., ICML 2018, Fig 2. Uses the runs of table1 (`--runs`), and trains those that are missing.
Cost: after table1 only the scoring, and the classical methods beside the networks (`--baseline`).
Command: mri-n2n reproduce fig2 TRAIN --test KODAK --scale small
"""

from dataclasses import replace

from pipelines.paper.photographs import PhotographExperiment, Scale
from pipelines.paper.table1 import table1


def fig2(scale: Scale) -> PhotographExperiment:
    """The arms of table1 with noisy targets."""
    whole = table1(scale)
    arms = tuple(arm for arm in whole.arms if arm.title == "noisy targets")
    return replace(whole, name="fig2", arms=arms, runs=whole.name)
