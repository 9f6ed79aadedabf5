"""A network for whoever needs one."""

from pathlib import Path

import pytest
import torch

from mri_n2n.data.slices import open_prepared
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.slice_training import create_slice_run, train_on_slices

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def model(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained for two steps."""
    recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=2, batch_size=2), UNetSpec(width=6))
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path_factory.mktemp("model") / "run", recipe, prepared, data, CPU)
    assert train_on_slices(run, data, CPU, track=False)
    return run.directory
