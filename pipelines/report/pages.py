"""What a report is asked of, and the page that is made of it."""

from collections.abc import Callable
from pathlib import Path

from mri_n2n.comparison.compared import compare
from mri_n2n.comparison.finding import find_runs
from mri_n2n.comparison.tables import as_json
from mri_n2n.durable import read_json
from mri_n2n.errors import UsageError
from mri_n2n.pages.comparison_page import comparison_page
from mri_n2n.pages.page import check_replaceable, write_page
from mri_n2n.pages.run_page import REPORT, report_path, run_page
from mri_n2n.recipes import MRI
from mri_n2n.run_directory import Run, find_run, open_run
from mri_n2n.run_files import RUNS
from natural_images.recipes import PHOTOGRAPHS
from pipelines.batch.folder import BatchFolder
from pipelines.report.studies import study_page
from rendering.recipes import RENDERINGS

DOMAINS = {domain.name: domain for domain in (MRI, PHOTOGRAPHS, RENDERINGS)}


def page_of(what: str, output: Path | None, *, overwrite: bool = False) -> tuple[Path, int]:
    """Write the page of what lies at a path, or of the runs that a word names; return where it is, and its bytes."""
    path, page = _made(Path(what))
    path = output or path
    check_replaceable(path, overwrite=overwrite)  # before long work
    write_page(path, page(), overwrite=overwrite)
    return path, path.stat().st_size


def _made(what: Path) -> tuple[Path, Callable[[], str]]:
    """Where the page of what lies at a path belongs, and how it is made."""
    directory = find_run(what)
    if (directory / "run.json").exists():
        run = _opened(directory)
        return report_path(run), lambda: run_page(run)
    if (what / "batch.json").exists():
        return what / REPORT, lambda: study_page(BatchFolder(what))
    if what.is_file():
        content = read_json(what, "comparison")
        return what.with_suffix(".html"), lambda: comparison_page(content, what.name)
    return _of_runs(what)


def _of_runs(what: Path) -> tuple[Path, Callable[[], str]]:
    """Of one run its own page, of several their comparison."""
    try:
        records = find_runs([str(what)])
    except UsageError:
        if not what.exists():
            raise
        raise UsageError(
            f"nothing to report at {what}, expected a run or a folder of runs (made by `mri-n2n train`), the output of "
            "`mri-n2n batch`, or a comparison (JSON by `mri-n2n runs compare`)."
        ) from None
    if len(records) > 1:
        folder = next((path for path in (what, RUNS / what) if path.is_dir()), None)
        place = Path("comparison.html") if folder is None else folder / REPORT
        return place, lambda: comparison_page(as_json(compare(records)), str(what))
    directory = records[0].directory
    if directory is None:
        raise UsageError(f"{what} is known from MLflow alone. Its report is made where its folder is.")
    run = _opened(directory)
    return report_path(run), lambda: run_page(run)


def _opened(directory: Path) -> Run:
    content = read_json(directory / "run.json", "run description")
    name = content.get("domain", MRI.name) if isinstance(content, dict) else MRI.name
    return open_run(directory, DOMAINS.get(name, MRI))
