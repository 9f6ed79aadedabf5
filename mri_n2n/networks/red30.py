"""RED30: residual encoder-decoder of 30 layers (Mao, Shen and Yang, NIPS 2016), for §3.1's first experiment."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

PAIRS = 15
SKIP_EVERY = 2


class RED30(nn.Module):
    """Fifteen convolutions, fifteen transposed ones, 3×3 "same", ReLU; no pooling, so any height and width.

    Every second convolution's map is added to its mirror image among the transposed convolutions, and the input to the
    output: the network learns the residual. He initialisation but for the last layer, which begins small: seven skips
    add up in its input, and the network should begin near the identity.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 3, *, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.residual = in_channels == out_channels
        widths = [in_channels] + [width] * PAIRS
        self.down = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        back = [width] * PAIRS + [out_channels]
        self.up = nn.ModuleList(nn.ConvTranspose2d(before, after, 3, padding=1) for before, after in pairwise(back))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                fan_in = layer.in_channels * 9
                gain = 0.1 if layer is self.up[-1] else math.sqrt(2)
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
                nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m h w"]:
        """The network's output on the grid of `image`."""
        x = image.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for number, layer in enumerate(self.down, start=1):
            x = relu(layer(x))
            if number % SKIP_EVERY == 0:
                skips.append(x)
        for number, layer in enumerate(self.up[:-1], start=1):
            x = layer(x)
            if (PAIRS - number) % SKIP_EVERY == 0:
                x = x + skips.pop()
            x = relu(x)
        output: Tensor = self.up[-1](x)
        return output + image if self.residual else output
