"""Training under several seeds, of all domains."""

import re
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mri_n2n.data.cli import given
from mri_n2n.errors import INTERRUPTED, UsageError

if TYPE_CHECKING:
    from mri_n2n.recipes import Domain, Recipe
    from mri_n2n.run_directory import Run
    from mri_n2n.training.world import World

Seeds = Annotated[
    str | None, typer.Option(help="Or: several, such as 0..4 or 0,3,7: a run for each, and what they have in common.")
]


def check_seeds(context: typer.Context, seeds: str | None) -> None:
    """Raise for seeds that cannot be, and for options that they do not go with."""
    if seeds is None:
        return
    from mri_n2n.seeds import parsed_seeds

    clashing = [f"--{name}" for name in ("seed", "resume", "overwrite") if given(context, name)]
    if clashing:
        raise UsageError(
            f"--seeds goes without {', '.join(clashing)}: the same command goes on with what is not finished, and "
            "another --run-name begins anew."
        )
    parsed_seeds(seeds)


def train_each(
    name: str | None,
    default: str,
    recipe: "Recipe[Any]",
    seeds: str,
    domain: "Domain",
    begin: "Callable[[Path, Recipe[Any]], Run]",
    train: "Callable[[Run, bool], bool]",
    world: "World",
) -> None:
    """Train a recipe under several seeds, below runs/NAME; `default` is what a run of one seed would be called."""
    from mri_n2n.run_directory import new_run_path
    from mri_n2n.seeds import parsed_seeds, train_seeds

    directory = new_run_path(name or re.sub(r"-seed\d+$", "-seeds", default))
    table = train_seeds(directory, recipe, parsed_seeds(seeds), domain, begin, train, world=world)
    if table is None:
        if world.leads:
            typer.echo("Stopped and saved. The same command goes on.")
        raise typer.Exit(INTERRUPTED)
    if world.leads:
        typer.echo(table)
        typer.echo(f"Done: {directory} (seeds.md, seeds.csv, seeds.png, summary.json; a folder for each seed)")
        typer.echo(f"Next: mri-n2n runs compare {quote(str(directory))}")
