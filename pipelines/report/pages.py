"""What a report is asked of, and the page that is made of it."""

from collections.abc import Callable
from pathlib import Path

from mri_n2n.durable import read_json
from mri_n2n.errors import UsageError
from mri_n2n.pages.comparison_page import comparison_page
from mri_n2n.pages.page import check_replaceable, write_page
from mri_n2n.pages.run_page import REPORT, report_path, run_page
from mri_n2n.recipes import MRI
from mri_n2n.run_directory import Run, find_run, open_run
from natural_images.recipes import PHOTOGRAPHS
from pipelines.batch.folder import BatchFolder
from pipelines.report.studies import study_page
from rendering.recipes import RENDERINGS

DOMAINS = {domain.name: domain for domain in (MRI, PHOTOGRAPHS, RENDERINGS)}


def page_of(what: Path, output: Path | None, *, overwrite: bool = False) -> tuple[Path, int]:
    """Write the page of what lies at a path, a run's name among them; return where it is, and its bytes."""
    path, page = _made(what)
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
    raise UsageError(
        f"nothing to report at {what}, expected a run (a folder made by `mri-n2n train`, or its name), the output of "
        "`mri-n2n batch`, or a comparison (JSON by `mri-n2n runs compare`)."
    )


def _opened(directory: Path) -> Run:
    content = read_json(directory / "run.json", "run description")
    name = content.get("domain", MRI.name) if isinstance(content, dict) else MRI.name
    return open_run(directory, DOMAINS.get(name, MRI))
