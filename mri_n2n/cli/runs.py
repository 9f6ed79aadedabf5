"""The commands that look at runs: `runs list`, `show`, `compare`, `upload`, `ui`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mri_n2n.data.cli import Overwrite
from mri_n2n.errors import UsageError

if TYPE_CHECKING:
    from mri_n2n.comparison.compared import Comparison
    from mri_n2n.comparison.tables import Table

runs = typer.Typer(
    help="Runs of all kinds: list, show and compare them; pack one up; MLflow's own pages.", no_args_is_help=True
)

Format = Literal["text", "csv", "json", "markdown", "html"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".json": "json", ".md": "markdown", ".txt": "text", ".html": "html"}
NAMES = 24  # characters that names in a table have at least
WORDS = "Folders, names under runs/, MLflow identifiers or names, or a filter such as \"params.seed = '0'\"."


@runs.command("list")
def list_command(
    words: Annotated[list[str] | None, typer.Argument(help=WORDS, show_default="all under runs/")] = None,
    store: Annotated[bool, typer.Option("--store", help="List what MLflow has, and not runs/.")] = False,
) -> None:
    """List runs, with what each reached."""
    from mri_n2n.comparison.finding import find_runs, runs_here, stored_runs
    from mri_n2n.comparison.overview import listed
    from mri_n2n.comparison.tracked import has_store

    if words and store:
        raise UsageError("name runs or add --store, not both.")
    damaged: list[str] = []
    records = stored_runs() if store else find_runs(words) if words else runs_here(damaged)
    for line in damaged:
        typer.echo(f"left out: {line}", err=True)
    if not records:
        there = " MLflow may have some: mri-n2n runs list --store." if not store and has_store() else ""
        typer.echo(f"No runs yet. Make one: mri-n2n train DATA (see mri-n2n prepare), or photos, render train.{there}")
        return
    _print(listed(records))
    alike = [record for record in records if record.domain == records[0].domain]
    if len(alike) > 1:
        first, second = (quote((record.run_id if store else None) or record.called) for record in alike[:2])
        typer.echo(f"\nNext: mri-n2n runs compare {first} {second}")


@runs.command("show")
def show_command(run: Annotated[str, typer.Argument(help=WORDS)]) -> None:
    """Show one run: how far it is, its scores, its parameters."""
    from mri_n2n.comparison.finding import find_run
    from mri_n2n.comparison.overview import shown

    record = find_run(run)
    for table in shown(record):
        _print(table)
    typer.echo(f"\n{record.place}")


@runs.command("compare")
def compare_command(
    words: Annotated[list[str], typer.Argument(metavar="RUN...", help=f"{WORDS} The first is compared with.")],
    method: Annotated[
        str | None, typer.Option(help="Whose scores, of those in an evaluation.", show_default="each run's own result")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every run for itself: seeds are not grouped.")] = False,
    different_data: Annotated[
        bool, typer.Option("--different-data", help="Compare runs scored on different images (means only).")
    ] = False,
    format: Annotated[Format | None, typer.Option(help="As what.", show_default="text, or by OUTPUT's ending")] = None,
    output: Annotated[Path | None, typer.Option(help="A file to write to.", show_default="the terminal")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare runs: what differs, scores and differences with 95 % intervals, seeds together, and what each cost."""
    import json

    from mri_n2n.comparison.compared import compare
    from mri_n2n.comparison.finding import find_runs
    from mri_n2n.comparison.tables import as_csv, as_json, headlines, markdown, tables_of
    from mri_n2n.durable import write_text

    if output is not None and output.exists() and not overwrite:
        raise UsageError(f"{output} is there already. Choose another name or add --overwrite.")
    chosen = format or (SUFFIXES.get(output.suffix.lower()) if output is not None else "text")
    if chosen is None:
        raise UsageError(f"--output {output}: end it in {', '.join(SUFFIXES)}, or say --format.")
    comparison = compare(find_runs(words), method=method, different_data=different_data, grouped=not each)
    if chosen == "text" and output is None:
        for line in headlines(comparison):
            typer.echo(f"- {line}")
        if any(len(arm.runs) > 1 for arm in comparison.arms):
            typer.echo("- --each keeps seeds apart.")
        for table in tables_of(comparison):
            _print(table)
        return
    text = {
        "csv": lambda: as_csv(comparison),
        "json": lambda: json.dumps(as_json(comparison), indent=1, allow_nan=False) + "\n",
        "markdown": lambda: markdown(comparison),
        "html": lambda: _page(comparison, method),
        "text": lambda: (
            "".join(f"- {line}\n" for line in headlines(comparison)) + "".join(map(_text, tables_of(comparison)))
        ),
    }[chosen]()
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(f"Written: {output}")


@runs.command("upload")
def upload_command(archive: Annotated[Path, typer.Argument(help="What `runs export` made.")]) -> None:
    """Put a packed run into MLflow (MLFLOW_TRACKING_URI, else mlflow.db here), as it was. Nothing in it is executed."""
    from mri_n2n.comparison.archive import upload_archive

    typer.echo(f"MLflow run {upload_archive(archive)}")


@runs.command("ui")
def ui_command(port: Annotated[int, typer.Option(help="Of this machine.", min=1, max=65535)] = 5000) -> None:
    """Start MLflow's own pages on the right store, for this machine alone, until Ctrl-C."""
    from mri_n2n.comparison.tracked import serve

    serve(port, typer.echo)


def _page(comparison: "Comparison", method: str | None) -> str:
    from mri_n2n.pages.comparison_page import page_of_runs

    return page_of_runs(comparison, method)


def _print(table: "Table") -> None:
    """A table as wide as the terminal; whole, where it goes to a file."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        typer.echo(_text(table), nl=False)
        return
    _draw(table, console)


def _text(table: "Table") -> str:
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    _draw(table, Console(file=text, width=10_000, highlight=False, markup=False, emoji=False))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _draw(table: "Table", console: object) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn

    assert isinstance(console, Console)
    console.print(table.title, style="bold")  # rich would wrap it to the width of the table
    drawn = Drawn(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    rest = _widths(table)[1:]
    whole = console.width - sum(rest) - len(rest) >= NAMES  # or all columns would be broken, to be as narrow as these
    for place, heading in enumerate(table.heading):
        drawn.add_column(heading, overflow="fold", no_wrap=whole and place > 0)
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    if table.note:
        console.print(table.note)
    console.print()


def _widths(table: "Table") -> list[int]:
    """Of the columns, if nothing in them is broken."""
    columns = zip(table.heading, *table.rows, strict=True)
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
