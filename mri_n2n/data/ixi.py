"""From a folder of volumes (IXI or any other) to prepared slices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.folders import closed_places
from mri_n2n.data.manifest import Manifest, StoredVolume
from mri_n2n.data.preparation import PrepareRequest, prepare
from mri_n2n.data.selection import normalised
from mri_n2n.data.volumes import named, read_volume
from mri_n2n.progress import say


def prepare_ixi(source: Path, destination: Path, request: PrepareRequest | None = None) -> Manifest:
    """Turn the volumes under `source` into prepared slices at `destination` (see docs/data.md for what is stored)."""
    request = request or PrepareRequest()
    sources = named(source)
    clipped: list[range] = []

    def load(name: str) -> tuple[NDArray[np.float32], StoredVolume]:
        volume = read_volume(sources[name])
        depth = volume.array.shape[2]
        chosen = request.slices.within(sources[name], depth)
        if chosen[-1] < request.slices.last and chosen not in clipped:
            clipped.append(chosen)
            say(f"{sources[name]} (and others): {depth} slices, taking {chosen[0]}..{chosen[-1]}.")
        images, stored = normalised(volume.array[None], chosen)
        return images, replace(stored, sources=[{"file": name, "sha256": volume.sha256}])

    where, closed = f"under {source}", closed_places(source)
    return prepare("images", sources, load, destination, request, where=where, closed=closed)
