"""Pictures: restored photographs beside the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mri_n2n.durable import replacing
from natural_images.evaluation import quality_of

Image = Float[Tensor, "c h w"]

SIDE = 2.4  # inches of a picture's width
SHOWN = 256  # pixels of each image, in its middle, that are drawn: noise does not survive being scaled down


def draw_strips(path: Path, rows: Sequence[tuple[str, Mapping[str, Image]]], caution: str = "") -> None:
    """Draw each row (its title, and images in [-0.5, 0.5] by title) as a strip; its last image is the reference.

    Of each image the middle is drawn; above it stands the PSNR of the whole. caution: what must be said below it.
    """
    from matplotlib.figure import Figure

    columns = max(len(images) for _, images in rows)
    shapes = [middle(list(images.values())[-1]).shape for _, images in rows]
    heights = [SIDE * shape[1] / shape[2] for shape in shapes]
    figure = Figure(figsize=(SIDE * columns, sum(heights) + 0.45 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for line, (title, images) in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        reference = list(images.values())[-1]
        for place, (axes, (name, image)) in enumerate(zip(line, images.items(), strict=False)):
            shown = np.clip(middle(image).movedim(0, -1).numpy() + 0.5, 0, 1)
            axes.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            quality = "" if image is reference else f"\n{quality_of(image, reference):.2f} dB"
            axes.set_title((f"{title}\n{name}" if place == 0 and title else name) + quality, fontsize=8)
    if caution:
        figure.supxlabel(caution, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight", pad_inches=0.06)


def middle(image: Float[Tensor, "*s h w"]) -> Float[Tensor, "*s h2 w2"]:
    """At most 256 pixels square from the middle of an image: enough to judge it by."""
    top, left = (max(0, (size - SHOWN) // 2) for size in image.shape[-2:])
    return image[..., top : top + SHOWN, left : left + SHOWN]
