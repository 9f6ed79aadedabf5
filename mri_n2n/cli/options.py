"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mri_n2n.data.cli import given
from mri_n2n.errors import UsageError

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]

Gpus = Annotated[
    int | None, typer.Option(help="Train on so many GPUs of this machine (with --device cpu: in so many processes).")
]
Report = Annotated[
    bool, typer.Option("--report", help="Keep a page of the run, report.html in its folder: open it and watch.")
]
ScanEdge = Annotated[
    float | None,
    typer.Option(help="Sampling density at the end of the axis, of raw k-space that does not state it."),
]
ScanDensity = Annotated[
    Path | None, typer.Option(help="Or: a .npy of probabilities [row column], the centre of k-space in the middle.")
]
Simulate = Annotated[bool, typer.Option("--simulate", help="Undersample fully sampled volumes first, as in training.")]
White = Annotated[float | None, typer.Option(help="What is white, if the input does not say (see the docs).")]
Targets = Literal["noisy", "clean"]
LossName = Literal["paper", "ht"]
Values = Literal["real", "complex"]


def refuse_with_resume(context: typer.Context, allowed: set[str]) -> None:
    """Raise if an option is given that a resumed run has already decided."""
    clashing = [name for name in context.params if name not in allowed and given(context, name)]
    if clashing:
        names = ", ".join("--" + name.replace("_", "-") for name in clashing)
        raise UsageError(f"a resumed run keeps its recipe: leave out {names}.")


def check_save_seconds(seconds: float) -> None:
    """Raise `UsageError` for a time between checkpoints that cannot be."""
    if not seconds >= 0:
        raise UsageError(f"--save-seconds must not be negative, got {seconds:g}.")
