"""Images of other renderers: found by the names of their channels, or refused in one line."""

import itertools
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from exr_files import RGB, XYZ, layer, truth, write, write_parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mri_n2n.errors import UsageError
from rendering.exr import read_exr, read_header, write_exr

FLIPPED = np.array([1, 1, -1], np.float16)[:, None, None]


def same(path: Path, made: dict[str, Any], **options: Any) -> None:
    layers = read_exr(path, **options)
    assert layers.replaced == 0
    for name, expected in made.items():
        np.testing.assert_array_equal(getattr(layers, name), expected.astype(np.float32), err_msg=name)
        assert getattr(layers, name).dtype == np.float32


def test_blender_the_noisy_image_and_its_own_normals(tmp_path: Path) -> None:
    made, other = truth(), truth(1)
    noise = {
        **layer("ViewLayer.Combined", made["colour"]),
        "ViewLayer.Combined.A": other["albedo"][0],
        "ViewLayer.Depth.Z": other["albedo"][1],
        **layer("Composite.Combined", other["colour"]),
        **layer("ViewLayer.Normal", other["normal"], XYZ),
        **layer("ViewLayer.Denoising Albedo", made["albedo"]),
        **layer("ViewLayer.Denoising Normal", made["normal"] * FLIPPED, XYZ),
    }
    same(write(tmp_path / "combined.exr", noise, "f4"), made)
    same(write(tmp_path / "given.exr", noise), made | {"normal": made["normal"] * FLIPPED}, normals="camera")
    denoised = noise | layer("ViewLayer.Combined", other["colour"]) | layer("ViewLayer.Noisy Image", made["colour"])
    same(write(tmp_path / "denoised.exr", denoised), made)


def test_of_two_view_layers_the_albedo_is_that_of_the_colour(tmp_path: Path) -> None:
    made, other = truth(), truth(1)
    channels = {
        **layer("B.Combined", other["colour"]),
        **layer("A.Combined", made["colour"]),
        **layer("A.albedo", made["albedo"]),
        **layer("B.denoising_albedo", other["albedo"]),
    }
    same(write(tmp_path / "two.exr", channels), {"colour": made["colour"], "albedo": made["albedo"]})


def test_arnold_pbrt_and_names_in_any_case(tmp_path: Path) -> None:
    made, other = truth(), truth(1)
    colour = layer("", made["colour"])
    arnold = colour | {"A": other["albedo"][0], "Z": other["albedo"][1]} | layer("diffuse_albedo", other["albedo"])
    arnold |= layer("denoise_albedo", made["albedo"])
    same(write(tmp_path / "arnold.exr", arnold | layer("N", made["normal"], XYZ)), made)
    same(write(tmp_path / "arnold-rgb.exr", arnold | layer("N", made["normal"])), made)
    pbrt = (
        colour | layer("Albedo", made["albedo"]) | layer("N", other["normal"], XYZ) | layer("P", other["normal"], XYZ)
    )
    pbrt |= layer("Ns", made["normal"] * FLIPPED, XYZ) | layer("Variance", other["albedo"])
    same(write(tmp_path / "pbrt.exr", pbrt), made, normals="forward")
    odd = (
        layer("BEAUTY", made["colour"]) | layer("aov.ALBEDO", made["albedo"]) | layer("aov.Normal", made["normal"], XYZ)
    )
    same(write(tmp_path / "odd.exr", odd), made)


def test_mitsuba(tmp_path: Path) -> None:
    mi = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    made = truth()
    names = [*RGB, "albedo.R", "albedo.G", "albedo.B", "sh_normal.X", "sh_normal.Y", "sh_normal.Z"]
    values = np.moveaxis(np.concatenate(list(made.values())).astype(np.float32), 0, -1)
    bitmap = mi.Bitmap(np.ascontiguousarray(values), mi.Bitmap.PixelFormat.MultiChannel, names)
    bitmap.write(str(tmp_path / "mitsuba.exr"))
    same(tmp_path / "mitsuba.exr", made)


@pytest.mark.parametrize("whole_names", [False, True])
def test_a_part_per_layer(tmp_path: Path, whole_names: bool) -> None:
    made = truth()
    named = {"ViewLayer.Combined": ("colour", RGB), "ViewLayer.Denoising Albedo": ("albedo", RGB)}
    named |= {"ViewLayer.Normal": ("normal", XYZ)}
    parts = {part: layer(part if whole_names else "", made[what], letters) for part, (what, letters) in named.items()}
    path = write_parts(tmp_path / "parts.exr", {"depth": {"Z": made["albedo"][0]}} | parts)
    same(path, made)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 200])  # of the last part only
    with pytest.raises(UsageError, match=r"damaged or cut off"):
        read_exr(path)


