"""One study: read and checked, reconstructed, written, read back, published."""

import os
import shutil
import time
import traceback
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mri_n2n.data import dicom, raw
from mri_n2n.data.dicom import Series
from mri_n2n.data.volumes import Volume, suffix, write_volume
from mri_n2n.densities import GivenDensity
from mri_n2n.durable import disk_full, read_json, sha256_of, writing
from mri_n2n.environment import chosen_device, out_of_memory
from mri_n2n.errors import BadVolume, Problem, UsageError, problem_of
from mri_n2n.quality import QUALITY, outlier
from mri_n2n.reconstruction import Reconstruction, Reconstructor
from mri_n2n.run_directory import open_run
from mri_n2n.scans import ScannedVolume
from pipelines.batch import attempts
from pipelines.batch.discovery import Study
from pipelines.batch.folder import BatchFolder, study_key
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.publishing import publish, stands
from pipelines.batch.thumbnail import draw_thumbnail

LIBRARIES = ("torch", "numpy")  # whose rounding an output has
RECONSTRUCTION, THUMBNAIL, DERIVED = "reconstruction.nii.gz", "thumbnail.png", "dicom"
CONSISTENT = 1e-3  # of the acquired samples' root mean square: far more than rounding, and far less than a picture
AGAIN = frozenset({Reason.NO_PERMISSION, Reason.GONE, Reason.CHANGED, Reason.TIME_LIMIT, Reason.OUT_OF_MEMORY})
AGAIN |= {Reason.CRASHED, Reason.INTERNAL, Reason.IO}  # the same bytes may end otherwise another time


class DiskFull(Exception):
    """There is no room for the output."""


@dataclass(frozen=True)
class Setup:
    """How all studies are reconstructed.

    run: the trained network's folder; output: the batch's. weights_sha256: the only weights that will do.
    """

    run: Path
    output: Path
    device: str
    simulate: bool
    white: float | None
    density: GivenDensity = field(default_factory=GivenDensity)
    weights_sha256: str | None = None

    def configuration(self) -> dict[str, Any]:
        """What decides an output beside its input."""
        known = open_run(self.run).identity()
        return {**known, "simulate": self.simulate, "white": self.white, **self.density.facts()}

    def provenance(self) -> dict[str, Any]:
        """What an output says of how it was made: the above, and what only names it."""
        libraries = {name: version(name) for name in LIBRARIES}
        return {**open_run(self.run).provenance(), **libraries, **self.configuration()}

    def expected(self) -> list[float]:
        """The held-out PSNRs of the subjects that the network was evaluated on, if it was."""
        path = self.run / "evaluation" / QUALITY
        if not path.exists():
            return []
        known = read_json(path, "quality")
        subjects = known.get("subjects", {}) if known["weights_sha256"] == self._weights() else {}
        return [psnr for figures in subjects.values() if (psnr := figures["held_out_psnr"]) is not None]

    def _weights(self) -> str:
        return str(open_run(self.run).identity()["weights_sha256"])

    def reconstructor(self) -> Reconstructor:
        """The network, ready."""
        run = open_run(self.run)
        return Reconstructor(
            run.network(self.weights_sha256),
            run.recipe,
            chosen_device(self.device),
            simulate=self.simulate,
            white=self.white,
            density=self.density,
        )


Given = Volume | ScannedVolume | Series


@dataclass(frozen=True)
class Made:
    """What the network made of a study. quality, seconds and clipped: see `Outcome`."""

    array: NDArray[np.float32]
    label: str
    notes: list[str]
    quality: dict[str, Any]
    seconds: dict[str, float]
    clipped: int


