"""Restoring images of any size with a trained network, in tiles where the whole does not fit in memory."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mri_n2n.errors import UsageError
from mri_n2n.networks.red30 import PAIRS, RED30
from mri_n2n.networks.unet import UNet

UNTILED = 2**21  # pixels that are restored in one piece: about 3 GB in the paper's U-Net
TILE = 1024  # pixels of a tile's side that are kept of it


def margin_of(network: nn.Module) -> int:
    """How many pixels around a tile its result depends on, at least; a multiple of the network's coarsest pixel."""
    if isinstance(network, RED30):
        return 2 * PAIRS + 2
    if isinstance(network, UNet):
        return 6 * 32  # 127 by convolutions, and up to 62 by where the pooling windows lie
    raise UsageError(f"{type(network).__name__} has no stated receptive field: restore images in one piece.")


@torch.inference_mode()
def restored(
    network: nn.Module,
    image: Float[Tensor, "c h w"],
    device: torch.device,
    *,
    tile: int = TILE,
    untiled: int = UNTILED,
) -> Float[Tensor, "m h w"]:
    """The network's result for one image, on the CPU. Images above `untiled` pixels are done in tiles without seams.

    tile: a multiple of 32, so that the network's coarse pixels lie as in the whole image.
    """
    height, width = image.shape[-2:]
    if height * width <= untiled:
        whole: Tensor = network(image[None].to(device))
        return whole[0].float().cpu()
    margin, result = margin_of(network), None
    for top, bottom in _spans(height, tile):
        for left, right in _spans(width, tile):
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
