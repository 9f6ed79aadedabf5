"""The Fourier transform between image and k-space: orthonormal, float32, unshifted (DC at index [0, 0]).

Everything else in the project takes its transform from here: a wrong shift or scale still looks like an image.
"""

from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

CPU = torch.device("cpu")


def to_kspace(image: Float[Tensor, "*b h w"]) -> Complex[Tensor, "*b h w"]:
    """k-space of a real image."""
    kspace: Tensor = torch.fft.fft2(image.float(), norm="ortho")
    return kspace


def to_image(kspace: Complex[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Real image of conjugate-symmetric k-space (the imaginary part of anything else is dropped)."""
    image: Tensor = torch.fft.ifft2(kspace, norm="ortho").real
    return image


@lru_cache(maxsize=32)
def indices(size: int, device: torch.device = CPU) -> Float[Tensor, " size"]:
    """Signed frequency indices of one axis in the order of the transform: 0, 1, ..., -2, -1. Shared: do not change."""
    frequencies: Tensor = torch.fft.fftfreq(size, d=1 / size).to(device)
    return frequencies


def translated(kspace: Complex[Tensor, "b h w"], shift: Float[Tensor, "b 2"]) -> Complex[Tensor, "b h w"]:
    """k-space of the images circularly moved by `shift` whole pixels (rows, columns): a phase ramp."""
    rows, columns = (indices(size, kspace.device) / size for size in kspace.shape[-2:])
    turns = shift[:, 0, None, None] * rows[:, None] + shift[:, 1, None, None] * columns
    return kspace * torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
