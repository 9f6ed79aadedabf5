"""Restoring images of any size with a trained network, in tiles where the whole does not fit in memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mri_n2n.errors import UsageError
from mri_n2n.networks.red30 import PAIRS, RED30, SKIP_EVERY
from mri_n2n.networks.unet import UNet
from mri_n2n.progress import bar

MOST_VALUES = 2**30 - 2**28  # of feature maps alive at once: 3 GB


@dataclass(frozen=True)
class Reach:
    """What restoring takes.

    margin: pixels around a tile that its result depends on, a multiple of the network's coarsest pixel. values: of
    feature maps, alive at once, for each pixel.
    """

    margin: int
    values: int


def reach_of(network: nn.Module) -> Reach:
    """What restoring by a network of ours takes."""
    if isinstance(network, RED30):
        return Reach(32, (PAIRS // SKIP_EVERY + 3) * network.width)
    if isinstance(network, UNet):
        return Reach(6 * 32, 8 * network.width)  # 127 by convolutions, up to 62 by where the pools lie
    raise UsageError(f"{type(network).__name__} has no stated receptive field: restore images in one piece.")


@torch.inference_mode()
def restored(
    network: nn.Module,
    image: Float[Tensor, "c h w"],
    device: torch.device,
    *,
    tile: int | None = None,
    most_values: int = MOST_VALUES,
) -> Float[Tensor, "m h w"]:
    """The network's result for one image, on the CPU.

    Where the feature maps of the whole would have more than `most_values` values, it is done in tiles without seams.
    tile: side of what is kept of each, a multiple of 32, so that coarse pixels lie as in the whole image.
    """
    height, width = image.shape[-2:]
    reach = reach_of(network)
    if height * width * reach.values <= most_values:
        whole: Tensor = network(image[None].to(device))
        return whole[0].float().cpu()
    margin, result = reach.margin, None
    tile = tile or max(32, (math.isqrt(most_values // reach.values) - 2 * margin) // 32 * 32)
    tiles = list(product(_spans(height, tile), _spans(width, tile)))
    for (top, bottom), (left, right) in bar(tiles, description="tiles", unit="tile", leave=False):
        above, before = max(0, top - margin), max(0, left - margin)
        window = image[:, above : bottom + margin, before : right + margin]
        output = network(window[None].to(device))[0].float().cpu()
        if result is None:
            result = torch.empty((len(output), height, width))
        result[:, top:bottom, left:right] = output[:, top - above : bottom - above, left - before : right - before]
    assert result is not None
    return result


def _spans(size: int, tile: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, tile):
        yield start, min(start + tile, size)
