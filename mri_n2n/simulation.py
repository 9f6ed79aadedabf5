"""Files of raw k-space made of fully sampled volumes, for trying out what is meant for scanners."""

from collections.abc import Mapping
from pathlib import Path

from mri_n2n.data import dicom, mrd
from mri_n2n.data.folders import closed_places
from mri_n2n.data.kinds import of_another_kind
from mri_n2n.data.mrd_header import SIMULATED
from mri_n2n.data.scan import Scan
from mri_n2n.data.series import files_and_series, find_series, read_series, series_names
from mri_n2n.data.volumes import SUFFIXES, read_volume, stem, suffix
from mri_n2n.durable import sha256_of
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.file_by_file import Job, Made, planned, work_through
from mri_n2n.scans import simulated_scan
from mri_n2n.task import Undersampling
from mri_n2n.training.seeding import RandomStreams

SMOOTH = "SIMULATED: smooth and random; coils on a ring"


def simulate_path(
    source: Path,
    folder: Path,
    sampling: Undersampling,
    seed: int,
    *,
    coils: int | None = None,
    overwrite: bool = False,
) -> list[Job]:
    """An ISMRMRD file in `folder` for a volume, or for every one of a folder; those that are there already are left.

    Volumes are files and DICOM series.

    One mask per volume, drawn from the seed and the file's bytes, and so the same on every machine and in any order.
    With `coils` the image is complex: see `simulated_scan`.
    """
    if not source.exists():
        raise UsageError(f"no file or folder {source}. Check the path.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, expected a folder for the scans.")
    streams = RandomStreams(seed)
    series = find_series(source, SUFFIXES)
    if source.is_dir():
        names = {first.relative_to(source): name for first, name in series_names(source, series).items()}
        files = files_and_series(source, SUFFIXES, series)
        jobs = planned(source, folder, files, lambda path: _as_scan(path, names))
    elif suffix(source):
        jobs = [Job(source, folder / _as_scan(source, {}).name)]
    else:
        raise UsageError(of_another_kind(source, SUFFIXES))

    def read(path: Path) -> Scan:
        volume = read_series(series[path]) if path in series else read_volume(path)
        height, width, _ = volume.array.shape
        generator = streams.at(f"simulated scan/{volume.sha256}", 0)
        try:
            return simulated_scan(volume, sampling.decay((height, width)), generator, coils=coils)
        except UsageError as error:
            raise BadVolume(f"{path}: {error}") from None

    def work(scan: Scan) -> Made:
        facts = {"seed": str(seed), "source_sha256": scan.sha256}
        if coils is not None:
            facts["phase"] = SMOOTH
        about = {"label": SIMULATED, "source_sha256": scan.sha256, "kept": float(scan.mask.mean())}
        return Made(about, lambda path: mrd.write_scan(path, scan, facts))

    identity = {
        "acceleration": sampling.acceleration,
        "edge_probability": sampling.edge_probability,
        "seed": seed,
        "coils": coils,
    }

    def digest(path: Path) -> str:
        return dicom.files_sha256(series[path]) if path in series else sha256_of(path)

    done = work_through(
        jobs,
        read,
        work,
        identity,
        overwrite=overwrite,
        doing="simulating",
        closed=closed_places(source),
        digest=digest,
    )
    return [job for job, _ in done]


def _as_scan(path: Path, names: Mapping[Path, Path]) -> Path:
    name = names.get(path) or path.with_name(stem(path))
    return name.with_name(name.name + ".h5")
