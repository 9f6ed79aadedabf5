"""The frame of a JPEG, JPEG-LS or JPEG 2000 stream, told from its headers without decoding it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

END = b"\xff\xd9"
_START, _START_2000, _SIZE_2000 = b"\xff\xd8", b"\xff\x4f", b"\xff\x51"
_CODING_2000, _COMPONENT_2000, _TILE_2000 = 0xFF52, 0xFF53, 0xFF90
SCAN = 0xDA
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # markers that begin a frame, of JPEG-LS the last one


@dataclass(frozen=True)
class Frame:
    """What a stream says of its picture. kind: the marker that says it. precision: bits of a value."""

    kind: int
    rows: int
    columns: int
    components: int
    precision: int


def whole(stream: bytes) -> bytes:
    """A stream without what it was padded with; raises `ValueError` if it does not begin or end as one."""
    stream = stream.rstrip(b"\0")
    if not stream.startswith((_START, _START_2000)) or not stream.endswith(END):
        raise ValueError("a compressed slice has no beginning or no end")
    return stream


def segments(stream: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and end of each header of a JPEG or JPEG-LS stream, up to where pixels begin."""
    place = 2
    marker = 0
    while marker != SCAN:
        while stream[place : place + 2] == b"\xff\xff":  # a filling
            place += 1
        filled, marker, length = struct.unpack_from(">BBH", stream, place)
        if filled != 0xFF or length < 2 or place + 2 + length > len(stream):
            raise ValueError("a compressed slice has a broken header")
        content = stream[place + 4 : place + 2 + length]
        place += 2 + length
        yield marker, content, place


def lossless(stream: bytes) -> bool:
    """Whether a JPEG-LS or JPEG 2000 stream says that its coding loses nothing."""
    if not stream.startswith(_START_2000):
        *_, (_, scan, begin) = segments(stream)
        if begin > len(stream) - len(END):
            raise ValueError("a compressed slice has no pixels")
        return not any(scan[1 + 2 * scan[0] :][0::2])  # NEAR and the point transform
    coded = [content for marker, content in _headers_2000(stream) if marker == _CODING_2000]
    components = [content for marker, content in _headers_2000(stream) if marker == _COMPONENT_2000]
    return len(coded) == 1 and coded[0][9] == 1 and all(content[6] == 1 for content in components)  # the 5/3 wavelet


def _headers_2000(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the headers before the first tile."""
    place = 2
    while (marker := int.from_bytes(stream[place : place + 2])) != _TILE_2000:
        (length,) = struct.unpack_from(">H", stream, place + 2)
        yield marker, stream[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)


def frame_of(stream: bytes) -> Frame:
    """What the stream says of its picture. Raises `ValueError` or `struct.error` if it says nothing, or twice."""
    if stream.startswith(_START_2000):
        if stream[2:4] != _SIZE_2000:
            raise ValueError("a compressed slice does not say its size")
        right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
        components, precision, wide, high = struct.unpack_from(">HBBB", stream, 40)
        if (wide, high) != (1, 1):
            raise ValueError("a compressed slice is subsampled")
        return Frame(_SIZE_2000[1], bottom - top, right - left, components, (precision & 0x7F) + 1)
    frames = [
        Frame(marker, rows, columns, components, precision)
        for marker, content, _ in segments(stream)
        if marker in FRAMES
        for precision, rows, columns, components in [struct.unpack_from(">BHHB", content)]
    ]
    if len(frames) != 1:
        raise ValueError(f"a compressed slice has {len(frames)} frames, expected one")
    return frames[0]
