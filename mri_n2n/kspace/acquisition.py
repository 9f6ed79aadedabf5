"""A simulated Cartesian acquisition, and the physics that turns it into images and back."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mri_n2n.kspace.fourier import Grid, half_plane, to_image, to_kspace


@dataclass(frozen=True, slots=True)
class Measurement:
    """Undersampled k-space of single-coil real images.

    samples: the half plane of the acquired values, zero where nothing was acquired. mask: where something was.
    density: the probability that it would be, on the whole plane.
    """

    samples: Complex[Tensor, "b h k"]
    mask: Bool[Tensor, "b h k"]
    density: Float[Tensor, "h w"]

    @property
    def grid(self) -> Grid:
        """Height and width of the images."""
        height, width = self.density.shape
        return height, width


def acquire(
    kspace: Complex[Tensor, "b h k"], mask: Bool[Tensor, "b h k"], density: Float[Tensor, "h w"]
) -> Measurement:
    """Keep the samples of `kspace` under `mask`, which was drawn from `density`."""
    return Measurement(torch.where(mask, kspace, 0), mask, density)


def split(measurement: Measurement, uniform: Float[Tensor, "b h k"]) -> tuple[Measurement, Measurement]:
    """Two measurements out of one, under masks that are as independent as if each had been drawn for itself.

    Where p is the density of the one, each of the two has p' = 1 - √(1 - p): an acquired frequency goes to both with
    probability p'²/p, and to either one alone with p'(1 - p')/p. (To thin the one mask twice would not do: masks that
    both lie within a third depend on each other.) uniform: `pair_uniform` numbers that decide.
    """
    p = half_plane(measurement.density)
    density = 1 - (1 - measurement.density).clamp(min=0).sqrt()
    each = half_plane(density)
    both, alone = each.square() / p, each * (1 - each) / p
    first = measurement.mask & (uniform < both + alone)
    second = measurement.mask & ((uniform < both) | (uniform >= both + alone))
    return acquire(measurement.samples, first, density), acquire(measurement.samples, second, density)


def density_compensated_adjoint(measurement: Measurement) -> Float[Tensor, "b h w"]:
    """x̂ = F⁻¹(M/p · Fy).

    Every kept sample divided by its probability, so that the expectation over masks is the image itself.
    """
    weights = 1 / half_plane(measurement.density)  # dividing complex numbers takes eight times as long
    return to_image(measurement.samples * weights, measurement.grid)


def zero_filled(measurement: Measurement) -> Float[Tensor, "b h w"]:
    """F⁻¹(M · Fy).

    The image of the acquired samples as they are. Biased (blurred) and much less noisy than the compensated one.
    """
    return to_image(measurement.samples, measurement.grid)


def replace_acquired(image: Float[Tensor, "b h w"], measurement: Measurement) -> Float[Tensor, "b h w"]:
    """Frequency replacement R (§3.4): overwrite the image's frequencies by the acquired ones where there are any."""
    return to_image(torch.where(measurement.mask, measurement.samples, to_kspace(image)), measurement.grid)
