"""Open Image Denoise as we call it: nearer to the truth than its input, in our units, and the same every time."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mri_n2n.errors import UsageError
from rendering.baselines import open_image_denoise, open_image_denoise_version
from rendering.radiance import Planes, tone_map
from rendering.renderer import Renderer


def decibels(image: Planes, reference: Planes) -> float:
    return float(-10 * np.log10(np.square(tone_map(image) - tone_map(reference)).mean()))


def test_it_comes_nearer_to_many_samples_than_its_input_and_uses_the_other_images(room: Path) -> None:
    renderer = Renderer(room, (64, 64), "scalar_rgb")
    noisy = renderer.frame(renderer.pose, 4, 1)
    clean, _ = renderer.colour(renderer.pose, 256, 2)
    given = decibels(noisy.colour, clean)
    alone = open_image_denoise(noisy.colour)
    helped = open_image_denoise(noisy.colour, noisy.albedo, noisy.normal)
    assert decibels(alone, clean) > given + 3
    assert decibels(helped, clean) > decibels(alone, clean)
    assert decibels(open_image_denoise(noisy.colour, noisy.albedo), clean) > given + 3
    assert alone.mean() == pytest.approx(clean.mean(), rel=0.1), "radiance stays linear"
    brighter = open_image_denoise(noisy.colour * 1000)
    assert decibels(brighter / 1000, clean) > given + 3


def test_neither_the_number_of_threads_nor_the_memory_layout_changes_a_bit() -> None:
    image = np.random.default_rng(0).exponential(size=(3, 37, 23)).astype(np.float32)
    rows = np.ascontiguousarray(np.moveaxis(image, 0, 1)).swapaxes(0, 1)  # the same image, otherwise in memory
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results += [open_image_denoise(each, each.clip(0, 1)) for each in (image, rows)]
    finally:
        torch.set_num_threads(threads)
    assert results[0].shape == (3, 37, 23)
    assert all(np.array_equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (7, 5)])
def test_any_size_and_darkness_give_finite_images(size: tuple[int, int]) -> None:
    dark = np.zeros((3, *size), np.float32)
    assert np.isfinite(open_image_denoise(dark, dark, dark)).all()
    assert np.isfinite(open_image_denoise(np.full_like(dark, 65504))).all()


def test_what_is_no_number_never_gets_in() -> None:
    image = np.ones((3, 8, 8), np.float32)
    image[1, 2, 3] = np.nan
    with pytest.raises(UsageError, match="color"):
        open_image_denoise(image)
    with pytest.raises(UsageError, match="albedo"):
        open_image_denoise(np.ones_like(image), image)
    with pytest.raises(ValueError, match="albedo"):
        open_image_denoise(np.ones_like(image), None, np.ones_like(image))


def test_its_version_is_told_and_where_it_is_missing_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_image_denoise_version().startswith("Open Image Denoise 2.")
    monkeypatch.setitem(sys.modules, "mitsuba_oidn", None)
    with pytest.raises(UsageError, match=r"pip install .*'mri-n2n\[rendering\]'"):
        open_image_denoise_version()
