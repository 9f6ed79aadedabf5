from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from natural_images.alignment import misfit
from natural_images.image_files import find_images, read_pixels
from natural_images.procedural import draw_picture


def noisy(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    drawn = image + np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.rint(drawn.clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0, 10, 40])
@pytest.mark.parametrize("move", [(0, 0), (2, 0), (5, -3), (-20, 9), (0, 32)])
def test_displacements_are_found_in_noise(sigma: float, move: tuple[int, int]) -> None:
    scene = draw_picture((360, 360), np.random.default_rng(3)).astype(float)
    inside = np.s_[40:320, 40:320]
    moved = np.roll(scene, move, (0, 1))
    said = misfit(noisy(scene[inside], sigma, 1), noisy(moved[inside], sigma, 2))
    assert said == ("" if move == (0, 0) else f"seem displaced by {move[1]}×{move[0]} pixels")


def test_far_displacements_have_no_number() -> None:
    scene = draw_picture((400, 400), np.random.default_rng(3)).astype(float)
    said = misfit(noisy(scene[:300, :300], 5, 1), noisy(scene[45:345, :300], 5, 2))
    assert said == "seem displaced by more than 32 pixels"


def test_real_photographs(shared_photos: Path) -> None:
    """Two exposures of one scene fit, at any brightness; two scenes do not."""
    photos = [read_pixels(path).astype(float) for path in find_images(shared_photos / "kodak")[:8]]
    photos = [image for image in photos if image.shape == (512, 768, 3)]
    told_apart = 0
    for number, image in enumerate(photos):
        assert misfit(noisy(image, 25, 1), noisy(0.5 * image, 25, 2)) == ""
        assert misfit(noisy(image, 25, 1), noisy(np.roll(image, 2, 1), 25, 2)) == "seem displaced by 2×0 pixels"
        told_apart += misfit(noisy(image, 25, 1), noisy(photos[number - 1], 25, 2)) != ""
    assert told_apart >= len(photos) - 1


def test_nothing_is_said_of_what_shows_nothing() -> None:
    """Exposures that fit, of scenes that noise hides. None of 7,500 was told to misfit when this was measured: with a
    probability of 0.95 at most one in 2,500 is, and so 300 tries by a new generator would fail in one of nine."""
    rng = np.random.default_rng(5)
    grey, slope = np.full((128, 128, 1), 0.5), np.linspace(0.45, 0.55, 128)[:, None, None]
    weak = np.broadcast_to(slope, (128, 128, 3))
    draws = {
        "few photons": lambda: rng.poisson(30 * grey) / 30,
        "very few photons": lambda: rng.poisson(3 * grey) / 3,
        "strong noise": lambda: (weak + rng.normal(0, 0.2, weak.shape)).clip(0, 1),
        "strong noise of neighbours": lambda: gaussian_filter(grey + rng.normal(0, 0.8, grey.shape), (2, 2, 0)),
        "dark": lambda: rng.poisson(0.02 + 0.1 * grey).astype(float),
    }
    said = {name: [misfit(draw(), draw()) for _ in range(60)] for name, draw in draws.items()}
    assert {name: [words for words in own if words] for name, own in said.items()} == {name: [] for name in draws}


def test_small_images_are_not_judged() -> None:
    flat = np.full((20, 20, 3), 100.0)
    assert misfit(noisy(flat, 20, 1), noisy(flat, 20, 2)) == ""
