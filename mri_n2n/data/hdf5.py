"""What of an HDF5 file may be read: data that lies in the file itself, in pieces of a plausible size."""

import math
import zlib

import h5py

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


def text(group: h5py.Group, name: str) -> bytes:
    """The one text that a data set holds."""
    dataset = inside(group, name)
    if dataset.size != 1:
        raise BadVolume(f"has {dataset.size} headers, expected one.")
    content = dataset[()] if dataset.ndim == 0 else dataset[0]
    if not isinstance(content, bytes) or len(content) > LONGEST_TEXT:
        raise BadVolume(f"has a header that is no text of at most {LONGEST_TEXT} bytes.")
    return content
