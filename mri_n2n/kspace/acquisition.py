"""A simulated Cartesian acquisition, and the physics that turns it into images and back."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mri_n2n.kspace.fourier import to_image, to_kspace


@dataclass(frozen=True, slots=True)
class Measurement:
    """Undersampled k-space of single-coil real images.

    samples: the acquired values, zero where nothing was acquired. mask: where something was. density: the
    probability that it would be.
    """

    samples: Complex[Tensor, "b h w"]
    mask: Bool[Tensor, "b h w"]
    density: Float[Tensor, "h w"]


def acquire(
    kspace: Complex[Tensor, "b h w"], mask: Bool[Tensor, "b h w"], density: Float[Tensor, "h w"]
) -> Measurement:
    """Keep the samples of `kspace` under `mask`, which was drawn from `density`."""
    return Measurement(torch.where(mask, kspace, 0), mask, density)


def density_compensated_adjoint(measurement: Measurement) -> Float[Tensor, "b h w"]:
    """x̂ = F⁻¹(M/p · Fy).

    Every kept sample divided by its probability, so that the expectation over masks is the image itself.
    """
    return to_image(measurement.samples / measurement.density)


def zero_filled(measurement: Measurement) -> Float[Tensor, "b h w"]:
    """F⁻¹(M · Fy).

    The image of the acquired samples as they are. Biased (blurred) and much less noisy than the compensated one.
    """
    return to_image(measurement.samples)


def replace_acquired(image: Float[Tensor, "b h w"], measurement: Measurement) -> Float[Tensor, "b h w"]:
    """Frequency replacement R (§3.4): overwrite the image's frequencies by the acquired ones where there are any."""
    return to_image(torch.where(measurement.mask, measurement.samples, to_kspace(image)))
