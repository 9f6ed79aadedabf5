"""DICOM slices compressed without loss: the same values to the bit, or a refusal; never half a picture."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from compressed import SYNTAXES, compress, lossless_jpeg
from conftest import SHARED
from damage import damaged
from dicom_files import some_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from mri_n2n.data.dicom import read_series, write_series
from mri_n2n.data.dicom.jpeg_lossless import decode
from mri_n2n.errors import BadVolume, Problem

WITH_DCMTK = {  # program and option, by what it writes
    **{("dcmcjpeg", "+el", "+sv", str(predictor)): uid.JPEGLossless for predictor in range(1, 8)},
    ("dcmcjpeg", "+e1"): uid.JPEGLosslessSV1,
    ("dcmcjpls", "+el"): uid.JPEGLSLossless,
}
every_syntax = pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: one.keyword)


@given(st.data(), st.integers(1, 7), st.integers(2, 16))
@settings(max_examples=60, deadline=None)
def test_lossless_jpeg_comes_back(data: st.DataObject, predictor: int, precision: int) -> None:
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    picture = data.draw(arrays(np.uint16, shape, elements=st.integers(0, 2**precision - 1)))
    strip = data.draw(st.integers(0, shape[0]))
    np.testing.assert_array_equal(decode(lossless_jpeg(picture, precision, predictor, strip)), picture)


@every_syntax
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_values_are_those_of_the_uncompressed_series(tmp_path: Path, syntax: uid.UID, bits: int, signed: int) -> None:
    def edit(number: int, one: Dataset) -> None:
        one.BitsStored, one.HighBit, one.PixelRepresentation = bits, bits - 1, signed
        values = np.random.default_rng(number).integers(0, 2**bits, (12, 8)) - signed * 2 ** (bits - 1)
        one.PixelData = values.astype("<i4").astype("<u2").tobytes()

    plain = read_series(some_series(tmp_path / "plain", edit))

    def compressed(number: int, one: Dataset) -> None:
        edit(number, one)
        compress(one, syntax)

    series = read_series(some_series(tmp_path / "compressed", compressed))
    np.testing.assert_array_equal(series.volume.array, plain.volume.array)
    np.testing.assert_array_equal(series.volume.affine, plain.volume.affine)
    assert (plain.volume.array.min() < 0) == bool(signed)
    # and derived ones are written without compression
    (tmp_path / "out").mkdir()
    files = write_series(tmp_path / "out", series.volume.array, series, "", "key", {})
    assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    np.testing.assert_array_equal(read_series(files).volume.array, plain.volume.array)


@pytest.mark.parametrize(("asked", "syntax"), WITH_DCMTK.items(), ids=lambda one: "".join(one))
def test_another_program_compresses_a_real_series(tmp_path: Path, asked: tuple[str, ...], syntax: uid.UID) -> None:
    folder = SHARED / "mri" / "dicom" / "mprage-32"
    if not folder.is_dir() or not shutil.which(asked[0]) or syntax not in SYNTAXES:
        pytest.skip(f"no DICOM at {folder}, no {asked[0]} (Debian: dcmtk), or no decoder")
    files = sorted(folder.iterdir())[:: 1 if asked[-1] in ("+e1", "+el") else 8]
    for path in files:
        subprocess.run([*asked, path, tmp_path / path.name], check=True, capture_output=True)
        compressed, plain = pydicom.dcmread(tmp_path / path.name), pydicom.dcmread(path)
        assert compressed.file_meta.TransferSyntaxUID == syntax
        series, expected = read_series([tmp_path / path.name]), read_series([path])
        np.testing.assert_array_equal(series.volume.array, expected.volume.array)
        assert compressed.SOPInstanceUID == plain.SOPInstanceUID
    if len(files) > 4:
        whole = read_series(sorted(tmp_path.iterdir()))
        np.testing.assert_array_equal(whole.volume.array, read_series(files).volume.array)


def stream_of(one: Dataset) -> bytes:
    (stream,) = generate_frames(one.PixelData, number_of_frames=1)
    return stream


@every_syntax
@pytest.mark.parametrize("ended", [False, True], ids=["cut", "cut and ended"])
def test_half_a_picture_is_refused(tmp_path: Path, syntax: uid.UID, ended: bool) -> None:
    """Wherever the stream ends, and also if somebody has put an end to it."""
    (path,) = some_series(tmp_path / "in", lambda _, one: compress(one, syntax), slices=1)
    whole = pydicom.dcmread(path)
    read_series([path])
    stream = stream_of(whole).rstrip(b"\0")
    headers = 64 if syntax == uid.RLELossless else 2
    for length in range(headers, len(stream) - 2, 3):
        part = stream[:length] + b"\xff\xd9" * ended
        cut = pydicom.dcmread(path)
        cut.PixelData = pydicom.encaps.encapsulate([part])
        cut.save_as(tmp_path / "cut")
        with pytest.raises(BadVolume) as refusal:
            read_series([tmp_path / "cut"])
        assert refusal.value.problem in (Problem.UNREADABLE, Problem.DAMAGED)
        if syntax == uid.RLELossless and ended:
            break


@every_syntax
def test_damage_is_a_refusal_or_another_picture(tmp_path: Path, syntax: uid.UID) -> None:
    (path,) = some_series(tmp_path / "in", lambda _, one: compress(one, syntax), slices=1)
    content = path.read_bytes()

    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def check(data: st.DataObject) -> None:
        place = content.rindex(b"\xe0\x7f\x10\x00")
        path.write_bytes(content[:place] + damaged(content[place:], data))
        try:
            series = read_series([path])
        except BadVolume:
            return
        assert series.volume.array.shape == (8, 12, 1)
        assert np.isfinite(series.volume.array).all()

    check()


@pytest.mark.parametrize("syntax", SYNTAXES[:-1], ids=lambda one: one.keyword)
@pytest.mark.parametrize("states", [{"Rows": 11}, {"Columns": 9}, {"Rows": 65535, "Columns": 16384}])
def test_a_picture_of_another_size_is_not_decoded(tmp_path: Path, syntax: uid.UID, states: dict[str, Any]) -> None:
    def edit(_: int, one: Dataset) -> None:
        compress(one, syntax)
        for name, value in states.items():
            setattr(one, name, value)

    with pytest.raises(BadVolume) as refusal:
        read_series(some_series(tmp_path / "in", edit, slices=1))
    assert refusal.value.problem in (Problem.UNREADABLE, Problem.DAMAGED, Problem.IMPLAUSIBLE)


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (uid.JPEGBaseline8Bit, "with loss"),
        (uid.JPEGExtended12Bit, "with loss"),
        (uid.JPEGLSNearLossless, "with loss"),
        (uid.JPEG2000, "with loss"),
        (uid.HTJ2KLossless, "not read"),
        (uid.MPEG2MPML, "not read"),
    ],
    ids=lambda one: getattr(one, "keyword", one),
)
def test_other_compressions_are_named(tmp_path: Path, syntax: uid.UID, message: str) -> None:
    files = some_series(tmp_path / "in", lambda _, one: compress(one, syntax, b"\xff\xd8"))
    with pytest.raises(BadVolume, match=message) as refusal:
        read_series(files)
    assert refusal.value.problem is Problem.UNSUPPORTED


def test_a_loss_before_stays_written_down(tmp_path: Path) -> None:
    """What an archive has inflated again says so, and so does what is derived of it."""

    def edit(_: int, one: Dataset) -> None:
        one.LossyImageCompression, one.LossyImageCompressionRatio = "01", "8.5"
        one.LossyImageCompressionMethod = "ISO_15444_1"

    series = read_series(some_series(tmp_path / "in", edit))
    (tmp_path / "out").mkdir()
    for path in write_series(tmp_path / "out", series.volume.array, series, "", "key", {}):
        derived = pydicom.dcmread(path)
        assert (derived.LossyImageCompression, derived.LossyImageCompressionRatio) == ("01", 8.5)
        assert derived.LossyImageCompressionMethod == "ISO_15444_1"


def test_what_is_coded_with_loss_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 4096, (12, 8)).astype(np.uint16)
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG2000", irreversible=True, no_jp2=True)

    def lossy(number: int, one: Dataset) -> None:
        compress(one, uid.JPEG2000Lossless, stream.getvalue())

    with pytest.raises(BadVolume, match="with loss") as caught:
        read_series(some_series(tmp_path / "2000", lossy))
    assert caught.value.problem is Problem.UNSUPPORTED
    if uid.JPEGLSLossless in SYNTAXES:
        import jpeg_ls

        near = bytes(jpeg_ls.encode_array(picture, lossy_error=5))
        with pytest.raises(BadVolume, match="with loss"):
            read_series(some_series(tmp_path / "ls", lambda _, one: compress(one, uid.JPEGLSLossless, near)))


def test_what_is_deflated_is_told(tmp_path: Path) -> None:
    files = some_series(tmp_path / "in")
    for path in files:
        one = pydicom.dcmread(path)
        one.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        one.save_as(path, enforce_file_format=True)
    with pytest.raises(BadVolume, match="dcmconv") as caught:
        read_series(files)
    assert caught.value.problem is Problem.UNSUPPORTED
