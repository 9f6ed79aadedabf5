"""Fig 6 (§3.3): which loss, and on which scale, for renders of 8 samples per pixel with noisy targets.

Source: Lehtinen et al., ICML 2018, Fig 6. Paper: input 11.32, L2 25.46, L2 with T(x̂) 25.39, L2 with T(x̂) and T(ŷ)
15.50, L_HDR 29.05, L_HDR with T(x̂) 30.09 dB.
Added here: a network that gives the logarithm of radiance, with L_HDR.
Cost: `paper` days on a GPU; `small` below an hour in all on two CPU cores; `smoke` a minute.
Expected: L_HDR well above L2; tone-mapped targets too dark.
Command: mri-n2n reproduce fig6 --scale small
"""

from pipelines.paper.renderings import Arm, RenderingExperiment
from rendering.recipes import RATE, LossName, rendering_task
from rendering.tasks import Encoding

L2, L2_TONED, DARK = "L2, x̂", "L2, T(x̂)", "L2, T(x̂), T(ŷ)"
HDR, HDR_TONED = "L_HDR, x̂", "L_HDR, T(x̂)"
LOG_L2, LOG, LOG_TONED = "L2, T(x̂), logarithm", "L_HDR, x̂, logarithm", "L_HDR, T(x̂), logarithm"


def fig6() -> RenderingExperiment:
    """The paper's five arms, whose network gives radiance, and three whose network gives its logarithm.

    The former have the paper's rate, the latter the scale's: each the better of the two, tried on other scenes.
    """

    def arm(title: str, encoding: Encoding, loss: LossName) -> Arm:
        return Arm(title, rendering_task(encoding, loss=loss), None if encoding.output == "logarithm" else RATE)

    linear, toned = Encoding("linear", "linear"), Encoding("tone-mapped", "linear")
    arms = (
        arm(L2, linear, "l2"),
        arm(L2_TONED, toned, "l2"),
        arm(DARK, Encoding("tone-mapped", "tone-mapped"), "l2"),
        arm(HDR, linear, "hdr"),
        arm(HDR_TONED, toned, "hdr"),
        arm(LOG_L2, Encoding(), "l2"),
        arm(LOG, Encoding("linear"), "hdr"),
        arm(LOG_TONED, Encoding(), "hdr"),
    )
    differences = (
        (LOG_TONED, L2_TONED),
        (LOG_TONED, LOG_L2),
        (HDR, L2),
        (HDR_TONED, L2_TONED),
        (LOG_TONED, HDR_TONED),
        (LOG_TONED, LOG),
        (HDR_TONED, HDR),
        (DARK, L2_TONED),
    )
    note = "x̂: input, ŷ: target, T: tone-mapped; logarithm: what the network gives in place of radiance, our addition."
    return RenderingExperiment("fig6", arms, 8, False, differences, note)
