"""The MRI task: what is drawn, how the network is used and how it is scored (§3.4)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Complex, Float, Inexact, Int
from torch import Generator, Tensor, nn

from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import Measurement, acquire, density_compensated_adjoint, replace_acquired
from mri_n2n.kspace.channels import as_channels, from_channels
from mri_n2n.kspace.fourier import CPU, Grid, to_image, to_kspace, translated
from mri_n2n.kspace.sampling import check_sampling, decay_for, draw_mask, exponential_density
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, TrainingPair

Targets = Literal["noisy", "clean"]


@dataclass(frozen=True, slots=True)
class UndersampledPair(TrainingPair):
    """A training pair with the k-space behind it. `target_measurement` is None for clean targets."""

    measurement: Measurement
    target_measurement: Measurement | None = None


@dataclass(frozen=True)
class Undersampling:
    """Simulated random Cartesian undersampling of magnitude images.

    Exactly one of `acceleration` (the share 1/acceleration is kept on the grid at hand) and `edge_probability`
    (p at the end of the axis; the paper's 0.025) sets the density p(k) = exp(-λ|k|). `translation` is the largest
    circular move as a share of the grid (±64 of 256 pixels in the published run). `odd_grid` crops even sizes by
    one (256 → 255, as published), which avoids the self-conjugate Nyquist frequencies.
    """

    acceleration: float | None = None
    edge_probability: float | None = 0.025
    targets: Targets = "noisy"
    translation: float = 0.25
    odd_grid: bool = True

    def __post_init__(self) -> None:
        check_sampling(self.acceleration, self.edge_probability)

    def decay(self, grid: Grid) -> float:
        """λ on `grid`."""
        return decay_for(grid, self.acceleration, self.edge_probability)

    def grid(self, size: Grid) -> Grid:
        """The grid that images of this size are trained and evaluated on."""
        height, width = self.cropped(torch.empty(size)).shape
        return height, width

    def density(self, grid: Grid, device: torch.device = CPU) -> Float[Tensor, "h w"]:
        """p(k) on `grid`, unshifted."""
        return exponential_density(grid, self.decay(grid), device)

    def check_data(self, kind: str, size: Grid) -> None:
        """Raise unless this can be drawn from data of this kind ("images") and size."""
        if kind != "images":
            raise UsageError(f"this run simulates undersampling of images, the data holds {kind}. Choose other data.")
        self.density(self.grid(size))

    def facts(self, size: Grid) -> dict[str, float]:
        """What this sampling comes to on data of this size: λ, and the share that is kept in expectation."""
        grid = self.grid(size)
        return {"decay": self.decay(grid), "kept": float(self.density(grid).mean())}

    def cropped(self, images: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h2 w2"]:
        """The images on the grid that is trained and evaluated on."""
        if not self.odd_grid:
            return images
        height, width = images.shape[-2:]
        return images[..., : height - (height + 1) % 2, : width - (width + 1) % 2]

    def measure(self, kspace: Complex[Tensor, "b h k"], grid: Grid, generator: Generator) -> Measurement:
        """Acquire the k-space of each image of a batch, of size `grid`, under an independent mask."""
        density = self.density(grid, kspace.device)
        return acquire(kspace, draw_mask(density, len(kspace), generator), density)

    def measure_each(self, images: Float[Tensor, "b h w"], generators: Sequence[Generator]) -> Measurement:
        """Acquire each image under the mask of its own generator, so that the mask belongs to the image.

        The generators are the CPU's, and the masks those of every device.
        """
        grid = (images.shape[-2], images.shape[-1])
        masks = torch.cat([draw_mask(self.density(grid), 1, generator) for generator in generators])
        return acquire(to_kspace(images), masks.to(images.device), self.density(grid, images.device))

    def __call__(self, batch: Batch, generator: Generator) -> UndersampledPair:
        """Move each image at random, measure it twice (once for clean targets), reconstruct both naively."""
        images = self.cropped(batch.images[:, 0])
        count, height, width = images.shape
        grid = (height, width)
        kspace = to_kspace(images)
        if self.translation > 0:
            kspace = translated(kspace, random_shifts(count, grid, self.translation, generator), grid)
        measurement = self.measure(kspace, grid, generator)
        if self.targets == "clean":
            return undersampled_pair(measurement, to_image(kspace, grid))
        second = self.measure(kspace, grid, generator)
        return replace(undersampled_pair(measurement, density_compensated_adjoint(second)), target_measurement=second)

    def evaluation_pair(self, images: Float[Tensor, "b s h w"], generators: Sequence[Generator]) -> UndersampledPair:
        """Measure each image once, under the mask of its own generator, unmoved; the image itself is the target."""
        references = self.cropped(images[:, 0])
        return undersampled_pair(self.measured(images, generators), references)

    def measured(self, images: Float[Tensor, "b s h w"], generators: Sequence[Generator]) -> Measurement:
        """The measurements that `evaluation_pair` makes."""
        return self.measure_each(self.cropped(images[:, 0]), generators)


def evaluation_generator(identity: str) -> Generator:
    """The randomness of one image's evaluation, on the CPU: the same on every machine, in every batch and command."""
    return RandomStreams(0).at(f"evaluation/{identity}", 0)


def undersampled_pair(measurement: Measurement, target: Inexact[Tensor, "b h w"]) -> UndersampledPair:
    """The pair for a measurement: its density-compensated image as input, the given one as target."""
    return UndersampledPair(as_channels(density_compensated_adjoint(measurement)), as_channels(target), measurement)


def data_consistent(network: nn.Module, pair: UndersampledPair) -> Float[Tensor, "b c h w"]:
    """R f(x̂): the network's image with the acquired frequencies put back. The same in the loss and in inference."""
    return consistent(network(pair.input), pair.measurement)


def consistent(output: Float[Tensor, "b c h w"], measurement: Measurement) -> Float[Tensor, "b c h w"]:
    """R: an image of a network, in float32, with the acquired frequencies put back."""
    with torch.autocast(output.device.type, enabled=False):
        return as_channels(replace_acquired(from_channels(output.float()), measurement))


@dataclass(frozen=True)
class HorvitzThompson:
    """The supervised loss, estimated from the target's samples alone.

    E over M₂ of (M₂/p)|F f − k|² is |F f − k|², off the input's mask.

    Same expected gradient as the paper's loss with much less variance, since the weights multiply the (small)
    error and not the data. Weights 1/p above `cap` are cut, which biases the loss at frequencies with p < 1/cap
    (see `lost_weight`).
    """

    cap: float = 100.0

    def __call__(
        self, prediction: Float[Tensor, "b c h w"], pair: UndersampledPair, *, progress: float
    ) -> Float[Tensor, " b"]:
        del progress
        target = pair.target_measurement
        if target is None:
            raise UsageError("the ht loss needs the target's samples: use it with --targets noisy.")
        counted = target.mask & ~pair.measurement.mask
        weight = torch.where(counted, (1 / target.density).clamp(max=self.cap), 0)
        error = to_kspace(from_channels(prediction)) - target.samples
        height, width = target.grid
        each = weight * target.multiplicity * (error.real.square() + error.imag.square())
        return each.sum(dim=(1, 2)) / (height * width)

    def lost_weight(self, density: Float[Tensor, "*b h w"]) -> float:
        """The bias of the cap.

        The share of the frequencies' total weight in the expected loss that it removes, in [0, 1]; those that are never
        acquired have none.
        """
        return float((1 - (self.cap * density[density > 0]).clamp(max=1)).mean())


@dataclass(frozen=True)
class RepeatedScans:
    """Real pairs.

    Two noisy acquisitions of one head, no simulation. Either side is input or target, at random per image.

    `translation` moves both sides together, circularly, by whole pixels, up to this share of the grid.
    """

    translation: float = 0.25

    def check_data(self, kind: str, size: Grid) -> None:
        """Raise unless the data holds pairs."""
        del size
        if kind != "pairs":
            raise UsageError(f"this run needs real pairs, the data holds {kind}. Use `mri-n2n prepare pairs`.")

    def __call__(self, batch: Batch, generator: Generator) -> TrainingPair:
        """Pick the sides and the moves."""
        images = batch.images
        if images.shape[1] != 2:
            raise UsageError("real pairs need data made by `mri-n2n prepare pairs`; this data has one image per slice.")
        count, _, height, width = images.shape
        uniform = torch.rand((count, 3), generator=generator, device=images.device)
        swap = uniform[:, 0] < 0.5
        sides = torch.where(swap[:, None, None, None], images.flip(1), images)
        moves = [_circular(uniform[:, 1 + axis], size, self.translation) for axis, size in enumerate((height, width))]
        rows = moves[0][:, :, None].expand(count, height, width)
        columns = moves[1][:, None, :].expand(count, height, width)
        which = torch.arange(count, device=images.device)[:, None, None]
        moved = sides[which, :, rows, columns]  # [b h w s]: advanced indices split by a slice come first
        return TrainingPair(moved[..., :1].movedim(-1, 1), moved[..., 1:].movedim(-1, 1))

    def evaluation_pair(self, images: Float[Tensor, "b s h w"], generators: Sequence[Generator]) -> TrainingPair:
        """The first scan as input, the second as target, unmoved."""
        del generators  # nothing is drawn
        return TrainingPair(images[:, :1], images[:, 1:])


def random_shifts(count: int, grid: Grid, translation: float, generator: Generator) -> Float[Tensor, "b 2"]:
    """Circular moves (rows, columns) by whole pixels, up to the share `translation` of the grid, on the generator's
    device."""
    uniform = torch.rand((count, 2), generator=generator, device=generator.device)
    return torch.stack([_shift(uniform[:, axis], size, translation) for axis, size in enumerate(grid)], dim=1)


def _shift(uniform: Float[Tensor, " b"], size: int, translation: float) -> Float[Tensor, " b"]:
    """Whole pixels, all moves up to `translation` of the size equally likely, from uniform numbers in [0, 1)."""
    furthest = math.floor(translation * size)
    return torch.floor(uniform * (2 * furthest + 1)) - furthest


def _circular(uniform: Float[Tensor, " b"], size: int, translation: float) -> Int[Tensor, "b size"]:
    """For each image the places along one axis that a random circular move reads from."""
    shift = _shift(uniform, size, translation).long()
    return (torch.arange(size, device=uniform.device)[None, :] - shift[:, None]) % size
