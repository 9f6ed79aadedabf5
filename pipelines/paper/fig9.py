"""Fig 9 (§3.4): MRI reconstruction from 10 % of k-space, trained with noisy and with clean targets.

Source: Lehtinen et al., ICML 2018, §3.4 and Fig 9. Added here: the Horvitz-Thompson loss as a third arm.
Paper, 1,000 slices of IXI at 255×255: input 20.03, noisy targets 31.74, clean targets 31.77 dB.
Cost: `paper` 13 h per run on a P100 (§3.4); `small` below an hour in all on two CPU cores; `smoke` below a minute.
Expected at every scale but smoke: noisy and clean within 0.2 dB, both well above the better zero-filled image.
"""

from typing import Literal

from mri_n2n.recipes import Experiment, Optimisation, Recipe, undersampling_task
from mri_n2n.training.schedules import RampedRate

Scale = Literal["smoke", "small", "paper"]
PAPER_EPOCHS = 300


def fig9(scale: Scale, training_slices: int) -> Experiment:
    """The recipes at one scale. `smoke` and `small` keep exactly 10 %; `paper` has the published density (10.477 %)."""
    if scale == "paper":
        optimisation = Optimisation(steps=round(PAPER_EPOCHS * training_slices / 16))
        acceleration: float | None = None
        seeds: tuple[int, ...] = (0, 1)
    else:
        steps, batch_size = (1200, 4) if scale == "small" else (6, 2)
        optimisation = Optimisation(steps, batch_size, RampedRate(ramp_down=0.3))
        acceleration, seeds = 10.0, (0,)
    tasks = {
        "noisy targets": undersampling_task(targets="noisy", acceleration=acceleration),
        "clean targets": undersampling_task(targets="clean", acceleration=acceleration),
        "noisy targets, ht": undersampling_task(targets="noisy", loss="ht", acceleration=acceleration),
    }
    arms = {arm: tuple(Recipe(task, optimisation, seed=seed) for seed in seeds) for arm, task in tasks.items()}
    return Experiment(f"fig9-{scale}", arms)
