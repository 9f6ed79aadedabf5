"""A network and scans, both small, for all that works on a hospital's studies."""

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from wards import PATIENT

from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.simulation import simulate_path
from mri_n2n.slice_training import create_slice_run, train_on_slices
from mri_n2n.task import Undersampling
from pipelines.batch.folder import BatchFolder

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def model(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained for two steps."""
    from mri_n2n.data.slices import open_prepared
    from mri_n2n.networks.spec import UNetSpec

    recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=2, batch_size=2), UNetSpec(width=6))
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path_factory.mktemp("model") / "run", recipe, prepared, data, CPU)
    assert train_on_slices(run, data, CPU, track=False)
    return run.directory


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small scans, named after a patient."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for number in range(4):
        head = (rng.random((16, 20, 6)) * 200).astype(np.uint8)
        nibabel.Nifti1Image(head, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(folder / f"{PATIENT}-{number}.nii.gz")
    out = tmp_path_factory.mktemp("mrd")
    simulate_path(folder, out, Undersampling(3.0, None), 0)
    for about in out.glob("*.json"):
        about.unlink()
    return out


@pytest.fixture
def held(tmp_path: Path) -> Iterator[BatchFolder]:
    """An output that a batch holds."""
    folder = BatchFolder(tmp_path / "out")
    folder.open()
    with folder.held() as held:
        yield held
