"""Slices compressed without loss as archives hold them, by other programs than the one that reads them, for tests."""

import io
import struct
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder

from mri_n2n.data.dicom.pixels import READABLE

LENGTHS = [0, 1, 4, 2, *[1] * 10, 0, 0]  # how many codes of 1, 2... 16 bits, for the 17 categories
Encoder = Callable[[NDArray[np.uint16], int], bytes]


def lossless_jpeg(picture: NDArray[np.uint16], precision: int, predictor: int = 1, strip: int = 0) -> bytes:
    """The picture as lossless JPEG. strip: rows after which the coder starts anew; 0: never."""
    rows, columns = picture.shape
    table = bytes([0, *LENGTHS, *range(17)])
    headers = [
        (0xC3, struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0)),
        (0xC4, table),
        (0xDD, struct.pack(">H", strip * columns)),
        (0xDA, bytes([1, 1, 0, predictor, 0, 0])),
    ]
    stream = b"\xff\xd8" + b"".join(
        struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content for marker, content in headers
    )
    starts = [*range(0, rows, strip or rows), rows]
    for number, (begin, end) in enumerate(pairwise(starts)):
        mark = bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b""
        stream += mark + _coded(_differences(picture[begin:end].astype(int), precision, predictor))
    return stream + b"\xff\xd9"


def _differences(picture: NDArray[np.int_], precision: int, predictor: int) -> NDArray[np.int_]:
    a, b, c = (np.roll(picture, shift, axis) for shift, axis in ((1, 1), (1, 0), ((1, 1), (0, 1))))
    guess = {1: a, 2: b, 3: c, 4: a + b - c, 5: a + (b - c >> 1), 6: b + (a - c >> 1), 7: a + b >> 1}[predictor]
    guess[0, 1:], guess[1:, 0] = picture[0, :-1], picture[:-1, 0]
    guess[0, 0] = 1 << (precision - 1)
    return (picture - guess).ravel() & 0xFFFF


def _coded(differences: NDArray[np.int_]) -> bytes:
    codes, code = [], 0
    for length, count in enumerate(LENGTHS, 1):
        for _ in range(count):
            codes.append(f"{code:0{length}b}")
            code += 1
        code <<= 1
    bits = ""
    for value in differences.tolist():
        signed = value if value <= 1 << 15 else value - (1 << 16)
        category = abs(signed).bit_length()
        extra = signed if signed > 0 else signed + (1 << category) - 1
        bits += codes[category] + (f"{extra:0{category}b}" if 0 < category < 16 else "")
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


def jpeg_2000(picture: NDArray[np.uint16], precision: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG2000", irreversible=False, no_jp2=True)
    return file.getvalue()


ENCODERS: dict[uid.UID, Encoder] = {
    uid.JPEGLosslessSV1: lossless_jpeg,
    uid.JPEGLossless: lambda picture, precision: lossless_jpeg(picture, precision, 7),
    uid.JPEG2000Lossless: jpeg_2000,
}

SYNTAXES = tuple(one for one in (*ENCODERS, uid.JPEGLSLossless, uid.RLELossless) if one in READABLE)


def compress(one: Dataset, syntax: uid.UID, stream: bytes | None = None) -> None:
    """Compress an instance's pixels in place, or take a stream for them."""
    picture = np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns)
    if stream is None and syntax in ENCODERS:
        stream = ENCODERS[syntax](picture & ((1 << one.BitsStored) - 1), one.BitsStored)
    elif stream is None:
        stream = get_encoder(syntax).encode(one)
    one.PixelData = encapsulate([stream])
    one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
    one.file_meta.TransferSyntaxUID = syntax
