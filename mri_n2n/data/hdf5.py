"""What of an HDF5 file may be read: data that lies in the file itself, in pieces of a plausible size."""

import math
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mri_n2n.errors import BadVolume, Problem

LONGEST_TEXT = 1 << 20
LARGEST_BLOCK = 1 << 30  # bytes
SMALL_BLOCK = 1 << 14  # bytes; however well these were packed, they unpack to less than 17 MB
DEFLATE, HARMLESS = 1, (2, 3, 32000)  # of the others (shuffle, checksum, LZF) none makes much of little


def inside(group: h5py.Group, name: str) -> h5py.Dataset:
    """A data set that lies in this very file: links and external storage could name any file of the machine."""
    dataset = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise BadVolume(
            f"keeps its `{name}` outside itself or not as a data set, which is refused.", Problem.UNSUPPORTED
        )
    _check_stored(dataset, name)
    return dataset


def _check_stored(dataset: h5py.Dataset, name: str) -> None:
    """Whether all that the data set states is there, and its blocks are as large unpacked as they should be."""
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < dataset.nbytes:
            raise BadVolume(f"states a `{name}` that it does not hold.", Problem.DAMAGED)
        return
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if size > LARGEST_BLOCK:
        raise BadVolume(f"stores its `{name}` in blocks of {size} bytes, which is not plausible.", Problem.IMPLAUSIBLE)
    expected = math.prod(-(-length // block) for length, block in zip(dataset.shape, dataset.chunks, strict=True))
    if dataset.id.get_num_chunks() < expected:
        raise BadVolume(f"states a `{name}` that it does not hold.", Problem.DAMAGED)
    kinds = dataset.id.get_create_plist()
    filters = [kinds.get_filter(number)[0] for number in range(kinds.get_nfilters())]
    if not set(filters) <= {DEFLATE, *HARMLESS} or filters.count(DEFLATE) > 1:
        raise BadVolume(f"packs its `{name}` in a way that is not read.", Problem.UNSUPPORTED)
    if DEFLATE in filters:
        packed: list[h5py.h5d.StoreInfo] = []
        dataset.id.chunk_iter(packed.append)
        for block in packed:
            if block.size > SMALL_BLOCK and _inflates(dataset, block.chunk_offset, size):
                raise BadVolume(f"has a block of `{name}` that is larger unpacked.", Problem.IMPLAUSIBLE)


def _inflates(dataset: h5py.Dataset, place: tuple[int, ...], size: int) -> bool:
    """Whether a block is larger than `size` bytes when it is unpacked, which is not done any further."""
    _, content = dataset.id.read_direct_chunk(place)
    try:
        return len(zlib.decompressobj().decompress(content, size + 1)) > size
    except zlib.error:
        return False  # then it is not unpacked either


def unfollowed(table: h5py.Dataset, start: int, stop: int) -> NDArray[Any]:
    """The records of a table, of fields of variable length only how many values they state.

    Nothing that these refer to is read, as h5py does even for other fields: all records may refer to the same. start:
    the first record of a block. Raises `BadVolume` for tables that are packed.
    """
    plist, offset = table.id.get_create_plist(), table.id.get_offset()
    if plist.get_nfilters() or table.file.id.get_create_plist().get_sizes() != (8, 8):
        raise BadVolume(
            "packs its table of lines, which is not read. Unpack it (h5repack -f NONE).", Problem.UNSUPPORTED
        )
    kind = table.id.get_type()
    size = kind.get_size()
    if table.chunks:
        raw = b"".join(table.id.read_direct_chunk((place,))[1] for place in range(start, stop, table.chunks[0]))
    elif offset is not None:
        with Path(table.file.filename).open("rb") as file:
            file.seek(offset + start * size)
            raw = file.read((stop - start) * size)
    else:
        raise BadVolume("keeps its table of lines in a way that is not read.", Problem.UNSUPPORTED)
    names, types = list(table.dtype.names), [table.dtype[name] for name in table.dtype.names]
    record = np.dtype(
        {
            "names": names,
            "formats": ["<u4" if h5py.check_vlen_dtype(each) else each for each in types],
            "offsets": [kind.get_member_offset(kind.get_member_index(name.encode())) for name in names],
            "itemsize": size,
        }
    )
    return np.frombuffer(raw, record)[: stop - start]


def text(group: h5py.Group, name: str) -> bytes:
    """The one text that a data set holds."""
    dataset = inside(group, name)
    if dataset.size != 1:
        raise BadVolume(f"has {dataset.size} headers, expected one.")
    content = dataset[()] if dataset.ndim == 0 else dataset[0]
    if not isinstance(content, bytes) or len(content) > LONGEST_TEXT:
        raise BadVolume(f"has a header that is no text of at most {LONGEST_TEXT} bytes.")
    return content
