"""One study: read and checked, reconstructed, written, read back, published."""

import hashlib
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mri_n2n.data.volumes import Volume, write_volume
from mri_n2n.durable import disk_full, writing
from mri_n2n.environment import chosen_device, out_of_memory
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.run_directory import open_run
from mri_n2n.scans import ScannedVolume
from pipelines.batch.folder import BatchFolder, study_key
from pipelines.batch.outcome import Outcome, Reason, State

RECONSTRUCTION, THUMBNAIL = "reconstruction.nii.gz", "thumbnail.png"
SHOWN = 3  # slices in a thumbnail
AGAIN = frozenset({Reason.NO_PERMISSION, Reason.GONE, Reason.CHANGED, Reason.TIME_LIMIT, Reason.OUT_OF_MEMORY})
AGAIN |= {Reason.CRASHED, Reason.INTERNAL}  # the same bytes may end otherwise another time


class DiskFull(Exception):
    """There is no room for the output."""


@dataclass(frozen=True)
class Setup:
    """How all studies are reconstructed. run: the trained network's folder; output: the batch's."""

    run: Path
    output: Path
    device: str
    simulate: bool
    white: float | None

    def configuration(self) -> dict[str, Any]:
        """What decides an output beside its input."""
        return {**open_run(self.run).provenance(), "simulate": self.simulate, "white": self.white}

    def reconstructor(self) -> Reconstructor:
        """The network, ready."""
        run = open_run(self.run)
        return Reconstructor(
            run.network(), run.recipe, chosen_device(self.device), simulate=self.simulate, white=self.white
        )


class StudyWork:
    """Takes one study after the other from a file to its published output."""

    def __init__(self, setup: Setup) -> None:
        self.folder = BatchFolder(setup.output)
        self._configuration = setup.configuration()
        self._reconstructor = setup.reconstructor()

    def __call__(self, path: Path, study: str, *, carefully: bool = False) -> Outcome:
        """Bring one study to its end; nothing is done twice. carefully: in the smallest pieces."""
        try:
            outcome = self._worked(path, study, carefully)
            if outcome != self.folder.outcome(study):
                self.folder.settle(outcome)
        except UsageError as error:  # of writing: all that is about the input is an outcome by now
            if disk_full(error):
                raise DiskFull(str(error)) from error
            raise
        return outcome

    def _worked(self, path: Path, study: str, carefully: bool) -> Outcome:
        began = time.monotonic()
        try:
            if not path.is_file():  # nor is it opened: a pipe would keep us waiting
                return Outcome(study, Reason.UNSUPPORTED if path.exists() else Reason.GONE)
            digest = _sha256(path)
        except PermissionError:
            return Outcome(study, Reason.NO_PERMISSION)
        except FileNotFoundError:
            return Outcome(study, Reason.GONE)
        except OSError as error:
            return self._refused(Outcome(study, Reason.UNREADABLE), error)
        key = study_key(digest, self._configuration)
        for known in (self.folder.outcome(study), self.folder.said(study, key)):
            if known and known.key == key and known.reason not in AGAIN and self._stands(known):
                return known
        nothing = Outcome(study, Reason.INTERNAL, key)
        try:
            read = self._reconstructor.read(path)
            volume = read.volume if isinstance(read, ScannedVolume) else read
            if volume.sha256 != digest:
                return replace(nothing, reason=Reason.CHANGED)
            reading = time.monotonic()
            reconstructor = replace(self._reconstructor, batch_size=1) if carefully else self._reconstructor
            try:
                array, _ = reconstructor(read)
            except UsageError as error:
                return self._refused(replace(nothing, reason=Reason.BAD_OUTPUT), error)
        except BadVolume as error:
            return self._refused(replace(nothing, reason=Reason(error.problem.value)), error)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or out_of_memory(error):
                return self._refused(replace(nothing, reason=Reason.OUT_OF_MEMORY), error)
            raise
        computing = time.monotonic()
        label, notes = reconstructor.label(read), list(read.notes) if isinstance(read, ScannedVolume) else []
        staged = self._staged(study, array, volume, label)
        if staged is None:
            return replace(nothing, reason=Reason.BAD_OUTPUT)
        outcome = Outcome(
            study,
            Reason.RECONSTRUCTED,
            key,
            {"read": reading - began, "network": computing - reading, "write": time.monotonic() - computing},
            int(((array < volume.stored_range[0]) | (array > volume.stored_range[1])).sum()),
            {file.name: _sha256(file) for file in sorted(staged.iterdir())},
            {"label": label, "notes": notes, "source_sha256": digest, **self._configuration},
        )
        self.folder.publish(staged, outcome)
        return outcome

    def _staged(self, study: str, array: NDArray[np.float32], volume: Volume, label: str) -> Path | None:
        """Write a study where it is not published yet; None if what is read back is not what was written."""
        staged = self.folder.staging / study
        with writing(staged):
            staged.mkdir(parents=True, exist_ok=True)
            write_volume(staged / RECONSTRUCTION, array, volume, label)
            _draw_thumbnail(staged / THUMBNAIL, array)
        again: Any = nibabel.load(staged / RECONSTRUCTION)
        same = np.array_equal(np.asarray(again.dataobj), np.clip(array, *volume.stored_range))
        return staged if same and np.allclose(again.affine, volume.affine, atol=1e-3) else None

    def _stands(self, known: Outcome) -> bool:
        """Whether what was published is still there, byte for byte."""
        if known.state is not State.DONE:
            return True
        place = self.folder.published(known.study, known.key)
        try:
            return all(_sha256(place / Path(name).name) == digest for name, digest in known.files.items())
        except OSError:
            return False

    def _refused(self, outcome: Outcome, error: BaseException) -> Outcome:
        self.folder.remember("errors", study=outcome.study, reason=outcome.reason, text=_text(error))
        return outcome


def _draw_thumbnail(path: Path, array: NDArray[np.float32]) -> None:
    """Three slices side by side, a quarter, a half and three quarters of the way, black to the 99.8 % quantile."""
    depth = array.shape[2]
    places = [depth * (place + 1) // (SHOWN + 1) for place in range(SHOWN)]
    slices = np.concatenate([np.rot90(array[:, :, place]) for place in places], axis=1)
    white = max(float(np.quantile(slices, 0.998)), float(np.finfo(np.float32).tiny))
    grey = (np.clip(slices / white, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((480, 160))
    image.save(path, optimize=False)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()
