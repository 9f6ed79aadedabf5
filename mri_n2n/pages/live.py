"""The page of a run while it is being trained: written again after evaluations, and never at training's expense."""

import time
from collections.abc import Callable, Sequence

from mri_n2n.durable import write_text
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.illustrations import Illustration, Watch
from mri_n2n.pages.record import curves_of, last_step
from mri_n2n.pages.run_page import report_path, run_page
from mri_n2n.progress import say
from mri_n2n.run_directory import Run

ENDED = ("FINISHED", "KILLED")  # with a network that can be looked at
SHARE = 0.05  # of the time that may be spent on pages, beside the first and the last one


def live_report(run: Run, share: float = SHARE) -> Watch:
    """A function that writes the run's page, given what makes the examples of the moment, and the status.

    RUNNING: the page refreshes itself. It is skipped where pages would take more than `share` of the time. With any
    other status it is the last page: its examples are made again if an evaluation was skipped since the latest ones,
    unless the training failed. What fails is told once and harms nothing.
    """
    began = time.monotonic()
    spent = 0.0
    latest: Sequence[Illustration] = ()
    step: int | None = None  # that the latest examples are of
    silent, first, skipped = False, True, False

    def write(examples: Callable[[], Sequence[Illustration]], status: str) -> None:
        nonlocal spent, latest, step, silent, first, skipped
        now = time.monotonic()
        running = status == "RUNNING"
        if silent:
            return
        if running and spent > share * (now - began):
            skipped = True
            return
        try:
            if running or (skipped and status in ENDED):
                latest, skipped = examples(), False
                step = last_step(curves_of(run)) if running else run.provenance()["step"]
            write_text(report_path(run), run_page(run, latest, status, step))
        except (UsageError, ImportError, *UNREADABLE) as error:
            silent = True
            say(f"no more reports of this training ({one_line(error)}). It goes on.")
        spent += 0.0 if first else time.monotonic() - now
        first = False

    return write
