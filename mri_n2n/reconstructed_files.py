"""Files through a trained network: one, or a folder of them, into volumes with the geometry they came with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri_n2n.data import dicom, raw, series
from mri_n2n.data.folders import closed_places, look_into
from mri_n2n.data.kinds import of_another_kind
from mri_n2n.data.series import SeriesFiles, files_and_series
from mri_n2n.data.volumes import Volume, suffix, write_volume
from mri_n2n.environment import volumes_overlapped
from mri_n2n.errors import UsageError
from mri_n2n.file_by_file import Job, Made, planned, work_through
from mri_n2n.notes import telling
from mri_n2n.progress import say
from mri_n2n.reconstruction import IMAGES_OR_SCANS, KNOWN, Reconstructor
from mri_n2n.scans import ScannedVolume


@dataclass(frozen=True)
class Reconstructed:
    """What became of one volume. psnr (dB, mean over slices) is known only for undersampling simulated here."""

    source: Path
    output: Path
    psnr: float | None


def reconstruct_path(
    reconstructor: Reconstructor, source: Path, output: Path, provenance: dict[str, Any], *, overwrite: bool = False
) -> list[Reconstructed]:
    """File to file, or every volume or scan of a folder to the same place in another folder.

    Images may be DICOM series, too: a folder with one series and nothing else may go to a file.
    On a CPU one volume is in memory at a time; beside a GPU the next ones are read and the last ones written meanwhile.
    Beside each output lies a .json that says what made it. A bad volume in a folder is reported and the others are
    still done; then the whole is a `UsageError`.
    """
    found = series.find_series(source, KNOWN) if reconstructor.takes_images else {}
    files = _files(reconstructor, source, found)
    if found:
        say("DICOM series become NIfTI here; `mri-n2n batch` makes DICOM series of them.")
    if len(found) == len(files) == 1 and suffix(output):
        jobs = [Job(files[0], output)]
    else:
        names = {first.relative_to(source): name for first, name in series.series_names(source, found).items()}
        jobs = planned(source, output, files, lambda path: _as_volume(path, names))
    if not source.is_dir() and not suffix(jobs[0].target):
        raise UsageError(f"{output} should end in .nii, .nii.gz or .mgz for one volume, or be an existing folder.")
    identity = {"simulate": reconstructor.simulate, "white": reconstructor.white}
    identity |= reconstructor.density.facts() | provenance

    def read(path: Path) -> Volume | ScannedVolume:
        content = reconstructor.read_series(found[path]) if path in found else reconstructor.read(path)
        if isinstance(content, ScannedVolume):
            tell(path, content)
        return content

    def work(read: Volume | ScannedVolume) -> Made:
        made = reconstructor(read)
        volume = read.volume if isinstance(read, ScannedVolume) else read
        label = reconstructor.label(read)
        about = {"label": label, "simulated": "SIMULATED" in label, "source_sha256": volume.sha256, "psnr": made.psnr}
        return Made(about, lambda path: write_volume(path, made.array, volume, label))

    with telling() as tell:
        done = work_through(
            jobs,
            read,
            work,
            identity,
            overwrite=overwrite,
            ahead=volumes_overlapped(reconstructor.device),
            doing="reconstructing",
            closed=closed_places(source),
            digest=lambda path: dicom.files_sha256(found[path]) if path in found else raw.content_sha256(path),
        )
    return [Reconstructed(job.source, job.target, about["psnr"]) for job, about in done]


def _files(reconstructor: Reconstructor, source: Path, found: SeriesFiles) -> list[Path]:
    if not source.exists():
        raise UsageError(f"no file {source}. Check the path.")
    if source.is_dir() and not reconstructor.takes_images and _only_dicom(source):
        raise UsageError(_advice_on_dicom(reconstructor, source))
    files = files_and_series(source, KNOWN, found) if source.is_dir() else [source]
    usable = [path for path in files if path in found or suffix(path, reconstructor.suffixes)]
    if not usable:
        raise UsageError(_advice(reconstructor, files))
    return usable


def _advice(reconstructor: Reconstructor, files: Sequence[Path]) -> str:
    """What to do about files of which none can be reconstructed as asked."""
    if not suffix(files[0], KNOWN):
        return of_another_kind(files[0], KNOWN)
    if reconstructor.complex:
        return (
            f"{files[0]} is a volume, and this run was trained on raw k-space. Choose another run, or make "
            "scans of it with `mri-n2n simulate --values complex`."
        )
    if not any(suffix(path, raw.SUFFIXES) for path in files):
        return IMAGES_OR_SCANS
    if reconstructor.simulate:
        return f"{files[0]} is raw k-space, and --simulate is for fully sampled volumes. Leave it out."
    return f"{files[0]} is raw k-space, and this run was trained on pairs of images. Choose another run."


def _only_dicom(source: Path) -> bool:
    """Whether there is DICOM under a folder, and nothing else that is known."""
    files = look_into(source).files
    return not any(suffix(path, KNOWN) for path in files) and any(dicom.is_dicom(path) for path in files)


def _advice_on_dicom(reconstructor: Reconstructor, source: Path) -> str:
    if reconstructor.complex:
        return (
            f"{source} holds DICOM, and this run was trained on raw k-space. Choose another run, or make scans of it "
            "with `mri-n2n simulate --values complex`."
        )
    return (
        f"{source} holds DICOM images, and this run reconstructs raw k-space ({', '.join(raw.SUFFIXES)}). If they are "
        "fully sampled, add --simulate to undersample them first."
    )


def _as_volume(path: Path, names: Mapping[Path, Path]) -> Path:
    if path in names:
        return names[path].with_name(names[path].name + ".nii.gz")
    return path.with_name(path.name.removesuffix(path.suffix) + ".nii.gz") if suffix(path, raw.SUFFIXES) else path
