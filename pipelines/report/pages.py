"""What a report is asked of, and the page that is made of it."""

from collections.abc import Callable
from pathlib import Path

from mri_n2n.comparison.compared import compare
from mri_n2n.comparison.finding import directories_in, find_runs, is_there
from mri_n2n.durable import read_json
from mri_n2n.errors import UsageError
from mri_n2n.pages.comparison_page import comparison_page, page_of_runs
from mri_n2n.pages.page import check_replaceable, write_page
from mri_n2n.pages.run_page import REPORT, report_path, run_page
from mri_n2n.recipes import MRI
from mri_n2n.run_directory import Run, find_run, open_run
from mri_n2n.run_files import RUN, RUNS
from natural_images.recipes import PHOTOGRAPHS
from pipelines.batch.folder import BatchFolder
from pipelines.report.studies import study_page
from rendering.recipes import RENDERINGS

DOMAINS = {domain.name: domain for domain in (MRI, PHOTOGRAPHS, RENDERINGS)}


def page_of(what: str, output: Path | None, *, overwrite: bool = False) -> tuple[Path, int]:
    """Write the page of what lies at a path, or of the runs that a word names; return where it is, and its bytes."""
    path, page = _made(what)
    if output is None and Path(what).is_file() and path.exists() and not overwrite:
        raise UsageError(f"{path} is there already, maybe with images. Choose another --output or add --overwrite.")
    path = output or path
    check_replaceable(path, overwrite=overwrite)  # before long work
    write_page(path, page(), overwrite=overwrite)
    return path, path.stat().st_size


def _made(word: str) -> tuple[Path, Callable[[], str]]:
    """Where the page of what a word means belongs, and how it is made."""
    there = word.strip() and (is_there(word) or is_there(RUNS / word))  # an empty one would be this folder
    what = find_run(Path(word)) if there else None
    if what is None:
        return _of_runs(word, Path("comparison.html"))
    if (what / RUN).exists():
        run = _opened(what)
        return report_path(run), lambda: run_page(run)
    if (what / "batch.json").exists():
        return what / REPORT, lambda: study_page(BatchFolder(what))
    if what.is_file():
        content = read_json(what, "comparison")
        return what.with_suffix(".html"), lambda: comparison_page(content, what.name)
    folder = what if what.is_dir() else RUNS / what
    if not any(directories_in(folder)):
        raise UsageError(
            f"nothing to report at {what}, expected a run or a folder of runs (made by `mri-n2n train`), the output of "
            "`mri-n2n batch`, or a comparison (JSON by `mri-n2n runs compare`)."
        )
    return _of_runs(str(folder), folder / REPORT)


def _of_runs(word: str, place: Path) -> tuple[Path, Callable[[], str]]:
    """Of one run its own page, of several their comparison."""
    records = find_runs([word])
    if len(records) > 1:
        comparison = compare(records)
        return place, lambda: page_of_runs(comparison)
    directory = records[0].directory
    if directory is None:
        raise UsageError(f"{word} is known from MLflow alone. Its report is made where its folder is.")
    run = _opened(directory)
    return report_path(run), lambda: run_page(run)


def _opened(directory: Path) -> Run:
    content = read_json(directory / "run.json", "run description")
    name = content.get("domain", MRI.name) if isinstance(content, dict) else MRI.name
    return open_run(directory, DOMAINS.get(name, MRI))
