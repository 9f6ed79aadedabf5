"""What of an HDF5 file may be read: data that lies in the file itself, in pieces of a plausible size."""

import math

import h5py

from mri_n2n.data.scan import MOST_VALUES
from mri_n2n.errors import BadVolume, Problem

LONGEST_TEXT = 1 << 20


def inside(group: h5py.Group, name: str) -> h5py.Dataset:
    """A data set that lies in this very file: links and external storage could name any file of the machine."""
    dataset = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise BadVolume(
            f"keeps its `{name}` outside itself or not as a data set, which is refused.", Problem.UNSUPPORTED
        )
    if dataset.chunks and math.prod(dataset.chunks) > MOST_VALUES:
        raise BadVolume(f"stores its `{name}` in blocks that are too large.", Problem.IMPLAUSIBLE)
    return dataset


def text(group: h5py.Group, name: str) -> bytes:
    """The one text that a data set holds."""
    dataset = inside(group, name)
    if dataset.size != 1:
        raise BadVolume(f"has {dataset.size} headers, expected one.")
    content = dataset[()] if dataset.ndim == 0 else dataset[0]
    if not isinstance(content, bytes) or len(content) > LONGEST_TEXT:
        raise BadVolume(f"has a header that is no text of at most {LONGEST_TEXT} bytes.")
    return content
