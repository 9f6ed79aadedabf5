"""Images as networks take them: one channel of a real image, real and imaginary part of a complex one."""

import torch
from jaxtyping import Float, Inexact
from torch import Tensor


def as_channels(image: Inexact[Tensor, "b h w"]) -> Float[Tensor, "b c h w"]:
    """The channels of real or complex images."""
    return torch.view_as_real(image).movedim(-1, 1) if image.is_complex() else image[:, None]


def from_channels(channels: Float[Tensor, "b c h w"]) -> Inexact[Tensor, "b h w"]:
    """The images, real from one channel, complex from two."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    return torch.complex(channels[:, 0], channels[:, 1])


def magnitude(image: Inexact[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Images to be shown and scored, black being -0.5: real ones as they are, of complex ones the magnitude."""
    return image.abs() - 0.5 if image.is_complex() else image
