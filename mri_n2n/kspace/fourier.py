"""The Fourier transform between images and k-space: orthonormal, float32, unshifted (DC at index [0, 0]).

The k-space of a real image holds every value twice, as conjugates at k and -k. Only half of it is computed and kept:
columns 0 to width // 2, the half plane `[h k]`. Of a complex image it is the whole plane, and k the width. Everything
else in the project takes its transform from here: a wrong shift or scale still looks like an image.
"""

from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Inexact, Shaped
from torch import Tensor

CPU = torch.device("cpu")
Grid = tuple[int, int]


def to_kspace(image: Inexact[Tensor, "*b h w"]) -> Complex[Tensor, "*b h k"]:
    """An image's k-space: the half plane of a real one, the whole plane of a complex one."""
    if image.is_complex():
        whole: Tensor = torch.fft.fft2(image.to(torch.complex64), norm="ortho")
        return whole
    half: Tensor = torch.fft.rfft2(image.float(), norm="ortho")
    return half


def to_image(kspace: Complex[Tensor, "*b h k"], grid: Grid, *, real: bool = True) -> Inexact[Tensor, "*b h w"]:
    """The image, of size `grid`, that has this k-space: real from a half plane, complex from the whole plane."""
    transform = torch.fft.irfft2 if real else torch.fft.ifft2
    image: Tensor = transform(kspace, s=grid, norm="ortho")
    return image


def half_plane(whole: Shaped[Tensor, "*b h w"]) -> Shaped[Tensor, "*b h k"]:
    """The half of k-space that is kept."""
    return whole[..., : whole.shape[-1] // 2 + 1]


def whole_plane(half: Shaped[Tensor, "*b h k"], width: int) -> Shaped[Tensor, "*b h w"]:
    """All of k-space from its half, for what wants all: the value at -k is the conjugate of the value at k."""
    rest = half[..., 1 : (width + 1) // 2].flip(-1, -2).roll(1, -2)
    return torch.cat([half, rest.conj() if rest.is_complex() else rest], dim=-1)


def opposite(whole: Shaped[Tensor, "*b h w"]) -> Shaped[Tensor, "*b h w"]:
    """What stands at -k, at the place of k."""
    return whole.flip(-1, -2).roll((1, 1), (-1, -2))


@lru_cache(maxsize=32)
def multiplicity(width: int, device: torch.device = CPU) -> Float[Tensor, " k"]:
    """How often each column of the half plane stands in the whole: twice, but for DC's and Nyquist's once."""
    columns = torch.arange(width // 2 + 1)
    return torch.where((columns == 0) | (2 * columns == width), 1.0, 2.0).to(device)


@lru_cache(maxsize=32)
def indices(size: int, device: torch.device = CPU) -> Float[Tensor, " size"]:
    """Signed frequency indices of one axis in the order of the transform: 0, 1, ..., -2, -1. Shared: do not change."""
    frequencies: Tensor = torch.fft.fftfreq(size, d=1 / size).to(device)
    return frequencies


def translated(kspace: Complex[Tensor, "b h k"], shift: Float[Tensor, "b 2"], grid: Grid) -> Complex[Tensor, "b h k"]:
    """k-space of the images circularly moved by `shift` whole pixels (rows, columns): a phase ramp."""
    rows, columns = (
        _turned(shift[:, axis, None] * indices(size, kspace.device) / size) for axis, size in enumerate(grid)
    )
    return kspace * rows[:, :, None] * columns[:, None, : kspace.shape[-1]]


def readout_encoded(slices: Complex[Tensor, "*b n h w"]) -> Complex[Tensor, "*b n h w"]:
    """Transformed along a volume's third axis, whose middle (voxel n // 2) is the origin: DC at index 0."""
    samples: Tensor = torch.fft.fft(torch.fft.ifftshift(slices, dim=-3), dim=-3, norm="ortho")
    return samples


def readout_decoded(samples: Complex[Tensor, "*b n h w"]) -> Complex[Tensor, "*b n h w"]:
    """The inverse of `readout_encoded`: k-space of every slice of a volume that was read out whole along them."""
    slices: Tensor = torch.fft.fftshift(torch.fft.ifft(samples, dim=-3, norm="ortho"), dim=-3)
    return slices


def _turned(turns: Float[Tensor, "b n"]) -> Complex[Tensor, "b n"]:
    return torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)
