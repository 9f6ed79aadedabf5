"""Shapes and types of the whole engine are checked while the tests run; small prepared data for everyone."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import install_import_hook

# All but the command line: typer hands over contexts of another class than the one it exports.
ROOT = Path(__file__).parents[1]
MODULES = [path for package in ("mri_n2n", "natural_images", "rendering") for path in (ROOT / package).rglob("*.py")]
CHECKED = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES]
CHECKED = [module for module in CHECKED if ".cli" not in module and not module.endswith(".__init__")]
install_import_hook(CHECKED, "typechecker.check")

import pytest
import torch

from mri_n2n.data.ixi import prepare_ixi
from mri_n2n.data.phantom import write_heads
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from natural_images.procedural import write_pictures

os.environ["MPLBACKEND"] = "agg"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # begun in a shell's background: nothing would hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # the tests share the cores: two threads each would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

SHARED = Path(os.environ.get("MRI_N2N_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


TRAINING = {"train", "reproduce", "flythrough"}  # commands


@dataclass
class Answer:
    """What the command line gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def shared_ixi() -> Path:
    """The real IXI volumes at 2 mm."""
    path = SHARED / "mri" / "ixi-t1-2mm"
    if not path.is_dir():
        pytest.skip(f"no real volumes at {path}: set MRI_N2N_SHARED_DATA")
    return path


@pytest.fixture
def shared_photos() -> Path:
    """The photographs: kodak, bsd300-test and train."""
    path = SHARED / "photos"
    if not path.is_dir():
        pytest.skip(f"no photographs at {path}: set MRI_N2N_SHARED_DATA")
    return path


@pytest.fixture
def shared_scenes() -> Path:
    """Three scenes of Mitsuba 3: cornell-box, staircase2 and veach-ajar."""
    path = SHARED / "scenes"
    if not path.is_dir():
        pytest.skip(f"no scenes at {path}: set MRI_N2N_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve procedural pictures, 64×80."""
    folder = tmp_path_factory.mktemp("pictures") / "train"
    write_pictures(folder, 12, (64, 80))
    return folder


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small procedural heads, 48×48×36."""
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder, subjects=4, size=48)
    return folder


@pytest.fixture(scope="session")
def prepared(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heads as prepared data: 2 + 2 subjects, 6 slices each."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare_ixi(heads, folder, PrepareRequest(SplitRequest(2, 2), SliceRequest(14, 19)))
    return folder


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with nothing in it: to make one takes seconds, to copy it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture
def tiny_recipe() -> Recipe:
    """A recipe that trains in seconds."""
    return Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=12, batch_size=2), UNetSpec(width=12))


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Callable[..., Answer]:
    """Run the command line in this process, in a directory of its own, as `mri-n2n ARGUMENTS` would.

    What trains finds an MLflow database there: to make one for each test would take a minute of all of them.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: object) -> Answer:
        from pipelines.cli import main

        store = Path("mlflow.db").absolute()
        made = bool(TRAINING & set(arguments)) and "MLFLOW_TRACKING_URI" not in os.environ and not store.exists()
        if made:
            shutil.copy(request.getfixturevalue("made_store"), store)
        monkeypatch.setattr(sys, "argv", ["mri-n2n", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        if made and code == 2:
            store.unlink()  # of what is refused nothing may be left
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
