"""Runs for exports, made without training."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

from mri_n2n.comparison.curves import PSNR
from mri_n2n.evaluation import CONSISTENT, PLAIN
from mri_n2n.networks.spec import save_network
from mri_n2n.recipes import Recipe, described
from mri_n2n.run_directory import Journal, create_run
from mri_n2n.run_files import METRICS
from mri_n2n.training.checkpoint import save_state
from mri_n2n.training.trainer import TrainState, adam


@pytest.fixture
def made_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run of a recipe, of random weights, that has done its steps or as many as are said."""

    def make(recipe: Recipe, steps: int | None = None, name: str = "first") -> Path:
        run = create_run(tmp_path / "runs" / name, recipe, {"fingerprint": "f" * 64, "kind": "x"}, torch.device("cpu"))
        done = recipe.optimisation.steps if steps is None else steps
        torch.manual_seed(0)
        network = recipe.network.build()
        save_network(run.network_path, network, recipe.network, recipe=described(recipe), step=done)
        Journal(run.directory / METRICS).write(done, {PSNR + PLAIN: 20.0, PSNR + CONSISTENT: 30.0})
        save_state(run.state_path, TrainState(network, adam(network), step=done), metric_bytes=0)
        return run.directory

    return make


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the checks of shapes and types that only tests have: torch would take them for conditions."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
