"""Pictures drawn by a formula, for where there are no photographs: smooth colours, edges and texture."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from natural_images.image_files import ImageFile, write_image

SHAPES = 12


def draw_picture(size: tuple[int, int], generator: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of overlapping discs and stripes before a gradient."""
    height, width = size
    down, right = np.mgrid[:height, :width] / max(size)
    ends = generator.uniform(0, 1, (2, 3))
    picture = ends[0] + (ends[1] - ends[0]) * ((down + right) / 2)[..., None]
    for _ in range(SHAPES):
        middle, radius = generator.uniform(0, 1, 2), generator.uniform(0.05, 0.3)
        angle, frequency = generator.uniform(0, np.pi), generator.uniform(5, 60)
        inside = (down - middle[0]) ** 2 + (right - middle[1]) ** 2 < radius**2
        stripes = 0.5 + 0.5 * np.sin(2 * np.pi * frequency * (down * np.cos(angle) + right * np.sin(angle)))
        colour, other = generator.uniform(0, 1, (2, 3))
        picture = np.where(
            inside[..., None], colour + generator.uniform(0, 0.5) * (other - colour) * stripes[..., None], picture
        )
    return np.asarray(np.rint(255 * picture.clip(0, 1)), np.uint8)


def write_pictures(folder: Path, count: int, size: tuple[int, int] = (96, 128)) -> None:
    """Draw pictures into `folder`, always the same ones."""
    for number in range(count):
        pixels = draw_picture(size, np.random.default_rng(number))
        write_image(folder / f"picture-{number:03d}.png", pixels, ImageFile(pixels, None, (1.0, 1.0), {}))
