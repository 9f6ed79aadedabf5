"""The paper's U-Net (Table 2)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d, pad

from mri_n2n.networks.convolution import convolved, upsampled_and_convolved

LEAK = 0.1
LEVELS = 5


class UNet(nn.Module):
    """Encoder-decoder of Table 2: 48 channels down, 96 up, skips from the pooled maps and the input.

    Any height and width: sizes that are no multiple of 32 are padded with `padding` (black, in the data's
    range) at the far ends and cropped back. He initialisation, no normalisation, no dropout (§A.2).
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, *, width: int = 48, padding: float = -0.5) -> None:
        super().__init__()
        self.padding, self.width = padding, width
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(LEVELS))
        self.bottom = nn.Conv2d(width, width, 3, padding=1)
        skips = [width] * (LEVELS - 1) + [in_channels]
        below = [width] + [2 * width] * (LEVELS - 1)
        last = [2 * width] * (LEVELS - 1) + [4 * width // 3]
        self.up_a = nn.ModuleList(
            nn.Conv2d(deep + skip, wide, 3, padding=1) for deep, skip, wide in zip(below, skips, last, strict=True)
        )
        narrow = [2 * width] * (LEVELS - 1) + [2 * width // 3]
        self.up_b = nn.ModuleList(nn.Conv2d(wide, out, 3, padding=1) for wide, out in zip(last, narrow, strict=True))
        self.last = nn.Conv2d(2 * width // 3, out_channels, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                gain = 1.0 if layer is self.last else math.sqrt(2 / (1 + LEAK**2))
                fan_in = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
                nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m h w"]:
        """The network's output on the grid of `image`."""
        height, width = image.shape[-2:]
        multiple = 2**LEVELS
        padded = pad(image, (0, -width % multiple, 0, -height % multiple), value=self.padding)
        x = _channels_last(padded)
        skips = [x]
        x = _activate(convolved(x, self.first))
        for level, layer in enumerate(self.down):
            x = max_pool2d(_activate(layer(x)), 2)
            if level < LEVELS - 1:
                skips.append(x)
        x = _activate(self.bottom(x))
        for layer_a, layer_b in zip(self.up_a, self.up_b, strict=True):
            assert isinstance(layer_a, nn.Conv2d)
            x = _activate(upsampled_and_convolved(x, skips.pop(), layer_a))
            x = _activate(layer_b(x))
        return convolved(x, self.last)[..., :height, :width]


def _channels_last(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The image with its channels side by side in memory.

    With one channel any order is that: only its strides tell torch which is meant, and what to make of sums with it.
    """
    if image.shape[1] > 1:
        return image.contiguous(memory_format=torch.channels_last)
    return image.contiguous().squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)


def _activate(x: Tensor) -> Tensor:
    return leaky_relu(x, LEAK, inplace=True)
