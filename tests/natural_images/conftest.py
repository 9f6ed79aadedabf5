"""Small folders of pictures."""

from pathlib import Path

import numpy as np
import pytest

from natural_images.image_files import ImageFile, write_image
from natural_images.procedural import draw_picture


@pytest.fixture
def exposures(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of noisy exposures of six pictures, 96×128, σ = 20."""
    folders = tmp_path / "one", tmp_path / "two"
    generator = np.random.default_rng(0)
    for number in range(6):
        clean = draw_picture((96, 128), generator).astype(float)
        for folder in folders:
            noisy = np.rint((clean + generator.normal(0, 20, clean.shape)).clip(0, 255)).astype(np.uint8)
            write_image(folder / f"scene-{number}.png", noisy, ImageFile(noisy, None, (1.0, 1.0), {}))
    return folders
