"""Nothing here is random but the content of test images: seeds are fixed, every test is exact or states its bound."""

import io
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from mri_n2n.errors import UsageError
from natural_images.image_files import (
    READ,
    WRITTEN,
    BadImage,
    ImageFile,
    _libvips,
    as_floats,
    as_integers,
    find_images,
    read_image,
    read_pixels,
    write_image,
)

pyvips = _libvips()  # silent, as it is in use
ORIENTATION, MAKE, EXIF_FOLDER, USER_COMMENT = 0x0112, 0x010F, 0x8769, 0x9286
COMMENT = b"ASCII\0\0\0taken at night"


def scene(channels: int = 3, bits: int = 8, height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth picture with noise, which uses the whole range."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(columns / (5 + place)) + np.cos(rows / (6 + place)) for place in range(channels)]
    noisy = np.stack(waves, axis=2) + np.random.default_rng(0).normal(0, 0.1, (height, width, channels))
    peak = 2**bits - 1
    scaled = (noisy - noisy.min()) / (noisy.max() - noisy.min()) * peak
    return scaled.round().astype(np.uint8 if bits == 8 else np.uint16)


def saved_by_libvips(path: Path, samples: np.ndarray, kind: str) -> Path:
    image = pyvips.Image.new_from_array(samples).copy(interpretation=kind)
    save = image.tiffsave_buffer if path.suffix == ".tif" else image.pngsave_buffer
    path.write_bytes(save())
    return path


def saved_by_pillow(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def colours(samples: np.ndarray) -> Image.Image:
    return Image.fromarray(samples)


def tagged(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[MAKE] = "Aperture Works"
    tags[ORIENTATION] = orientation
    tags.get_ifd(EXIF_FOLDER)[USER_COMMENT] = COMMENT
    return tags


def srgb_profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def plain(pixels: np.ndarray) -> ImageFile:
    return ImageFile(pixels, None, (1.0, 1.0), {})


KINDS = {(1, 8): "b-w", (2, 8): "b-w", (3, 8): "srgb", (4, 8): "srgb"}
KINDS |= {(1, 16): "grey16", (2, 16): "grey16", (3, 16): "rgb16", (4, 16): "rgb16"}


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_lossless_round_trip(tmp_path: Path, suffix: str, channels: int, bits: int) -> None:
    """Depth, colours and alpha come back bit by bit, and another program agrees on the samples."""
    samples = scene(channels, bits)
    original = saved_by_libvips(tmp_path / f"original.{suffix}", samples, KINDS[channels, bits])
    image = read_image(original)
    assert image.bits == bits
    assert np.array_equal(image.pixels, samples[..., : 1 if channels < 3 else 3])
    if channels % 2:
        assert image.alpha is None
    else:
        assert image.alpha is not None
        assert np.array_equal(image.alpha, samples[..., -1])
    copy = tmp_path / f"copy.{suffix}"
    write_image(copy, 0 + image.pixels[::-1], image)
    again = read_image(copy)
    assert np.array_equal(again.pixels, image.pixels[::-1])
    assert again.bits == bits
    assert (again.alpha is None) == (image.alpha is None)
    assert again.alpha is None or np.array_equal(again.alpha, samples[..., -1])
    if bits == 8:
        with Image.open(copy) as seen:
            assert np.array_equal(
                np.asarray(seen)[..., None if channels == 1 else slice(None)][..., :1], again.pixels[..., :1]
            )


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from([8, 16]))
@settings(max_examples=30, deadline=None)
def test_any_size(tmp_path_factory: pytest.TempPathFactory, height: int, width: int, channels: int, bits: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 2**bits, (height, width, channels))
    typed = pixels.astype(np.uint8 if bits == 8 else np.uint16)
    path = tmp_path_factory.mktemp("sizes") / "image.png"
    write_image(path, typed, plain(typed))
    assert np.array_equal(read_pixels(path), typed)


def test_webp_is_lossless_with_alpha(tmp_path: Path) -> None:
    pixels, alpha = scene(), scene(1)[..., 0]
    path = tmp_path / "image.webp"
    write_image(path, pixels, ImageFile(pixels, alpha, (1.0, 1.0), {}))
    image = read_image(path)
    assert np.array_equal(image.pixels, pixels)
    assert image.alpha is not None
    assert np.array_equal(image.alpha, alpha)


def test_jpeg_is_fine_and_keeps_full_chroma(tmp_path: Path) -> None:
    """Bound: 2 grey levels of mean error at quality 95; halved chroma alone costs the red-blue stripes 50 or more."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 200
    path = tmp_path / "image.jpg"
    write_image(path, pixels, plain(pixels))
    assert np.abs(read_pixels(path).astype(int) - pixels).mean() < 2
    with Image.open(path) as seen:
        assert {layer[1:3] for layer in seen.layer} == {(1, 1)}  # type of sampling of each component
        assert max(seen.quantization[0]) <= 12  # the standard table at quality 95


def test_sixteen_bits_are_rounded_where_the_format_has_eight(tmp_path: Path) -> None:
    pixels = scene(bits=16)
    write_image(tmp_path / "image.webp", pixels, plain(pixels))
    assert np.array_equal(read_pixels(tmp_path / "image.webp"), np.rint(pixels / 257).astype(np.uint8))


def test_jpeg_drops_alpha_without_blending(tmp_path: Path) -> None:
    pixels = scene()
    write_image(tmp_path / "a.jpg", pixels, ImageFile(pixels, np.zeros(pixels.shape[:2], np.uint8), (1.0, 1.0), {}))
    image = read_image(tmp_path / "a.jpg")
    assert image.alpha is None
    assert image.pixels.mean() == pytest.approx(pixels.mean(), abs=1)


@pytest.mark.parametrize("suffix", ["png", "tif", "gif"])
def test_palette_is_expanded_and_not_written_again(tmp_path: Path, suffix: str) -> None:
    indexed = colours(scene()).quantize(8)
    image = read_image(saved_by_pillow(tmp_path / f"palette.{suffix}", indexed))
    assert np.array_equal(image.pixels, np.asarray(indexed.convert("RGB")))
    write_image(tmp_path / "out.png", scene(), image)
    assert np.array_equal(read_pixels(tmp_path / "out.png"), scene())


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_one_bit_is_black_and_white_and_written_with_eight(tmp_path: Path, suffix: str) -> None:
    black = scene(1)[..., 0] > 128
    image = read_image(saved_by_pillow(tmp_path / f"ink.{suffix}", colours(black)))
    assert np.array_equal(image.pixels[..., 0], 255 * black)
    write_image(tmp_path / f"out.{suffix}", scene(1), image)
    assert np.array_equal(read_pixels(tmp_path / f"out.{suffix}"), scene(1))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_srgb_and_is_written_as_srgb(tmp_path: Path, suffix: str) -> None:
    """Ink: none is white, all is black, cyan is more blue than red."""
    ink = np.zeros((24, 24, 4), np.uint8)
    ink[:, 8:16, 3] = 255
    ink[:, 16:, 0] = 255
    path = saved_by_pillow(tmp_path / f"ink.{suffix}", Image.fromarray(ink, "CMYK"))
    image = read_image(path)
    assert image.pixels.shape == (24, 24, 3)
    assert image.pixels[4, 4].min() > 245
    assert image.pixels[4, 12].max() < 60
    assert int(image.pixels[4, 20, 2]) - int(image.pixels[4, 20, 0]) > 80
    write_image(path, image.pixels, image)
    with Image.open(path) as seen:
        assert seen.mode == "RGB"
        assert "icc_profile" not in seen.info  # which means sRGB


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    path = saved_by_pillow(tmp_path / "turned.png", colours(scene()), exif=tagged(orientation))
    image = read_image(path)
    with Image.open(path) as seen:
        assert np.array_equal(image.pixels, np.asarray(ImageOps.exif_transpose(seen)))
    write_image(path, image.pixels, image)
    assert np.array_equal(read_pixels(path), image.pixels)
    with Image.open(path) as seen:
        assert seen.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_profile_and_resolution_are_kept(tmp_path: Path, suffix: str) -> None:
    profile = srgb_profile()
    dots = {} if suffix == "webp" else {"dpi": (300, 300)}
    path = tmp_path / f"photo.{suffix}"
    saved_by_pillow(path, colours(scene()), exif=tagged(6), icc_profile=profile, **dots)
    image = read_image(path)
    write_image(path, image.pixels, image)
    with Image.open(path) as seen:
        tags = seen.getexif()
        assert tags[MAKE] == "Aperture Works"
        assert tags[ORIENTATION] == 1
        assert tags.get_ifd(EXIF_FOLDER)[USER_COMMENT] == COMMENT
        assert seen.info["icc_profile"] == profile
        assert not dots or seen.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_no_exif_is_made_up(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    saved_by_pillow(path, colours(scene()), icc_profile=srgb_profile())
    image = read_image(path)
    write_image(path, image.pixels, image)
    with Image.open(path) as seen:
        assert "exif" not in seen.info
        assert seen.info["icc_profile"] == srgb_profile()


def test_tiff_keeps_profile_and_resolution(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    saved_by_pillow(path, colours(scene()), icc_profile=srgb_profile(), dpi=(240, 240))
    image = read_image(path)
    write_image(path, image.pixels, image)
    with Image.open(path) as seen:
        assert seen.info["icc_profile"] == srgb_profile()
        assert seen.info["dpi"] == pytest.approx((240, 240), abs=0.1)
        assert seen.info["compression"] != "raw"


def test_a_profile_does_not_change_the_values(tmp_path: Path) -> None:
    pixels = scene()
    path = saved_by_pillow(tmp_path / "photo.png", colours(pixels), icc_profile=srgb_profile())
    assert np.array_equal(read_pixels(path), pixels)


def test_profile_is_dropped_with_other_channels(tmp_path: Path) -> None:
    path = saved_by_pillow(tmp_path / "photo.png", colours(scene()), icc_profile=srgb_profile())
    write_image(path, scene(1), read_image(path))
    image = read_image(path)
    assert image.pixels.shape[2] == 1
    assert "icc-profile-data" not in image.metadata


def test_old_preview_is_not_written(tmp_path: Path) -> None:
    picture = pyvips.Image.new_from_array(scene())
    preview = io.BytesIO()
    colours(scene(height=8, width=8)).save(preview, "JPEG")
    picture.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", preview.getvalue())
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture.jpegsave_buffer())
    assert pyvips.Image.new_from_buffer(path.read_bytes(), "").get_typeof("jpeg-thumbnail-data")
    image = read_image(path)
    write_image(path, image.pixels, image)
    assert not pyvips.Image.new_from_buffer(path.read_bytes(), "").get_typeof("jpeg-thumbnail-data")


@pytest.mark.parametrize("channels", [1, 3])
def test_floats_between_0_and_1_are_taken_as_16_bit(tmp_path: Path, channels: int) -> None:
    expected = scene(channels, 16)
    values = (expected / 65535).astype(np.float32)
    path = saved_by_libvips(tmp_path / "floats.tif", values, "b-w" if channels == 1 else "srgb")
    image = read_image(path)
    assert image.bits == 16
    assert np.array_equal(image.pixels, expected)


@pytest.mark.parametrize(
    ("value", "reason"), [("nan", "NaN"), ("inf", "NaN"), ("-inf", "NaN"), ("1.5", "1"), ("-0.1", "0")]
)
def test_other_floats_are_refused(tmp_path: Path, value: str, reason: str) -> None:
    values = np.full((9, 9), 0.5, np.float32)
    values[3, 4] = float(value)
    with pytest.raises(BadImage, match=reason):
        read_image(saved_by_pillow(tmp_path / "floats.tif", Image.fromarray(values)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "gif"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9])
def test_a_cut_off_file_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, share: float
) -> None:
    path = saved_by_pillow(tmp_path / f"cut.{suffix}", colours(scene(height=150, width=200)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadImage) as refused:
        read_image(path)
    message = str(refused.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}]
)
def test_a_cut_off_file_of_another_coding_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / ("cut.jpg" if "progressive" in options else "cut.tif")
    content = saved_by_pillow(path, colours(scene(height=150, width=200)), **options).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadImage, match=r"damaged|cut off"):
        read_image(path)


@pytest.mark.parametrize(
    "content",
    [b"just text, no image", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'></svg>", b"\0" * 500],
)
@pytest.mark.parametrize("suffix", READ)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadImage, match="not an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_animated_images_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [colours(np.roll(scene(), 5 * place, axis=0)) for place in range(3)]
    path = saved_by_pillow(tmp_path / f"many.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(BadImage, match="has 3 frames, expected one"):
        read_image(path)


def test_gigapixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = saved_by_pillow(tmp_path / "huge.png", colours(scene(1)[..., 0]))
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2  # what the header declares
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(BadImage, match="60000 × 60000 pixels, expected at most 268435456"):
        read_image(path)


def test_the_limit_of_pixels_is_inclusive(tmp_path: Path) -> None:
    path = saved_by_pillow(tmp_path / "photo.jpg", colours(scene(height=10, width=12)))
    assert read_pixels(path, most_pixels=120).shape == (10, 12, 3)
    with pytest.raises(BadImage, match="at most 119"):
        read_image(path, most_pixels=119)


def test_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("folder.png", "broken.png", "missing.png"):
        with pytest.raises(BadImage, match=name):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "samples", "reason"),
    [
        ("lab", np.zeros((9, 9, 3), np.float32), "lab"),
        ("b-w", np.zeros((9, 9, 1), np.int16), "short"),
        ("b-w", np.zeros((9, 9, 1), np.uint32), "uint"),
        ("multiband", np.zeros((9, 9, 6), np.uint8), "channels"),
    ],
)
def test_unusual_samples_are_refused(tmp_path: Path, kind: str, samples: np.ndarray, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        read_image(saved_by_libvips(tmp_path / "odd.tif", samples, kind))


def test_one_pixel_and_odd_names_are_read(tmp_path: Path) -> None:
    for name in ("a[page=3].png", "größe 1.PNG", "-q.png", "%d.png"):
        path = tmp_path / name
        write_image(path, scene(height=1, width=1), plain(scene(height=1, width=1)))
        assert read_pixels(path).shape == (1, 1, 3)


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = saved_by_pillow(tmp_path / "really-png.jpg", colours(scene()), format="PNG")
    assert np.array_equal(read_pixels(path), scene())


@pytest.mark.parametrize("name", ["image.gif", "image.bmp", "image"])
def test_formats_that_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="ends in"):
        write_image(tmp_path / name, scene(), plain(scene()))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = saved_by_pillow(tmp_path / "photo.webp", colours(scene()), lossless=True)
    wide = np.zeros((1, 20_000, 3), np.uint8)  # WebP ends at 16,383
    with pytest.raises(UsageError, match="20000"):
        write_image(path, wide, plain(wide))
    assert np.array_equal(read_pixels(path), scene())
    assert [found.name for found in tmp_path.iterdir()] == ["photo.webp"]


def test_images_are_found_in_order(tmp_path: Path) -> None:
    names = ["b/z.PNG", "b/a.jpeg", "a.tif", "c/d/e.webp", "c/f.gif", ".hidden.png", ".cache/g.png", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    assert find_images(tmp_path) == [
        tmp_path / name for name in ("a.tif", "b/a.jpeg", "b/z.PNG", "c/d/e.webp", "c/f.gif")
    ]


def test_images_behind_a_link_are_found(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.png").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "disk")
    assert find_images(tmp_path / "mine") == [tmp_path / "mine" / "link" / "a.png"]


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, reason in ((tmp_path, "no images"), (tmp_path / "gone", "nothing"), (tmp_path / "notes.txt", "a file")):
        with pytest.raises(UsageError, match=reason):
            find_images(folder)


@pytest.mark.parametrize("bits", [8, 16])
def test_integers_survive_floats(bits: int) -> None:
    every = np.arange(2**bits).astype(np.uint8 if bits == 8 else np.uint16)
    values = as_floats(every, bits)
    assert values.dtype == np.float32
    assert (values.min(), values.max()) == (-0.5, 0.5)
    assert np.array_equal(as_integers(values, bits), every)


def test_floats_are_rounded_and_clipped() -> None:
    values = np.array([-9, -0.5, -0.5 + 1.4 / 255, -0.5 + 1.6 / 255, 0.5, np.inf], np.float32)
    assert as_integers(values, 8).tolist() == [0, 0, 1, 2, 255, 255]
    with pytest.raises(ValueError, match="NaN"):
        as_integers(np.array([np.nan], np.float32), 8)


def test_threads_read_what_one_thread_reads(tmp_path: Path) -> None:
    """Good and bad files together: every error names its own file."""
    for place in range(24):
        path = saved_by_pillow(tmp_path / f"{place:02}.jpg", colours(np.roll(scene(), place, axis=1)))
        if place % 3 == 0:
            path.write_bytes(path.read_bytes()[:-200])

    def outcome(path: Path) -> str:
        try:
            return str(read_pixels(path).sum())
        except BadImage as error:
            return str(error)

    paths = find_images(tmp_path)
    alone = [outcome(path) for path in paths]
    assert all(str(path) in text for path, text in zip(paths[::3], alone[::3], strict=True))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(outcome, paths * 5)) == alone * 5


def test_python_runs_while_an_image_is_decoded(tmp_path: Path) -> None:
    """Without the GIL released, the main thread would not come to count during the one long decoding."""
    path = saved_by_libvips(tmp_path / "large.png", scene(height=1500, width=2000), "srgb")
    started, done, counted = threading.Event(), threading.Event(), 0

    def decode() -> None:
        started.set()
        read_pixels(path)
        done.set()

    worker = threading.Thread(target=decode)
    previous = sys.getswitchinterval()
    sys.setswitchinterval(60)  # the GIL changes hands only where it is released
    try:
        worker.start()
        started.wait()
        while not done.is_set():
            time.sleep(0)  # offers the GIL; it comes back at once, or when the decoding is over
            counted += 1
    finally:
        sys.setswitchinterval(previous)
        worker.join()
    assert counted > 100


def test_pyvips_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, natural_images.image_files; sys.exit('pyvips' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_every_shared_photograph_is_read(shared_photos: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(read_pixels, find_images(shared_photos)))
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in images)


def test_suffixes() -> None:
    assert set(WRITTEN) < set(READ)
