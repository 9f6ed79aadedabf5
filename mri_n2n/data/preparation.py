"""Preparing data, whatever it is made of: who goes where, what is skipped, what is already done."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.folders import closed_line
from mri_n2n.data.manifest import Kind, Manifest, StoredVolume
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slice_writer import SliceWriter
from mri_n2n.data.subjects import SplitRequest, subject_of
from mri_n2n.data.volumes import common_size
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.progress import bar, say

Load = Callable[[str], tuple[NDArray[np.float32], StoredVolume]]
"""From a source's name to its slices `[n s h w]`, intensities in [0, 1] or k-space, and what is known of them.

Raises `BadVolume`."""


@dataclass(frozen=True)
class PrepareRequest:
    """What is asked of a preparation, besides its sources."""

    split: SplitRequest = field(default_factory=SplitRequest)
    slices: SliceRequest = field(default_factory=SliceRequest)
    bits: int = 8
    strict: bool = False
    overwrite: bool = False


def prepare(
    kind: Kind,
    sources: Mapping[str, Path],
    load: Load,
    destination: Path,
    request: PrepareRequest,
    *,
    where: str,
    partners: Iterable[Path] = (),
    size: tuple[int, int] | None = None,
    also: Mapping[str, Any] | None = None,
    closed: Iterable[Path] = (),
) -> Manifest:
    """Load each of `sources` (name to file) in turn and store its slices at `destination`.

    A bad volume is reported and skipped, or raised if strict; the next subject takes its place. `partners` are further
    files that the result depends on. `where` names the sources in errors. size: of a slice, where the files are no
    volumes whose headers would say it. also: what else decides the result. closed: what may not be looked at, which is
    skipped as bad volumes are.
    """
    for path in closed:
        if request.strict:
            raise BadVolume(closed_line(path))
        say(f"skipped: {closed_line(path)}")
    split = request.split
    split.check_enough(len({subject_of(name) for name in sources}), where)
    plan = _plan_hash(kind, request, [*sources.values(), *partners], also)
    manifest = Manifest(kind, plan, request.bits, size or common_size(list(sources.values())))
    writer = SliceWriter(destination, manifest, overwrite=request.overwrite)
    if writer.complete:
        say(f"{destination} is already prepared: nothing to do.")
        return writer.manifest
    for name in bar(sources, description="preparing", unit="volume"):
        part = split.of(name, writer.manifest)
        if part is None or writer.has(name):
            continue
        try:
            images, stored = load(name)
        except BadVolume as error:
            if request.strict:
                raise
            say(f"skipped: {error}")
            writer.skip(name, str(error))
            continue
        subject = split.number(name, part, writer.manifest)
        if stored.notes:
            say(f"{subject}: " + ", ".join(f"{key} {value:.4g}" for key, value in stored.notes.items()))
        writer.append(replace(stored, subject=subject, split=part), images)
    try:
        split.check_filled(writer.manifest, where)
    except UsageError:
        writer.discard()
        raise
    return writer.finish(overwrite=request.overwrite)


def _plan_hash(kind: Kind, request: PrepareRequest, files: Iterable[Path], also: Mapping[str, Any] | None) -> str:
    """Identify a request: its options, and name, size and time of change of its sources."""
    options = asdict(replace(request, strict=False, overwrite=False))
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([kind, options, stats, *([dict(also)] if also else [])]).encode()).hexdigest()
