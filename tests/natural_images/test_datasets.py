import math
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mri_n2n.errors import UsageError
from mri_n2n.training.seeding import RandomStreams
from natural_images.captures import CaptureRequest, captured
from natural_images.crops import CropLoader, Crops, _Cache, random_crop
from natural_images.datasets import as_images, index_folder, index_pairs, split
from natural_images.image_files import ImageFile, read_image, read_pixels, write_image
from natural_images.noise import Gaussian
from natural_images.procedural import write_pictures
from natural_images.training import validation_pairs

CPU = torch.device("cpu")


def test_damaged_files_are_told_counted_and_left_out(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(pictures, folder / "below")
    whole = (folder / "below" / "picture-000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("not an image")
    scenes = index_folder(folder)
    assert (len(scenes), scenes.bad) == (12, 3)
    told = capsys.readouterr().err
    assert all(name in told for name in ("cut.png", "empty.png", "text.jpg"))


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(UsageError, match="no usable image"):
        index_folder(tmp_path)
    (tmp_path / "empty.png").unlink()
    with pytest.raises(UsageError, match="no images"):
        index_folder(tmp_path)


def test_the_fingerprint_is_of_names_and_contents(pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    assert index_folder(copy).fingerprint == index_folder(pictures).fingerprint
    (copy / "picture-000.png").rename(copy / "renamed.png")
    assert index_folder(copy).fingerprint != index_folder(pictures).fingerprint


def test_crops_depend_on_seed_and_step_alone(pictures: Path) -> None:
    scenes = index_folder(pictures)
    rows = split(len(scenes))[0]
    with CropLoader(scenes, rows, Crops(32), 4, 7, CPU) as load:
        first = [load(step) for step in range(8)]
    with CropLoader(scenes, rows, Crops(32), 4, 7, CPU) as load:
        again = load(5)  # as after resuming
    assert torch.equal(again.images, first[5].images)
    assert torch.equal(again.rows, first[5].rows)
    assert first[0].images.shape == (4, 1, 3, 32, 32)
    seen = torch.cat([batch.rows for batch in first])[: len(rows)]
    assert sorted(seen.tolist()) == rows  # every image once per epoch
    with CropLoader(scenes, rows, Crops(32), 4, 8, CPU) as load:
        assert not torch.equal(load(5).images, first[5].images)


def test_crops_reach_every_place() -> None:
    pixels = np.arange(40, dtype=np.uint8).reshape(1, 40, 1).repeat(40, 0)
    streams = RandomStreams(0)
    lefts = {
        round((float(random_crop([pixels], Crops(32, 1), streams.at("crop", place))[0, 0, 0, 0]) + 0.5) * 255)
        for place in range(300)
    }
    assert lefts == set(range(9))  # each of 9 places is missed by 300 draws once in 10¹⁵ times


def test_small_images_are_scaled_up() -> None:
    pixels = np.full((10, 50, 3), 100, np.uint8)
    crop = random_crop([pixels], Crops(64), RandomStreams(0).at("crop", 0))
    assert crop.shape == (1, 3, 64, 64)
    torch.testing.assert_close(crop, torch.full_like(crop, 100 / 255 - 0.5))
    assert random_crop([pixels[:1, :1]], Crops(8), RandomStreams(0).at("crop", 0)).shape == (1, 3, 8, 8)


def test_channels_and_depths() -> None:
    grey = np.array([[[0], [255]]], np.uint8)
    assert torch.equal(as_images([grey], 3), torch.tensor([-0.5, 0.5]).expand(1, 3, 1, 2))
    deep = np.array([[[0, 0, 65535], [65535, 65535, 65535]]], np.uint16)
    assert as_images([deep], 1)[0, 0, 0].tolist() == pytest.approx([0.114 - 0.5, 0.5])


def test_the_cache_is_bounded_and_right() -> None:
    reads: list[int] = []

    def read(row: int) -> list[np.ndarray]:
        reads.append(row)
        return [np.full((10, 10, 1), row, np.uint8)]

    cache = _Cache(read, most=350)
    for row in (0, 1, 2, 0, 3, 1, 0):
        assert cache(row)[0][0, 0, 0] == row
        assert cache._bytes <= 350
    assert reads == [0, 1, 2, 3, 1]  # 1 was the one not used for longest


def test_a_file_that_changes_while_training(pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    scenes = index_folder(copy)
    scenes.files[3][0].write_bytes(b"")
    with pytest.raises(UsageError, match="when training began"):
        scenes.read(3)


def test_pairs_are_matched_by_name(exposures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = exposures
    (one / "scene-0.png").unlink()
    (two / "scene-1.png").rename(two / "scene-1b.png")
    scenes = index_pairs(one, two)
    assert [path.name for path, _ in scenes.files] == ["scene-2.png", "scene-3.png", "scene-4.png", "scene-5.png"]
    assert scenes.bad == 3
    assert "scene-1b" in capsys.readouterr().err


def test_pairs_of_two_sizes_or_displaced_are_left_out(
    exposures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = exposures
    for name, change in (("scene-2.png", lambda p: p[:-1]), ("scene-4.png", lambda p: np.roll(p, (5, -3), (0, 1)))):
        pixels = np.ascontiguousarray(change(read_pixels(two / name)))
        write_image(two / name, pixels, ImageFile(pixels, None, (1.0, 1.0), {}))
    scenes = index_pairs(one, two)
    assert (len(scenes), scenes.bad) == (4, 2)
    told = capsys.readouterr().err
    assert "128×95" in told
    assert "displaced by -3×5" in told


def test_a_copy_is_no_second_exposure(exposures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = exposures
    image = read_image(one / "scene-1.png")
    (two / "scene-1.png").unlink()
    write_image(two / "scene-1.tif", image.pixels, image)  # another file, the same pixels
    scenes = index_pairs(one, two)
    assert len(scenes) == 5
    assert len(scenes.left_out) == 1
    assert "the same image" in scenes.left_out[0]
    assert "the same image" in capsys.readouterr().err


def test_a_file_is_no_second_exposure_of_itself(exposures: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="no usable image"):
        index_pairs(exposures[0], exposures[0])


def test_a_grey_and_a_colour_exposure(exposures: tuple[Path, Path]) -> None:
    path = exposures[1] / "scene-0.png"
    grey = np.ascontiguousarray(read_pixels(path)[..., :1])
    write_image(path, grey, ImageFile(grey, None, (1.0, 1.0), {}))
    scenes = index_pairs(*exposures)
    assert as_images(scenes.read(0), 3).shape == (2, 3, 96, 128)


def test_a_thin_strip_is_not_blown_up() -> None:
    crop = random_crop([np.zeros((2, 40_000, 3), np.uint8)], Crops(256), RandomStreams(0).at("crop", 0))
    assert crop.shape == (1, 3, 256, 256)


def test_pairs_without_a_match(exposures: tuple[Path, Path], pictures: Path) -> None:
    with pytest.raises(UsageError, match="namesake"):
        index_pairs(exposures[0], pictures)


def test_held_out_rows() -> None:
    assert split(2) == ([0], [1])
    training, held_out = split(400)
    assert len(held_out) == 20
    assert sorted(training + held_out) == list(range(400))
    assert len(split(50_000)[1]) == 32
    with pytest.raises(UsageError, match="two images"):
        split(1)


def test_the_index_holds_no_images(pictures: Path, tmp_path: Path) -> None:
    """A kilobyte per file at most; the pictures have fifteen."""
    for number in range(600):
        (tmp_path / f"{number:03d}.png").symlink_to(next(pictures.iterdir()))
    tracemalloc.start()
    scenes = index_folder(tmp_path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(scenes) == 600
    assert kept < 600 * 1024 + 2**18


@pytest.mark.parametrize("noise", [Gaussian(25, 25), None])
def test_held_out_images_are_kept_in_part(tmp_path: Path, noise: Gaussian | None) -> None:
    """Only their middles stay in memory, of 256 pixels, not the photographs around them."""
    for folder in ("one", "two"):
        write_pictures(tmp_path / folder, 2, (700, 800))
    scenes = index_folder(tmp_path / "one")
    if noise is None:
        scenes = replace(scenes, files=tuple((path, tmp_path / "two" / path.name) for (path,) in scenes.files))
    for pair in validation_pairs(scenes, [0, 1], 3, noise):
        for image in (pair.input, pair.target):
            assert image.shape == (1, 3, 256, 256)
            assert image.untyped_storage().nbytes() <= 2 * 3 * 256 * 256 * 4


def test_captures_are_drawn_once(pictures: Path, tmp_path: Path) -> None:
    """The mean of all pixels' variance over 8 realisations is within 5σ (0.7 %) of the noise's."""
    scenes = index_folder(pictures)
    request = CaptureRequest(6, 8, Gaussian(25, 25), Crops(48))
    first = captured(tmp_path / "captures", request, scenes, [0, 1, 2])
    written = (tmp_path / "captures" / "captures.npy").stat().st_mtime_ns
    again = captured(tmp_path / "captures", request, scenes, [0, 1, 2])
    assert (tmp_path / "captures" / "captures.npy").stat().st_mtime_ns == written
    assert first.fingerprint == again.fingerprint
    assert first.array.shape == (6, 8, 48, 48, 3)
    deviation = np.sqrt(first.array.astype(np.float64).var(axis=1, ddof=1).mean())
    assert abs(deviation / (25 / 255) - 1) < 5 / math.sqrt(2 * 7 * 6 * 48 * 48 * 3)
    assert len(first.read(2)) == 8
    other = captured(tmp_path / "captures", CaptureRequest(6, 2, Gaussian(25, 25), Crops(48)), scenes, [0, 1, 2])
    assert other.fingerprint != first.fingerprint
    assert other.array.shape[1] == 2
