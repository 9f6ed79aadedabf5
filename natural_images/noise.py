"""Noise models of §3.1 and §3.2: each draws one corrupted realisation of a batch of clean images.

Images are in [-0.5, 0.5]; what is drawn is never clipped, since clipping would bias the mean of the targets.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn.functional import conv2d

from mri_n2n.errors import UsageError

Images = Float[Tensor, "b c h w"]
Levels = Float[Tensor, " b"]

FEWEST_PHOTONS = 0.001  # of λ: below it, hardly a photon falls on a crop
REACH = 3  # of the brown noise's blur, in bandwidths


@dataclass(frozen=True, slots=True)
class Realisation:
    """One corrupted version of a batch.

    image: in the units of the clean one, never clipped. corrupted: where a pixel was replaced or lost; None for noise
    that touches every pixel.
    """

    image: Images
    corrupted: Bool[Tensor, "b 1 h w"] | None = None


@runtime_checkable
class NoiseModel(Protocol):
    """A noise model. Its level (σ, λ or p) is drawn uniformly between `low` and `high` for each realisation."""

    TEST_LEVEL: ClassVar[float]

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Corrupt images `[b c h w]` in [-0.5, 0.5], each at its level, in the model's unit.

        The generator is on the images' device; equal generators draw equal noise.
        """
        ...


@dataclass(frozen=True)
class Gaussian:
    """White additive noise of standard deviation σ, in steps of 8 bit (25 is 25/255 of the range)."""

    low: float = 0.0
    high: float = 50.0
    TEST_LEVEL: ClassVar[float] = 25.0

    def __post_init__(self) -> None:
        _check_range("σ", self.low, self.high)

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Add noise of the images' σ."""
        return Realisation(clean + _column(levels) / 255 * _normal(clean.shape, generator))


@dataclass(frozen=True)
class BrownGaussian:
    """White noise blurred by a spatial Gaussian of `bandwidth` pixels, and rescaled to σ (Fig 1b).

    Every pixel has exactly the standard deviation σ, near the borders too: the noise is drawn on a larger grid.
    """

    bandwidth: float
    low: float = 25.0
    high: float = 25.0
    TEST_LEVEL: ClassVar[float] = 25.0

    def __post_init__(self) -> None:
        _check_range("σ", self.low, self.high)
        if not 0 <= self.bandwidth <= 100:
            raise UsageError(f"the bandwidth of brown noise lies in 0 .. 100 pixels, got {self.bandwidth:g}.")

    def kernel(self, device: torch.device) -> Float[Tensor, " k"]:
        """The blur along one axis, of unit energy: white noise of any σ keeps it."""
        reach = math.ceil(REACH * self.bandwidth)
        places = torch.arange(-reach, reach + 1, dtype=torch.float32, device=device)
        weights = torch.exp(-0.5 * (places / max(self.bandwidth, 1e-6)) ** 2)
        return weights / weights.square().sum().sqrt()

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Add noise of the images' σ."""
        count, channels, height, width = clean.shape
        kernel = self.kernel(clean.device)
        margin = len(kernel) - 1
        white = _normal((count * channels, 1, height + margin, width + margin), generator)
        blurred = conv2d(conv2d(white, kernel[None, None, :, None]), kernel[None, None, None, :])
        return Realisation(clean + _column(levels) / 255 * blurred.reshape(clean.shape))


@dataclass(frozen=True)
class Poisson:
    """Photon noise: each value x in [0, 1] becomes a count with mean λx, divided by λ."""

    low: float = 0.0
    high: float = 50.0
    TEST_LEVEL: ClassVar[float] = 30.0

    def __post_init__(self) -> None:
        _check_range("λ", self.low, self.high)

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Count photons with the images' λ. One below 0.001 is taken as 0.001."""
        rate = _column(levels).clamp(min=FEWEST_PHOTONS)
        intensity = (clean + 0.5).clamp(min=0)
        return Realisation(torch.poisson(rate * intensity, generator=generator) / rate - 0.5)


@dataclass(frozen=True)
class Bernoulli:
    """Multiplicative noise: each pixel is lost (black, in all channels) with probability p."""

    low: float = 0.0
    high: float = 0.95
    TEST_LEVEL: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        _check_range("p", self.low, self.high, most=1)

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Lose pixels with the images' p."""
        lost = _chosen(clean, levels, generator)
        return Realisation(torch.where(lost, -0.5, clean), lost)


@dataclass(frozen=True)
class Impulses:
    """Random-valued impulses: each pixel gets a uniformly random colour with probability p."""

    low: float = 0.0
    high: float = 0.95
    TEST_LEVEL: ClassVar[float] = 0.7

    def __post_init__(self) -> None:
        _check_range("p", self.low, self.high, most=1)

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Replace pixels with the images' p."""
        replaced = _chosen(clean, levels, generator)
        colours = torch.rand(clean.shape, generator=generator, device=clean.device) - 0.5
        return Realisation(torch.where(replaced, colours, clean), replaced)


@dataclass(frozen=True)
class SaltAndPepper:
    """Each pixel becomes black or white, equally likely, with probability p."""

    low: float = 0.0
    high: float = 0.5
    TEST_LEVEL: ClassVar[float] = 0.25

    def __post_init__(self) -> None:
        _check_range("p", self.low, self.high, most=1)

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Replace pixels with the images' p."""
        replaced = _chosen(clean, levels, generator)
        white = torch.rand(replaced.shape, generator=generator, device=clean.device) < 0.5
        return Realisation(torch.where(replaced, white.float() - 0.5, clean), replaced)


def at_level(noise: NoiseModel, level: float | None = None) -> NoiseModel:
    """The same noise at one fixed level, without one at that of the paper's tests (or the nearest within its range)."""
    fixed = min(max(noise.TEST_LEVEL, noise.low), noise.high) if level is None else level
    changed: NoiseModel = replace(cast(Any, noise), low=fixed, high=fixed)
    return changed


def drawn_levels(noise: NoiseModel, count: int, generator: Generator) -> Levels:
    """A level for each of `count` images."""
    uniform = torch.rand(count, generator=generator, device=generator.device)
    return noise.low + (noise.high - noise.low) * uniform


def _check_range(symbol: str, low: float, high: float, most: float = math.inf) -> None:
    if not 0 <= low <= high <= most or math.isinf(high):
        bound = "" if math.isinf(most) else f" ≤ {most:g}"
        raise UsageError(f"expected a range 0 ≤ low ≤ high{bound} of {symbol}, got {low:g} .. {high:g}.")


def _column(levels: Levels) -> Float[Tensor, "b 1 1 1"]:
    return levels[:, None, None, None]


def _normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _chosen(clean: Images, levels: Levels, generator: Generator) -> Bool[Tensor, "b 1 h w"]:
    """Pixels, each picked with its image's probability."""
    count, _, height, width = clean.shape
    return torch.rand((count, 1, height, width), generator=generator, device=clean.device) < _column(levels)