@pytest.mark.parametrize(
    "compression", [OpenEXR.NO_COMPRESSION, OpenEXR.ZIPS_COMPRESSION, OpenEXR.PIZ_COMPRESSION, OpenEXR.DWAA_COMPRESSION]
)
@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_every_compression_and_tiles(tmp_path: Path, compression: Any, dtype: str) -> None:
    made = truth()
    channels = layer("", made["colour"]) | layer("albedo", made["albedo"]) | layer("normal", made["normal"], XYZ)
    path = write(tmp_path / "lines.exr", channels, dtype, compression)
    tiles = write(
        tmp_path / "tiles.exr", channels, dtype, compression, type=OpenEXR.tiledimage, tiles=OpenEXR.TileDescription()
    )
    if compression == OpenEXR.DWAA_COMPRESSION:  # it loses something
        assert np.abs(read_exr(path).albedo - made["albedo"]).max() < 0.05
    else:
        same(path, made)
        same(tiles, made)


def test_the_data_window_is_read_and_not_the_display_window(tmp_path: Path) -> None:
    made = truth()
    window = (np.array([3, -4], np.int32), np.array([19, 6], np.int32))
    display = (np.array([0, 0], np.int32), np.array([99, 49], np.int32))
    path = write(tmp_path / "cut.exr", layer("", made["colour"]), dataWindow=window, displayWindow=display)
    same(path, {"colour": made["colour"]})
    assert read_header(path).size == (11, 17)


def test_values_that_are_no_numbers_become_0_and_are_counted(tmp_path: Path) -> None:
    made = {name: planes.astype(np.float32) for name, planes in truth().items()}
    made["colour"][1, 2, 3], made["colour"][0, 2, 3], made["colour"][2, 0, 0] = np.nan, np.inf, -np.inf
    made["albedo"][0, 5, 5], made["albedo"][0, 6, 6] = np.nan, 5.6
    channels = layer("", made["colour"]) | layer("albedo", made["albedo"]) | layer("normal", 3 * made["normal"], XYZ)
    layers = read_exr(write(tmp_path / "broken.exr", channels, "f4"))
    assert layers.replaced == 3
    assert (layers.colour[:, 2, 3] == 0).all()
    assert (layers.normal[:, 5, 5] == 0).all(), "normals go with the albedo, as when we render"
    assert layers.albedo[0, 6, 6] == 1
    assert np.abs(layers.normal).max() == 1


@pytest.mark.parametrize("columns", [False, True], ids=["the standard's row vectors", "column vectors, as PBRT"])
def test_normals_of_the_world_are_turned_by_the_camera(tmp_path: Path, columns: bool) -> None:
    made = truth()
    origin, target = np.array([1.0, 2.0, 5.0]), np.array([-2.0, 0.5, 1.0])
    ahead = (target - origin) / np.linalg.norm(target - origin)
    right = np.cross(ahead, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    matrix = np.eye(4)
    matrix[:3, :3] = 2.0 * np.stack([right, up, ahead], axis=1)  # x and y to the right and up, z is looked along
    matrix[3, :3] = -origin @ matrix[:3, :3]
    given = np.array(matrix.T if columns else matrix, np.float32, order="C")
    channels = layer("", made["colour"]) | layer("N", made["normal"], XYZ)
    path = write(tmp_path / "world.exr", channels, worldToCamera=given)
    assert given.tobytes() in path.read_bytes(), "row by row"
    world = np.moveaxis(made["normal"].astype(np.float64), 0, -1)
    expected = np.stack([world @ right, world @ up, -world @ ahead])
    np.testing.assert_allclose(read_exr(path, "world").normal, expected.clip(-1, 1), atol=1e-5)
    with pytest.raises(UsageError, match="worldToCamera"):
        read_exr(write(tmp_path / "none.exr", channels), "world")
    with pytest.raises(UsageError, match="worldToCamera"):
        read_exr(
            write(tmp_path / "flat.exr", channels, worldToCamera=np.diag([1, 0, 1, 1]).astype(np.float32)), "world"
        )


def test_wrong_channels_are_one_line_that_names_them(tmp_path: Path) -> None:
    made = truth()
    colour = layer("", made["colour"])

    def refused(channels: dict[str, Any], expected: str, **header: Any) -> None:
        with pytest.raises(UsageError, match=expected) as caught:
            read_exr(write(tmp_path / "wrong.exr", channels, **header))
        assert "\n" not in str(caught.value)

    refused({"Y": made["albedo"][0]}, r"no colour: channels R, G, B .*; it has Y\.")
    refused(layer("normal", made["normal"], XYZ), r"no colour")
    refused({"R": made["albedo"][0], "G": made["albedo"][0]}, r"colour of G, R only, expected three: R, G, B")
    refused(colour | {"Albedo.R": made["albedo"][0]}, r"albedo of Albedo\.R only")
    refused(
        colour | {"N.X": made["normal"][0], "N.Y": made["normal"][1]},
        r"normals of N\.X, N\.Y only, .*X, Y, Z or R, G, B",
    )
    refused({f"crypto{place:02}.R": made["albedo"][0] for place in range(40)}, r"crypto29\.R and 10 more")
    coarse = {name: OpenEXR.Channel(np.ascontiguousarray(plane[:10:2, :16:2]), 2, 2) for name, plane in colour.items()}
    window = (np.array([0, 0], np.int32), np.array([15, 9], np.int32))
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "dataWindow": window}
    OpenEXR.File(header, coarse).write(str(tmp_path / "coarse.exr"))
    with pytest.raises(UsageError, match="subsampled"):
        read_exr(tmp_path / "coarse.exr")
    small = {letter: plane[:5] for letter, plane in layer("", made["albedo"]).items()}
    with pytest.raises(UsageError, match=r"albedo\.R is of 17×5 pixels .*, expected 17×11 pixels from \(0, 0\)"):
        read_exr(write_parts(tmp_path / "sizes.exr", {"beauty": colour, "albedo": small}))


