"""What bf16 in the network costs in quality: the same trainings in both precisions, at equal seeds.

    python -m benchmarks.precision DATA [--steps N] [--seeds N] [--device auto] [--output FOLDER]

DATA is what `mri-n2n prepare` made. Noisy targets, 10 % of k-space, batches of four, as in `reproduce fig9 --scale
small`. FOLDER gets results.md with the difference in PSNR; stopped, the same command goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from mri_n2n import environment
from mri_n2n.data.slices import open_prepared
from mri_n2n.recipes import Experiment, Optimisation, Recipe, undersampling_task
from mri_n2n.training.schedules import RampedRate
from pipelines.experiments import run_experiment


def precisions(steps: int, seeds: int) -> Experiment:
    """An arm for each precision, with a recipe for each seed."""
    optimisation = Optimisation(steps, 4, RampedRate(ramp_down=0.3))
    task = undersampling_task(acceleration=10.0)
    arms = {
        name: tuple(Recipe(task, replace(optimisation, bf16=bf16), seed=seed) for seed in range(seeds))
        for name, bf16 in (("fp32", False), ("bf16", True))
    }
    return Experiment("precision", arms)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("runs/precision"))
    arguments = parser.parse_args()
    outcome = run_experiment(
        precisions(arguments.steps, arguments.seeds),
        arguments.data,
        open_prepared(arguments.data),
        arguments.output,
        environment.chosen_device(arguments.device),
    )
    print(outcome.table if outcome else "Stopped and saved. Go on with the same command.")
