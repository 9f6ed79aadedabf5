"""The page of a run while it is being trained: written again after every evaluation."""

from collections.abc import Callable, Sequence

from mri_n2n.durable import write_text
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.illustrations import Illustration, Watch
from mri_n2n.pages.record import curves_of, last_step
from mri_n2n.pages.run_page import report_path, run_page
from mri_n2n.progress import say
from mri_n2n.run_directory import Run


def live_report(run: Run) -> Watch:
    """A function that writes the run's page, given what makes the examples of the moment, and the status.

    RUNNING: the page refreshes itself. With any other status it is the last page, with the latest examples. What fails
    is told once and harms nothing.
    """
    latest: Sequence[Illustration] = ()
    step: int | None = None  # that the latest examples are of
    silent = False

    def write(examples: Callable[[], Sequence[Illustration]], status: str) -> None:
        nonlocal latest, step, silent
        if silent:
            return
        try:
            if status == "RUNNING":
                latest, step = examples(), last_step(curves_of(run))
            write_text(report_path(run), run_page(run, latest, status, step))
        except (UsageError, ImportError, *UNREADABLE) as error:
            silent = True
            say(f"no more reports of this training ({one_line(error)}). It goes on.")

    return write