def test_deep_data_is_refused(tmp_path: Path) -> None:
    deep = np.empty((3, 4), object)
    for place in np.ndindex(3, 4):
        deep[place] = np.ones(2, np.float32)
    header = {"compression": OpenEXR.ZIPS_COMPRESSION, "type": OpenEXR.deepscanline}
    OpenEXR.File(header, dict.fromkeys("RGBZ", deep)).write(str(tmp_path / "deep.exr"))
    with pytest.raises(UsageError, match="deep data"):
        read_exr(tmp_path / "deep.exr")


def test_rubbish_and_files_that_are_cut_off_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = truth()
    channels = layer("", made["colour"]) | layer("albedo", made["albedo"])
    path = tmp_path / "cut.exr"
    for compression in (
        OpenEXR.NO_COMPRESSION,
        OpenEXR.ZIP_COMPRESSION,
        OpenEXR.PIZ_COMPRESSION,
        OpenEXR.DWAA_COMPRESSION,
    ):
        whole = write(path, channels, compression=compression).read_bytes()
        for length in (*range(0, len(whole), 97), len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(UsageError, match=r"cut\.exr"):
                read_exr(path)
    random = np.random.default_rng(0)
    for _ in range(200):
        rubbish = bytearray(whole)
        for place in random.integers(4, 700, 3):
            rubbish[place] = random.integers(256)
        path.write_bytes(rubbish)
        with suppress(UsageError):  # or it is read: pixels have no checksum
            read_exr(path)
    said = capfd.readouterr()
    assert said.out == said.err == "", "the library's own lines are not the person's"
    for content in (b"", b"\x89PNG", bytes(100)):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="no OpenEXR image"):
            read_exr(path)
    with pytest.raises(UsageError, match="no image"):
        read_exr(tmp_path)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "huge.exr", layer("", truth()["colour"]))
    content = bytearray(path.read_bytes())
    at = content.index(b"dataWindow\0box2i\0") + 17 + 4
    for side in (200_000, 10**9):
        content[at : at + 16] = struct.pack("<4i", 0, 0, side, side)
        path.write_bytes(content)
        with pytest.raises(UsageError, match="free memory"):
            read_exr(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    colour=arrays(np.float16, (3, 2, 5), elements=st.floats(-65504, 65504, width=16)),
    normal=arrays(np.float16, (3, 2, 5), elements=st.floats(-1, 1, width=16)),
)
def test_what_is_written_is_read_again_bit_for_bit(tmp_path: Path, colour: Any, normal: Any) -> None:
    write_exr(tmp_path / "again.exr", {"colour": colour, "normal": normal})
    layers = read_exr(tmp_path / "again.exr")
    assert layers.colour.astype(np.float16).tobytes() == colour.tobytes()
    assert layers.normal.astype(np.float16).tobytes() == normal.tobytes()
    assert layers.albedo is None


def test_written_are_half_precision_zip_and_the_common_names_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: planes.astype(np.float32) for name, planes in truth().items()}
    made["colour"][0, 0, 0] = 1e9
    path = tmp_path / "new" / "out.exr"
    write_exr(path, made)
    file = OpenEXR.File(str(path), separate_channels=True)
    expected = set(itertools.chain(RGB, (f"albedo.{letter}" for letter in RGB), (f"normal.{letter}" for letter in XYZ)))
    assert set(file.channels()) == expected
    assert {channel.pixels.dtype for channel in file.channels().values()} == {np.dtype(np.float16)}
    assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
    assert file.channels()["R"].pixels[0, 0] == 65504
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="Free space"):
        write_exr(path, truth(2))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