class StudyWork:
    """Takes one study after the other from a file to its published output."""

    def __init__(self, setup: Setup, folder: BatchFolder) -> None:
        self.folder = folder
        self._configuration = setup.configuration()
        self._provenance = setup.provenance()
        self._reconstructor = setup.reconstructor()
        self._expected = setup.expected()

    def __call__(self, source: Path, study: Study, *, carefully: bool = False) -> Outcome:
        """Bring a study of `source`, a folder, to its end; nothing is done twice. carefully: in the smallest pieces."""
        try:
            outcome = self._worked([source / relative for relative in study.files], study, carefully)
            if outcome != self.folder.outcome(study.name):
                self.folder.settle(outcome)
        except UsageError as error:  # of writing: all that is about the input is an outcome by now
            if disk_full(error):
                raise DiskFull(str(error)) from error
            raise
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or out_of_memory(error)):
                raise
            outcome = self._refused(Outcome(study.name, Reason.OUT_OF_MEMORY), error)
            self.folder.settle(outcome)
        return outcome

    def _worked(self, paths: list[Path], study: Study, carefully: bool) -> Outcome:
        began = time.monotonic()
        digest = self._digest(paths, study)
        if isinstance(digest, Outcome):
            return digest
        key = study_key(digest, self._configuration)
        for known in (self.folder.outcome(study.name), self.folder.said(study.name, key)):
            if known and known.key == key and known.reason not in AGAIN and stands(self.folder, known):
                return known
        if not carefully:  # which is a second try of the same
            attempts.begin(self.folder.begun, study.name)
        nothing = Outcome(study.name, Reason.INTERNAL, key)
        reconstructor = replace(self._reconstructor, batch_size=1) if carefully else self._reconstructor
        try:
            read = self._read(paths, study)
            reading = time.monotonic()
            made = self._made(reconstructor, read)
        except BadVolume as error:
            again = self._digest(paths, study)
            if isinstance(again, Outcome):  # it is out of reach, and nothing is said against these bytes
                return again
            reason = Reason(error.problem.value) if again == digest else Reason.CHANGED
            return self._refused(replace(nothing, reason=reason), error)
        except UsageError as error:  # the output is not finite
            return self._refused(replace(nothing, reason=Reason.BAD_OUTPUT), error)
        writing_begins = time.monotonic()
        staged = self._staged(study, key, made, read)
        if staged is None:
            return self._discarded(replace(nothing, reason=Reason.BAD_OUTPUT))
        if self._digest(paths, study) != digest:  # now that nothing is read any more
            return self._discarded(replace(nothing, reason=Reason.CHANGED))
        outcome = replace(
            nothing,
            reason=Reason.RECONSTRUCTED,
            seconds={"read": reading - began, **made.seconds, "write": time.monotonic() - writing_begins},
            clipped=made.clipped,
            quality=made.quality,
            files={file.relative_to(staged).as_posix(): sha256_of(file) for file in sorted(staged.rglob("*.*"))},
            about={"label": made.label, "notes": made.notes, "source_sha256": digest, **self._provenance},
        )
        return publish(self.folder, staged, outcome)

    def _digest(self, paths: list[Path], study: Study) -> str | Outcome:
        """The hash of the input's bytes, or why there is none."""
        try:
            if study.files[0].endswith("/"):  # a folder that could not be looked into
                with os.scandir(paths[0]):
                    return Outcome(study.name, Reason.GONE)
            for path in paths:
                if not path.is_file():  # nor is it opened: a pipe would keep us waiting
                    reason = Reason.UNSUPPORTED if path.exists() else Reason.GONE
                    return self._refused(Outcome(study.name, reason), UsageError(f"{path} is no file, or gone."))
            digest = dicom.files_sha256(paths) if study.series else raw.content_sha256(paths[0])
            return f"{digest} and {study.missing} missing" if study.missing else digest
        except FileNotFoundError as error:
            return self._refused(Outcome(study.name, Reason.GONE), error)
        except OSError as error:
            return self._refused(Outcome(study.name, Reason(problem_of(error).value)), error)

    def _made(self, reconstructor: Reconstructor, read: Given) -> Made:
        began = time.monotonic()
        seen = read.volume if isinstance(read, Series) else read
        made = reconstructor(seen)
        if (made.residual or 0) > CONSISTENT:
            raise UsageError(f"the reconstruction is off the acquired samples by {made.residual:.1%}.")
        reconstructed = time.monotonic()
        quality = self._quality(reconstructor, seen, made)
        return Made(
            made.array,
            reconstructor.label(seen),
            list(seen.notes) if isinstance(seen, ScannedVolume) else [],
            quality,
            {"network": reconstructed - began, "quality": time.monotonic() - reconstructed},
            int((np.clip(made.array, *_volume(read).stored_range) != made.array).sum()),
        )

    def _quality(
        self, reconstructor: Reconstructor, seen: Volume | ScannedVolume, made: Reconstruction
    ) -> dict[str, Any]:
        """What is said of it without a reference; nothing of plain images."""
        if made.residual is None:
            return {}
        psnr = reconstructor.held_out_psnr(seen)
        unlike = None if psnr is None else outlier(psnr, self._expected)
        return {"held_out_psnr": psnr, "consistency_residual": made.residual, "outlier": unlike}

    def _read(self, paths: list[Path], study: Study) -> Given:
        reconstructor = self._reconstructor
        if study.series:
            if not reconstructor.takes_images:
                needed = "another run" if reconstructor.complex else "--simulate"
                raise BadVolume(f"is images: they need {needed}, and an OUTPUT of their own.", Problem.INCOMPATIBLE)
            if study.missing:
                raise BadVolume(f"lacks {study.missing} images that a DICOMDIR lists.", Problem.INCOMPLETE)
            series = dicom.read_series(paths)
            if series.derived:  # else they would come back for ever from a PACS
                raise BadVolume("was derived by this program.", Problem.UNSUPPORTED)
            reconstructor.check(series.volume)
            return series
        if not suffix(paths[0], reconstructor.suffixes):
            advice = (
                "is raw k-space, and --simulate is for images: batch the two apart, each with an OUTPUT of its own."
                if reconstructor.simulate
                else "is no raw k-space. Images need --simulate, and an OUTPUT of their own."
                if reconstructor.undersampled and not reconstructor.takes_images
                else "is of a kind that this run does not reconstruct."
            )
            raise BadVolume(advice, Problem.INCOMPATIBLE)
        return reconstructor.read(paths[0])

    def _staged(self, study: Study, key: str, made: Made, read: Given) -> Path | None:
        """Write a study where it is not published yet; None if what is read back is not what was written."""
        volume = _volume(read)
        staged = self.folder.staging / study.name
        shutil.rmtree(staged, ignore_errors=True)  # of an attempt whose output was not good
        with writing(staged):
            staged.mkdir()
            write_volume(staged / RECONSTRUCTION, made.array, volume, made.label)
            draw_thumbnail(staged / THUMBNAIL, made.array, volume.affine)
        again: Any = nibabel.load(staged / RECONSTRUCTION)
        clipped = np.clip(made.array, *volume.stored_range)
        if not _alike(np.asarray(again.dataobj), again.affine, clipped, volume.affine, 0.0):
            return None
        if not isinstance(read, Series):
            return staged
        with writing(staged):
            (staged / DERIVED).mkdir(exist_ok=True)
            files = dicom.write_series(staged / DERIVED, made.array, read, made.label, key, self._provenance)
        try:
            written = dicom.read_series(files).volume
        except BadVolume:
            return None
        return staged if _alike(written.array, written.affine, clipped, volume.affine, 0.51 * read.slope) else None

    def _discarded(self, outcome: Outcome) -> Outcome:
        shutil.rmtree(self.folder.staging / outcome.study, ignore_errors=True)
        return outcome

    def _refused(self, outcome: Outcome, error: BaseException) -> Outcome:
        self.folder.explain(outcome, _text(error))
        return outcome


def _volume(read: Given) -> Volume:
    return read if isinstance(read, Volume) else read.volume


def _alike(
    array: NDArray[Any], affine: NDArray[Any], expected: NDArray[Any], geometry: NDArray[Any], tolerance: float
) -> bool:
    same = array.shape == expected.shape and bool((np.abs(array - expected) <= tolerance).all())
    return same and np.allclose(affine, geometry, atol=1e-3)


def _text(error: BaseException) -> str:
    return str(error) if isinstance(error, UsageError) else "".join(traceback.format_exception_only(error)).strip()
