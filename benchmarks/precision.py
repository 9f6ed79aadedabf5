"""What bf16 in the network costs in quality: the same trainings in both precisions, at equal seeds.

    python -m benchmarks.precision DATA [--steps N] [--seeds N] [--width N] [--device auto] [--output FOLDER]

DATA is what `mri-n2n prepare` made. Noisy targets, 10 % of k-space, batches of four, as in `reproduce fig9 --scale
small`. FOLDER gets results.md, and seeds.md with the difference of each seed and of their mean; stopped, the same
command goes on. Narrower networks leave time for more seeds.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mri_n2n import environment
from mri_n2n.data.slices import open_prepared
from mri_n2n.durable import write_text
from mri_n2n.errors import INTERRUPTED
from mri_n2n.intervals import over_seeds
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import Experiment, Optimisation, Recipe, undersampling_task
from mri_n2n.scores import Score, differences
from mri_n2n.training.schedules import RampedRate
from pipelines.experiments import run_experiment


def precisions(steps: int, seeds: int, network: UNetSpec) -> Experiment:
    """An arm for each precision, with a recipe for each seed."""
    optimisation = Optimisation(steps, 4, RampedRate(ramp_down=0.3))
    task = undersampling_task(acceleration=10.0)
    arms = {
        name: tuple(Recipe(task, replace(optimisation, bf16=bf16), network, seed) for seed in range(seeds))
        for name, bf16 in (("fp32", False), ("bf16", True))
    }
    return Experiment("precision", arms)


def table_of(scores: Sequence[Score], seeds: int) -> str:
    """Markdown: the mean PSNR difference of each seed, and of all with Student's 95 % interval over seeds.

    The intervals of results.md are over subjects for the networks that were trained; what matters here is the next one.
    """
    found = [differences(scores, [(f"bf16, seed {seed}", f"fp32, seed {seed}")]).mean for seed in range(seeds)]
    rows = [f"| {seed} | {value:+.3f} |" for seed, value in enumerate(found)]
    rows.append(f"| mean, 95 % interval over seeds | {over_seeds(found):+.3f} |")
    return "\n".join(["| seed | bf16 − fp32, dB |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--width", type=int, default=UNetSpec().width)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("runs/precision"))
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: the spread between seeds is part of the answer.")
    outcome = run_experiment(
        precisions(arguments.steps, arguments.seeds, UNetSpec(width=arguments.width)),
        arguments.data,
        open_prepared(arguments.data),
        arguments.output,
        environment.chosen_device(arguments.device),
    )
    if outcome:
        table = table_of(outcome.scores, arguments.seeds)
        write_text(arguments.output / "seeds.md", table)
        print(f"{outcome.table}\n{table}")
    else:
        print("Stopped and saved. Go on with the same command.")
        sys.exit(INTERRUPTED)
