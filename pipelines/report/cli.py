"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer

from mri_n2n.data.cli import Overwrite, starting


def report_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|RUNS|STUDIES|COMPARISON",
            help="A run or several (a folder, name, MLflow identifier or filter), the output of `mri-n2n batch`, or "
            "JSON by `runs compare`.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The page to write.", show_default="in it; of JSON beside it; comparison.html")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML file that shows a run, a batch of studies or a comparison. It needs nothing else."""
    starting()
    from pipelines.report.pages import page_of

    path, size = page_of(what, output, overwrite=overwrite)
    typer.echo(f"Report: {path} ({size / 1e6:.1f} MB; open it in a browser, send it to anyone)")
