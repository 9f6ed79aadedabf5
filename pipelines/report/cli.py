"""The commands that make reports: `report`, and `runs export`, which packs one with its run."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from mri_n2n.data.cli import Overwrite, starting
from mri_n2n.errors import UsageError, one_line


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


def export_command(
    run: Annotated[str, typer.Argument(help="A run's folder, name or MLflow identifier.")],
    archive: Annotated[Path | None, typer.Argument(help="A file to make.", show_default="NAME.zip")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Pack a run (its record, network, scores, pictures and report) into one file."""
    starting()
    from mri_n2n.comparison.archive import export_run
    from mri_n2n.comparison.finding import find_run
    from pipelines.report.pages import page_of

    record = find_run(run)
    path = archive or Path(f"{record.name}.zip")
    if path.suffix.lower() != ".zip":
        raise UsageError(f"{path} would be a zip: call it .zip.")

    def renew_report(directory: Path) -> None:
        try:
            page_of(str(directory), None)
        except (UsageError, ModuleNotFoundError) as error:
            typer.echo(f"Its report is not made anew: {one_line(error)}", err=True)

    size = export_run(record, path, overwrite=overwrite, prepare=renew_report)
    typer.echo(f"Written: {path} ({size / 1e6:.1f} MB)")
    typer.echo(f"Next, where another MLflow is: MLFLOW_TRACKING_URI=... mri-n2n runs upload {quote(str(path))}")
