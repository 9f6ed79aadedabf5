"""Appendix A.3 and A.4: what a finite number of noisy targets costs, and which point the "L0" norm seeks.

Source: Lehtinen et al., ICML 2018, appendix A.3 (Eq. 8, 9) and A.4 (Eq. 10 to 12). The paper derives both and prints no
figure; here both are measured beside what it states.
Cost on one CPU core: `smoke` below 5 seconds, `small` (and `paper`: no sizes are published) below half a minute.
Command: `mri-n2n reproduce appendix --scale small`.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch

from mri_n2n import environment
from mri_n2n.durable import write_text
from mri_n2n.parent_run import announce_experiment
from mri_n2n.progress import spoken
from mri_n2n.run_directory import check_own
from mri_n2n.training.seeding import RandomStreams
from pipelines.figures import draw_curves
from pipelines.paper.finite_targets import (
    BANDWIDTH,
    PHOTONS,
    SIDE,
    finite_targets,
    finite_targets_panels,
    finite_targets_table,
)
from pipelines.paper.mode_seeking import BIN, EXPONENTS, mode_seeking, mode_seeking_panels, mode_seeking_table

Scale = Literal["smoke", "small", "paper"]
REPETITIONS = {"smoke": 1_000, "small": 5_000, "paper": 5_000}
SAMPLES = {"smoke": (100, 10_000), "small": (200, 100_000), "paper": (200, 100_000)}


def reproduce_appendix(folder: Path, scale: Scale) -> str:
    """Compute both, and write results.md, two CSV files and two pictures into `folder`. Returns the text of results.md.

    What an earlier call left there is replaced.
    """
    check_own(folder)
    announce_experiment(folder)
    began = time.monotonic()
    streams, repetitions, (samples, draws) = RandomStreams(0), REPETITIONS[scale], SAMPLES[scale]
    finite, seeking = finite_targets(repetitions, streams), mode_seeking(samples, draws, streams)
    about = (
        f"{repetitions:,} repetitions for every N, on images of {SIDE}×{SIDE} in [0, 1], seed 0. Gaussian σ = 25/255; "
        f"Poisson with {PHOTONS:g} photons; brown: σ = 25/255, blurred by {BANDWIDTH:g} pixel."
    )
    sampling = f"Gamma density of shape 3. {samples} samples of {draws:,} draws each, grid of {BIN:g}, seed 0."
    errors = [
        (noise, *row)
        for noise, one in finite.items()
        for row in zip(one.targets, one.error, one.low, one.high, one.covariance / one.targets, strict=True)
    ]
    minimisers = zip(EXPONENTS, seeking.minimiser[:-1], seeking.sampled, seeking.low, seeking.high, strict=True)
    _write_csv(folder / "finite-targets.csv", "noise,targets,error,low,high,stated", errors)
    _write_csv(folder / "mode-seeking.csv", "p,minimiser,sampled,low,high", minimisers)
    draw_curves(folder / "finite-targets.png", finite_targets_panels(finite), f"{about} Bars: 95 % intervals.")
    draw_curves(folder / "mode-seeking.png", mode_seeking_panels(seeking), f"{sampling} Bars: 95 % intervals.")
    hardware = environment.description(torch.device("cpu"))["hardware"]
    text = f"""# Appendix A.3: a finite number of noisy targets

{finite_targets_table(finite)}

{about} Brackets: 95 % intervals; one in twenty misses by chance.

# Appendix A.4: the point that L0 seeks

{mode_seeking_table(seeking)}

{sampling} Brackets: 95 % bootstrap intervals over the samples. By their own estimate the quadratures behind x* and the
zero are precise to {seeking.precision:.0e} in x.

On {hardware}, in {spoken(time.monotonic() - began)}.
"""
    write_text(folder / "results.md", text)
    return text


def _write_csv(path: Path, header: str, rows: Iterable[Sequence[str | float]]) -> None:
    lines = [",".join(value if isinstance(value, str) else f"{value:.10g}" for value in row) for row in rows]
    write_text(path, "\n".join([header, *lines]) + "\n")
