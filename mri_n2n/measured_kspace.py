"""Training on raw k-space: complex values as a scanner acquired them, one coil at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from mri_n2n.data.manifest import Kind
from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import Measurement, acquire, density_compensated_adjoint, split
from mri_n2n.kspace.fourier import CPU, Grid, translated
from mri_n2n.kspace.sampling import check_sampling, decay_for, draw_mask, exponential_density, uniform_numbers
from mri_n2n.task import Targets, UndersampledPair, random_shifts, undersampled_pair
from mri_n2n.training.task import Batch

UNDERSAMPLED: Kind = "kspace"  # of prepared data
FULL: Kind = "full-kspace"


def stored_planes(measurement: Measurement) -> Float[Tensor, "b 3 h w"]:
    """How measurements are stored: real and imaginary part, and the density, negative where nothing was acquired."""
    signed = torch.where(measurement.mask, measurement.density, -measurement.density)
    return torch.stack([measurement.samples.real, measurement.samples.imag, signed], dim=1)


def stored_measurement(planes: Float[Tensor, "b 3 h w"]) -> Measurement:
    """The measurements that were stored as these planes."""
    samples = torch.complex(planes[:, 0], planes[:, 1])
    return acquire(samples, planes[:, 2] > 0, planes[:, 2].abs(), real=False)


@dataclass(frozen=True)
class MeasuredKspace:
    """Pairs from raw k-space, complex.

    Without a density: what the scanner undersampled is split into two independent measurements, one to see and one to
    be scored against; which is which does not matter, as the two are alike. With `acceleration` or `edge_probability`
    (see `Undersampling`): what was fully sampled is measured under two masks of that density, or one for clean targets.
    `translation` is the largest circular move as a share of the grid. Images are turned by a random phase, too: where a
    scanner's phases begin means nothing.
    """

    acceleration: float | None = None
    edge_probability: float | None = None
    targets: Targets = "noisy"
    translation: float = 0.25

    def __post_init__(self) -> None:
        if self.fully_sampled:
            check_sampling(self.acceleration, self.edge_probability)
        elif self.targets == "clean":
            raise UsageError("clean targets need fully sampled k-space, and a density to undersample it with.")

    @property
    def fully_sampled(self) -> bool:
        """Whether the data is, so that undersampling is simulated."""
        return self.acceleration is not None or self.edge_probability is not None

    def density(self, grid: Grid, device: torch.device = CPU) -> Float[Tensor, "h w"]:
        """p(k) of the simulated undersampling on `grid`, unshifted."""
        return exponential_density(grid, decay_for(grid, self.acceleration, self.edge_probability), device)

    def check_data(self, kind: str, size: Grid) -> None:
        """Raise unless this can be drawn from data of this kind and size."""
        if kind not in (UNDERSAMPLED, FULL):
            raise UsageError(
                f"this run takes raw k-space, the data holds {kind}. Make it with `mri-n2n prepare kspace`."
            )
        if self.fully_sampled != (kind == FULL):
            needed = "fully sampled k-space" if self.fully_sampled else "k-space that was undersampled by the scanner"
            raise UsageError(f"this run takes {needed}, the data holds the other kind. Choose other data.")
        if self.fully_sampled:
            self.density(size)

    def facts(self, size: Grid) -> dict[str, float]:
        """What simulated undersampling comes to on this grid: λ, and the share kept in expectation."""
        if not self.fully_sampled:
            return {}
        decay = decay_for(size, self.acceleration, self.edge_probability)
        return {"decay": decay, "kept": float(self.density(size).mean())}

    def __call__(self, batch: Batch, generator: Generator) -> UndersampledPair:
        """Move each image at random, make two measurements of it, reconstruct both naively."""
        whole = self._moved(stored_measurement(batch.images), generator)
        if not self.fully_sampled:
            uniform = uniform_numbers(whole.grid, len(whole.samples), generator, real=False)
            return _noisy_pair(*split(whole, uniform))
        first = self._undersampled(whole, [generator])
        if self.targets == "clean":
            return undersampled_pair(first, whole.image(whole.samples))
        return _noisy_pair(first, self._undersampled(whole, [generator]))

    def measured(self, images: Float[Tensor, "b 3 h w"], generators: Sequence[Generator]) -> Measurement:
        """What there is to be reconstructed: the measurements as acquired, or undersampled, each by its generator."""
        whole = stored_measurement(images)
        return self._undersampled(whole, generators) if self.fully_sampled else whole

    def evaluation_pair(self, images: Float[Tensor, "b 3 h w"], generators: Sequence[Generator]) -> UndersampledPair:
        """Unmoved: undersampled once, with the fully sampled image as target; where there is none, split in two."""
        whole = stored_measurement(images)
        if self.fully_sampled:
            return undersampled_pair(self._undersampled(whole, generators), whole.image(whole.samples))
        numbers = [uniform_numbers(whole.grid, 1, generator, real=False) for generator in generators]
        return _noisy_pair(*split(whole, torch.cat(numbers).to(images.device)))

    def _moved(self, whole: Measurement, generator: Generator) -> Measurement:
        count = len(whole.samples)
        shifts = random_shifts(count, whole.grid, self.translation, generator)
        radians = math.tau * torch.rand((count, 1, 1), generator=generator, device=generator.device)
        turned = whole.samples * torch.polar(torch.ones_like(radians), radians)
        return replace(whole, samples=translated(turned, shifts, whole.grid))

    def _undersampled(self, whole: Measurement, generators: Sequence[Generator]) -> Measurement:
        """Under one mask for each image, drawn from its own generator, or all from one; beyond its reach p is 0."""
        density = self.density(whole.grid, generators[0].device)
        count = len(whole.samples) // len(generators)
        masks = torch.cat([draw_mask(density, count, generator, real=False) for generator in generators])
        device = whole.samples.device
        within = torch.where(whole.mask, density.to(device), 0)
        return acquire(whole.samples, masks.to(device) & whole.mask, within, real=False)


def _noisy_pair(first: Measurement, second: Measurement) -> UndersampledPair:
    pair = undersampled_pair(first, density_compensated_adjoint(second))
    return replace(pair, target_measurement=second)
