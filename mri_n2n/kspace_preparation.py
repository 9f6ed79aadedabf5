"""From a folder of raw scans to prepared k-space."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data import raw
from mri_n2n.data.folders import closed_places
from mri_n2n.data.manifest import FLOAT_BITS, Kind, Manifest, StoredVolume
from mri_n2n.data.preparation import PrepareRequest, prepare
from mri_n2n.data.volumes import named
from mri_n2n.densities import GivenDensity, with_density
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.measured_kspace import FULL, UNDERSAMPLED, stored_planes
from mri_n2n.notes import telling
from mri_n2n.scans import ScannedVolume, complex_volume


def prepare_kspace(
    source: Path, destination: Path, request: PrepareRequest, density: GivenDensity | None = None
) -> Manifest:
    """Turn the raw scans under `source` into prepared k-space at `destination` (see docs/data.md for what is stored).

    Every slice of every coil is stored for itself. The first scan that can be read decides on the size, and on whether
    the data is fully sampled; scans that differ are skipped. density: of scans whose files do not state it.
    """
    density = density or GivenDensity()
    sources = named(source, raw.SUFFIXES)
    held = _first(sources, density)
    first = next(iter(held.values()))
    kind, size = _kind(first), first.measurement.grid
    del first

    def load(name: str) -> tuple[NDArray[np.float32], StoredVolume]:
        path = sources[name]
        scanned = held.pop(name, None)
        held.clear()  # in whatever order they come, one is in memory at a time
        scanned = scanned or _read(path, density)
        tell(path, scanned)
        if scanned.measurement.grid != size:
            found, expected = ("×".join(map(str, grid)) for grid in (scanned.measurement.grid, size))
            raise BadVolume(f"{path} has a plane of {found}, the first scan one of {expected}.", Problem.INCOMPATIBLE)
        if _kind(scanned) != kind:
            other = "undersampled" if kind == FULL else "fully sampled"
            raise BadVolume(f"{path} is {other}, unlike the first scan.", Problem.INCOMPATIBLE)
        chosen = request.slices.within(path, scanned.volume.array.shape[2])
        return _stored(scanned, chosen, name, path)

    request = replace(request, bits=FLOAT_BITS)
    with telling() as tell:
        return prepare(
            kind,
            sources,
            load,
            destination,
            request,
            where=f"under {source}",
            partners=[file for path in sources.values() for file in raw.files_of(path)[1:]],
            size=size,
            also=density.facts() if density.said else None,
            closed=closed_places(source),
        )


def _stored(scanned: ScannedVolume, chosen: range, name: str, path: Path) -> tuple[NDArray[np.float32], StoredVolume]:
    assert scanned.white
    whole = scanned.measurement
    rows = [row for row in scanned.rows(chosen) if whole.samples[row].any()]
    if not rows:
        raise BadVolume(f"{path}: slices {chosen[0]}..{chosen[-1]} are blank. Choose others with --slices.")
    part = replace(whole, samples=whole.samples[rows] / scanned.white, mask=whole.mask[rows])
    notes = {"sampled": float(whole.mask[0].float().mean()), "coils": scanned.coils}
    if scanned.simulated:
        notes["simulated"] = 1
    sources = [{"file": name, "sha256": scanned.volume.sha256}]
    slices = [row // scanned.coils for row in rows]
    return stored_planes(part).numpy(), StoredVolume(slices, scanned.white, sources=sources, notes=notes)


def _first(sources: Mapping[str, Path], density: GivenDensity) -> dict[str, ScannedVolume]:
    """The first scan that can be read, under its name: kept until its turn, so as not to be read twice."""
    for name, path in sources.items():
        try:
            return {name: _read(path, density)}
        except BadVolume as error:  # reported when its turn comes
            last = error
    raise UsageError(f"none of the scans can be used; the last one: {last}")


def _read(path: Path, density: GivenDensity) -> ScannedVolume:
    try:
        scanned = complex_volume(with_density(raw.read_scan(path), density))
        measured = scanned.measurement
        certain = bool((measured.density[0][measured.mask[0]] == 1).all())
        if certain and _kind(scanned) == UNDERSAMPLED:
            raise BadVolume(
                "acquired all that it ever would, and yet not the whole plane (partial echoes, perhaps): there is "
                "nothing to learn from.",
                Problem.INCOMPATIBLE,
            )
        return scanned
    except BadVolume as error:
        raise error.of(path) from None


def _kind(scanned: ScannedVolume) -> Kind:
    """Full is a scan that acquired all that it could; beyond its reach p is 0."""
    measured = scanned.measurement
    return FULL if bool((measured.mask[0] | (measured.density[0] == 0)).all()) else UNDERSAMPLED
