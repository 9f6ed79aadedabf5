"""Fig 6 (§3.3): which loss, and on which scale, for renders of 8 samples per pixel with noisy targets.

Source: Lehtinen et al., ICML 2018, Fig 6. Paper: input 11.32, L2 25.46, L2 with T(x̂) 25.39, L2 with T(x̂) and T(ŷ)
15.50, L_HDR 29.05, L_HDR with T(x̂) 30.09 dB.
Added here: a network that gives the logarithm of radiance, with L_HDR.
Cost: `paper` days on a GPU; `small` below an hour in all on two CPU cores; `smoke` a minute.
Expected: L_HDR well above L2; tone-mapped targets too dark.
Command: mri-n2n reproduce fig6 --scale small
"""

from pipelines.paper.renderings import Arm, RenderingExperiment
from rendering.recipes import rendering_task
from rendering.tasks import Encoding

L2, L2_TONED, DARK = "L2, x̂", "L2, T(x̂)", "L2, T(x̂), T(ŷ)"
HDR, HDR_TONED = "L_HDR, x̂", "L_HDR, T(x̂)"
LOG, LOG_TONED = "L_HDR, x̂, logarithm", "L_HDR, T(x̂), logarithm"


def fig6() -> RenderingExperiment:
    """The paper's five arms, whose network gives radiance, and two whose network gives its logarithm."""
    linear, toned = Encoding(input="linear"), Encoding()
    arms = (
        Arm(L2, rendering_task(linear, loss="l2"), exponential=False),
        Arm(L2_TONED, rendering_task(toned, loss="l2"), exponential=False),
        Arm(DARK, rendering_task(Encoding(target="tone-mapped"), loss="l2"), exponential=False),
        Arm(HDR, rendering_task(linear), exponential=False),
        Arm(HDR_TONED, rendering_task(toned), exponential=False),
        Arm(LOG, rendering_task(linear)),
        Arm(LOG_TONED, rendering_task(toned)),
    )
    differences = (
        (LOG_TONED, L2_TONED),
        (LOG_TONED, HDR_TONED),
        (LOG_TONED, LOG),
        (HDR, L2),
        (HDR_TONED, L2_TONED),
        (HDR_TONED, HDR),
        (DARK, L2_TONED),
    )
    note = "x̂: input, ŷ: target, T: tone-mapped; logarithm: what the network gives in place of radiance, our addition."
    return RenderingExperiment("fig6", arms, 8, False, differences, note)
