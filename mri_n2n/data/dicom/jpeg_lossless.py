"""Decoding lossless JPEG (ITU-T T.81, process 14), strictly: every bit is a pixel's, and every pixel has its bits.

The usual decoders fill up what is missing with grey. This one is numpy alone, so that hostile input meets no C.
"""

import re
import struct
from array import array
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mri_n2n.data.dicom.jpeg import END, frame_of, segments

LOSSLESS, TABLES, INTERVAL = 0xC3, 0xC4, 0xDD  # markers
CHUNK = 1 << 16  # bytes whose bits are looked at in one go
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_STRAY = re.compile(rb"\xff(?!\x00)")

Table = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # by the 16 bits ahead: length of the code, category of difference


def decode(stream: bytes) -> NDArray[np.uint16]:
    """The picture `[row column]` of a stream as `jpeg.whole` returns it: one component, of 2 to 16 bits.

    Raises `ValueError`, `LookupError` or `struct.error` where bits are missing or left.
    """
    frame = frame_of(stream)
    tables: dict[int, Table] = {}
    interval = 0
    *headers, (_, scan, begin) = segments(stream)
    for marker, content, _ in headers:
        if marker == TABLES:
            tables |= _tables(content)
        elif marker == INTERVAL:
            (interval,) = struct.unpack(">H", content)
    count, _, table, predictor, last, transform = struct.unpack(">BBBBBB", scan)
    if (frame.kind, frame.components, count, last, transform) != (LOSSLESS, 1, 1, 0, 0) or not 1 <= predictor <= 7:
        raise ValueError("a slice is not compressed as lossless JPEG")
    if not (2 <= frame.precision <= 16 and frame.rows and frame.columns) or interval % frame.columns:
        raise ValueError("a compressed slice contradicts itself")
    rows = interval // frame.columns or frame.rows
    parts = _RESTART.split(stream[begin : -len(END)])
    if [mark[0] & 7 for mark in parts[1::2]] != [number % 8 for number in range(-(-frame.rows // rows) - 1)]:
        raise ValueError("a compressed slice lacks a part")
    picture = np.empty((frame.rows, frame.columns), np.uint16)
    for number, part in enumerate(parts[::2]):
        strip = picture[number * rows : (number + 1) * rows]
        strip[:] = _differences(part, tables[table >> 4], strip.size).reshape(strip.shape)
        _add_predictions(strip, frame.precision, predictor)
    if int(picture.max()) >> frame.precision:
        raise ValueError("a compressed slice has values beyond its range")
    return picture


def _tables(content: bytes) -> dict[int, Table]:
    """Huffman tables, by their numbers."""
    found = {}
    while content:
        lengths, categories = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
        counts = content[1:17]
        values = content[17 : 17 + sum(counts)]
        if len(counts) < 16 or len(values) < sum(counts) or max(values, default=0) > 16:
            raise ValueError("a compressed slice has a broken table")
        place = 0
        for length, category in zip(np.repeat(np.arange(1, 17), list(counts)).tolist(), values, strict=True):
            upto = place + (1 << (16 - length))
            if upto > 1 << 16:
                raise ValueError("a compressed slice has a table of too many codes")
            lengths[place:upto], categories[place:upto] = length, category
            place = upto
        found[content[0]] = lengths, categories
        content = content[17 + len(values) :]
    return found


def _differences(part: bytes, table: Table, count: int) -> NDArray[np.uint16]:
    """What `count` pixels differ by from their predictions, modulo 2¹⁶."""
    body = part.rstrip(b"\xff")  # which may fill the space to a marker, or be what a last bit is padded to
    if _STRAY.search(body):
        raise ValueError("a compressed slice has a marker within its pixels")
    data = np.frombuffer(part.replace(b"\xff\x00", b"\xff") + bytes(8), np.uint8)
    size = 8 * (len(data) - 8)
    if count > size:  # before anything grows with what is only stated
        raise ValueError("a compressed slice lacks pixels")
    lengths, categories = table
    extra = np.where(categories < 16, categories, 0).astype(np.uint8)  # bits after the code
    steps = bytearray()
    for begin in range(0, len(data) - 8, CHUNK):
        some = data[begin : min(begin + CHUNK, len(data) - 8) + 2].astype(np.uint32)
        wide = some[:-2] << 16 | some[1:-1] << 8 | some[2:]
        steps += (lengths + extra)[wide[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF].tobytes()
    places = array("L")
    place = 0
    for _ in range(count):  # an IndexError where the bits end
        places.append(place)
        place += steps[place]
    begins = np.frombuffer(places, np.uint64).astype(np.int64)
    codes = _ahead(data, begins)
    if not lengths[codes].all() or not 0 <= size - place < 8 * (1 + len(part) - len(body)):
        raise ValueError("a compressed slice lacks pixels, or has more of them than it states")
    category = categories[codes].astype(np.int64)
    bits = _ahead(data, begins + lengths[codes]) >> (16 - extra[codes])
    low = np.where(bits < (1 << category >> 1), bits - (1 << category) + 1, bits)  # the lower half is negative
    return np.where(category < 16, low, 1 << 15).astype(np.uint16)


def _ahead(data: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The 16 bits that begin at each of these bits."""
    byte = places >> 3
    wide = data[byte].astype(np.int64) << 16 | data[byte + 1].astype(np.int64) << 8 | data[byte + 2]
    ahead: NDArray[np.int64] = wide >> (8 - (places & 7)) & 0xFFFF
    return ahead


def _add_predictions(picture: NDArray[np.uint16], precision: int, predictor: int) -> None:
    """Make values of differences, in place. Predictors are named as in table H.1: a left, b above, c above left."""
    picture[:1, :1] += np.uint16(1 << (precision - 1))
    if predictor in (1, 4):  # a; a + b - c
        down = picture if predictor == 4 else picture[:, 0]
        np.cumsum(down, axis=0, out=down)
        np.cumsum(picture, axis=1, out=picture)
        return
    np.cumsum(picture[0], out=picture[0])
    if predictor == 2:  # b
        np.cumsum(picture, axis=0, out=picture)
        return
    for above, row in pairwise(picture):
        row[:1] += above[:1]
        if predictor == 3:  # c
            row[1:] += above[:-1]
        elif predictor == 5:  # a + (b - c) / 2
            row[1:] += (np.diff(above.astype(np.int32)) >> 1).astype(np.uint16)
            np.cumsum(row, out=row)
        else:
            row[:] = _one_by_one(above.tolist(), row.tolist(), predictor)


def _one_by_one(above: list[int], row: list[int], predictor: int) -> list[int]:
    """A row whose pixels cannot be told but from left to right: the first is a value, the others are differences."""
    for place in range(1, len(row)):
        left = row[place - 1]
        if predictor == 6:  # b + (a - c) / 2
            row[place] += above[place] + (left - above[place - 1] >> 1)
        else:  # (a + b) / 2
            row[place] += left + above[place] >> 1
        row[place] &= 0xFFFF
    return row
