"""A run to report, and a real browser to look at its page."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import Browser, chromium, installed

from mri_n2n.data.slices import open_prepared
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.report import report_scores
from mri_n2n.run_directory import Run
from mri_n2n.slice_training import create_slice_run, train_on_slices

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose name wants to be HTML, trained for a moment and not evaluated."""
    data = open_prepared(prepared)
    recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=4, batch_size=1), UNetSpec(width=6))
    run = create_slice_run(tmp_path_factory.mktemp("runs") / "<b>x", recipe, prepared, data, CPU)
    assert train_on_slices(run, data, CPU, track=False)
    return run


@pytest.fixture(scope="session")
def evaluated(trained: Run, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of it that is evaluated, too."""
    directory = tmp_path_factory.mktemp("evaluated") / trained.name
    shutil.copytree(trained.directory, directory)
    run = Run(directory, trained.recipe, trained.data, trained.environment)
    report_scores(run, open_prepared(prepared), directory / "evaluation", CPU, classical=False)
    return run


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests."""
    pytest.importorskip("selenium")
    if not installed():
        pytest.skip("no browser: apt install chromium chromium-driver")
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
