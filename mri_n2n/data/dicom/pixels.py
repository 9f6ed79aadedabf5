"""The stored values of one slice, whatever it is compressed with, as long as nothing was lost by that.

Nothing is decoded before the stream states the very picture that the header does, whose size has been looked at.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder

from mri_n2n.data.dicom import jpeg, jpeg_lossless
from mri_n2n.errors import BadVolume, Problem

_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_DECODERS = {uid.JPEGLSLossless: "pyjpegls", uid.JPEG2000Lossless: "pillow", uid.RLELossless: "pydicom"}
_DECODED = tuple(syntax for syntax in _DECODERS if get_decoder(syntax).is_available)  # JPEG-LS is not everywhere
_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
READABLE = (*_NATIVE, *_JPEG, *_DECODED)
LOST = Problem.UNSUPPORTED
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """`[row column]`; raises what parsers raise, where a byte is missing or the stream is not of this picture."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        native: NDArray[Any] = dataset.pixel_array
        return native
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    if syntax == uid.RLELossless:
        return _decoded(dataset)
    stream = jpeg.whole(stream)
    frame = jpeg.frame_of(stream)
    if (frame.rows, frame.columns, frame.components) != (dataset.Rows, dataset.Columns, 1):
        raise ValueError("a compressed slice is not of the size that is stated")
    if frame.precision > dataset.BitsAllocated or (
        dataset.PixelRepresentation and frame.precision < dataset.BitsStored
    ):
        raise ValueError("a compressed slice has not the bits that are stated")
    if syntax not in _JPEG and not jpeg.lossless(stream):
        raise BadVolume("is compressed with loss, and says that it is not. Have it sent uncompressed.", LOST)
    values = jpeg_lossless.decode(stream) if syntax in _JPEG else _decoded(dataset)
    unused = max(8 * values.itemsize - dataset.BitsStored, 0)
    signed = "i" if dataset.PixelRepresentation else "u"
    values = values.view(f"{signed}{values.itemsize}")
    np.left_shift(values, unused, out=values)
    np.right_shift(values, unused, out=values)
    return values


def _decoded(dataset: Dataset) -> NDArray[Any]:
    syntax = dataset.file_meta.TransferSyntaxUID
    return get_decoder(syntax).as_array(dataset, decoding_plugin=_DECODERS[syntax])[0]
