"""Small data for the commands of the documentation, made when the first page asks for it."""

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
import torch
from comparison_runs import made_run
from made_frames import made_frames

CPU = torch.device("cpu")


class Material:
    """Heads, scans, pictures, frames and a network of two steps, each made once and copied to where it is wanted."""

    def __init__(self, folder: Path, heads: Path, prepared: Path, pictures: Path):
        self.folder, self.heads, self.prepared, self.pictures = folder, heads, prepared, pictures
        self.head = sorted(heads.glob("*.nii.gz"))[0]
        self.tracking = f"sqlite:///{folder / 'mlflow.db'}"

    def put(self, what: str, place: Path) -> None:
        """Copy a folder or file to this place."""
        source: Path = getattr(self, what)
        place.parent.mkdir(parents=True, exist_ok=True)
        copy: Callable[..., object] = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, place)

    @cached_property
    def scans(self) -> Path:
        """Raw k-space of the heads, complex."""
        from mri_n2n.simulation import simulate_path
        from mri_n2n.task import Undersampling

        simulate_path(self.heads, self.folder / "scans", Undersampling(5.0, None), 0)
        return self.folder / "scans"

    @cached_property
    def first_scans(self) -> Path:
        """Noisy scans of two heads."""
        return self._rescanned("first-scans", 0)

    @cached_property
    def second_scans(self) -> Path:
        """The same heads, scanned again."""
        return self._rescanned("second-scans", 1)

    def _rescanned(self, name: str, seed: int) -> Path:
        folder, generator = self.folder / name, np.random.default_rng(seed)
        folder.mkdir()
        for path in sorted(self.heads.glob("*.nii.gz"))[:2]:
            head = nibabel.load(path)
            noisy = np.abs(head.get_fdata() + generator.normal(0, 5, head.shape)).astype(np.float32)
            nibabel.Nifti1Image(noisy, head.affine).to_filename(folder / path.name)
        return folder

    @cached_property
    def run(self) -> Path:
        """A network for heads."""
        from mri_n2n.data.slices import open_prepared
        from mri_n2n.networks.spec import UNetSpec
        from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
        from mri_n2n.slice_training import create_slice_run, train_on_slices

        recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=2, batch_size=2), UNetSpec(width=6))
        data = open_prepared(self.prepared)
        run = create_slice_run(self.folder / "run", recipe, self.prepared, data, CPU)
        assert train_on_slices(run, data, CPU, track=False)
        return run.directory

    @cached_property
    def scored_run(self) -> Path:
        """A run with scores."""
        return made_run(self.folder / "scored-run")

    @cached_property
    def other_scored_run(self) -> Path:
        """A better one of another recipe."""
        return made_run(self.folder / "other-scored-run", gain=1.0, recipe={"loss": "ht"})

    @cached_property
    def exposures(self) -> Path:
        """Noisy pictures."""
        return self._noisy("exposures", 0)

    @cached_property
    def second_exposures(self) -> Path:
        """The same pictures with other noise."""
        return self._noisy("second", 1)

    def _noisy(self, name: str, seed: int) -> Path:
        from PIL import Image

        folder, generator = self.folder / name, np.random.default_rng(seed)
        folder.mkdir()
        for path in sorted(self.pictures.iterdir()):
            noisy = np.asarray(Image.open(path)) + generator.normal(0, 20, (64, 80, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / path.name)
        return folder

    @cached_property
    def photograph(self) -> Path:
        """One picture."""
        from PIL import Image

        Image.open(sorted(self.pictures.iterdir())[0]).save(self.folder / "photograph.jpg")
        return self.folder / "photograph.jpg"

    @cached_property
    def frames(self) -> Path:
        """Frames that no renderer made."""
        return made_frames(self.folder / "frames", {"hall": 3, "attic": 2}).directory

    @cached_property
    def other_frames(self) -> Path:
        """And others."""
        return made_frames(self.folder / "other-frames", {"cellar": 2}, seed=1).directory

    @cached_property
    def openexr(self) -> Path:
        """The same as OpenEXR images."""
        from rendering.exchange import export_frames

        export_frames(self.frames, self.folder / "openexr")
        return self.folder / "openexr"

    @cached_property
    def output(self) -> Path:
        """Where a batch has begun to write."""
        from pipelines.batch.folder import BatchFolder

        BatchFolder(self.folder / "output").open()
        return self.folder / "output"
