"""Fig 8 (§3.3): training while the camera flies through one scene, with noisy and with clean targets.

Source: Lehtinen et al., ICML 2018, Fig 8. Paper, 1,000 frames of 512×512, 8 samples per pixel: noisy targets nearly as
good as clean ones, whose rendering takes 2,000 times as long (190 ms against 7 minutes a frame).
Cost: `paper` 500 ms a frame on a Titan V, with clean targets five days; `small` below an hour in all on two CPU cores;
`smoke` a minute.
Expected: PSNR rises over the frames; at the end noisy within 0.5 dB of clean.
Command: mri-n2n reproduce fig8 --scale small
"""

from rendering.tasks import Targets

ARMS: dict[str, Targets] = {"noisy targets": "noisy", "clean targets": "clean"}
SPP = 8
SCORED = 4  # frames from one that is scored to the next
LAST = 0.25  # of the flight, at its end, is what is compared
