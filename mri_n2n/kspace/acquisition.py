"""A Cartesian acquisition, and the physics that turns it into images and back."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex, Float, Inexact
from torch import Tensor

from mri_n2n.kspace.fourier import Grid, half_plane, multiplicity, to_image, to_kspace, whole_plane
from mri_n2n.kspace.sampling import shared_as_acquired


@dataclass(frozen=True, slots=True)
class Measurement:
    """Undersampled k-space of single-coil images: the half plane of real ones, the whole plane of complex ones.

    samples: the acquired values, zero where nothing was acquired. mask: where something was. density: the probability
    that it would be, one for all images or one for each. grid: height and width of the images.
    """

    samples: Complex[Tensor, "b h k"]
    mask: Bool[Tensor, "b h k"]
    density: Float[Tensor, "#b h k"]
    grid: Grid
    real: bool = True

    @property
    def multiplicity(self) -> Float[Tensor, " k"]:
        """How often each column stands in the whole plane."""
        width, device = self.grid[1], self.samples.device
        return multiplicity(width, device) if self.real else torch.ones(width, device=device)

    def image(self, kspace: Complex[Tensor, "b h k"]) -> Inexact[Tensor, "b h w"]:
        """The images, real or complex as the ones that were measured, that have this k-space."""
        return to_image(kspace, self.grid, real=self.real)


def acquire(
    kspace: Complex[Tensor, "b h k"],
    mask: Bool[Tensor, "b h k"],
    density: Float[Tensor, "*n h w"],
    *,
    real: bool = True,
) -> Measurement:
    """Keep the samples of `kspace` under `mask`, which was drawn from `density` (the whole plane, for all or each)."""
    height, width = density.shape[-2:]
    kept = half_plane(density) if real else density
    return Measurement(torch.where(mask, kspace, 0), mask, kept.reshape(-1, *mask.shape[1:]), (height, width), real)


def split(measurement: Measurement, uniform: Float[Tensor, "b h k"]) -> tuple[Measurement, Measurement]:
    """Two measurements out of one, under masks that are as independent as if each had been drawn for itself.

    Where p is the density of the one, each of the two has p' = 1 - √(1 - p): an acquired frequency goes to both with
    probability p'²/p, and to either one alone with p'(1 - p')/p. (To thin the one mask twice would not do: masks that
    both lie within a third depend on each other.) uniform: the `uniform_numbers` that decide; of scans that acquired
    whole lines one number decides on each line, and of those that acquired k and -k together, on both.
    """
    p = measurement.density
    each = split_density(p)
    both, alone = each.square() / p, each * (1 - each) / p
    width, of_all = measurement.grid[1], p.expand(uniform.shape)
    if measurement.real:
        planes = (whole_plane(part, width) for part in (uniform, of_all, measurement.mask))
        uniform = half_plane(shared_as_acquired(*planes))
    else:
        uniform = shared_as_acquired(uniform, of_all, measurement.mask)
    first = measurement.mask & (uniform < both + alone)
    second = measurement.mask & ((uniform < both) | (uniform >= both + alone))
    return _part(measurement, first, each), _part(measurement, second, each)


def split_density(density: Float[Tensor, "b h k"]) -> Float[Tensor, "b h k"]:
    """p' = 1 - √(1 - p): the density of each of two independent measurements that together have p."""
    return density / (1 + (1 - density).clamp(min=0).sqrt())  # the same, without losing the digits of a small p


def density_compensated_adjoint(measurement: Measurement) -> Inexact[Tensor, "b h w"]:
    """x̂ = F⁻¹(M/p · Fy).

    Every kept sample divided by its probability, so that the expectation over masks is the image itself.
    """
    p = measurement.density
    weights = torch.where(p > 0, 1 / p, 0)  # dividing complex numbers takes eight times as long
    return measurement.image(measurement.samples * weights)


def zero_filled(measurement: Measurement) -> Inexact[Tensor, "b h w"]:
    """F⁻¹(M · Fy).

    The image of the acquired samples as they are. Biased (blurred) and much less noisy than the compensated one.
    """
    return measurement.image(measurement.samples)


def replace_acquired(image: Inexact[Tensor, "b h w"], measurement: Measurement) -> Inexact[Tensor, "b h w"]:
    """Frequency replacement R (§3.4): overwrite the image's frequencies by the acquired ones where there are any."""
    return measurement.image(torch.where(measurement.mask, measurement.samples, to_kspace(image)))


def _part(whole: Measurement, mask: Bool[Tensor, "b h k"], density: Float[Tensor, "#b h k"]) -> Measurement:
    return replace(whole, samples=torch.where(mask, whole.samples, 0), mask=mask, density=density)
