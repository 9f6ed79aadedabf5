"""A.3: what a finite number of noisy targets costs, measured for three kinds of noise beside Eq. 8 and 9.

The mean of N noisy targets misses the mean of the clean ones by a squared error of 1/N times the average variance of
the noise (Eq. 8); where the noise is correlated, times the average of its summed covariances (Eq. 9).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg import toeplitz
from scipy.stats import norm
from torch import Generator, Tensor

from mri_n2n.intervals import Estimate
from mri_n2n.training.seeding import RandomStreams
from natural_images.noise import BrownGaussian, Gaussian, NoiseModel, Poisson
from pipelines.figures import Curve, Panel

Z = float(norm.ppf(0.975))
SIDE, IMAGES = 4, (1, 3, 10, 30, 100, 300, 1000)
SIGMA, PHOTONS, BANDWIDTH = 25.0, 30.0, 1.0
AT_ONCE = 2**18  # images drawn together
CLEAN = torch.linspace(0.1, 0.9, SIDE * SIDE).reshape(SIDE, SIDE)
BROWN = BrownGaussian(BANDWIDTH, SIGMA, SIGMA)


@dataclass(frozen=True)
class FiniteTargets:
    """What was found for one kind of noise: the squared error of the mean of N targets, images in [0, 1].

    targets: N, scalars. error: measured, with its 95 % interval. covariance: (1/n) sum of Cov(i, j) over an image of n
    pixels, the stated constant of Eq. 9; variance: that of Eq. 8. constant: N times the error, over all N; slope: of
    log error over log N, stated as -1; both with their 95 % intervals.
    """

    targets: NDArray[np.float64]
    error: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    covariance: float
    variance: float
    constant: Estimate
    slope: Estimate

    @property
    def ratio(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The error over Eq. 9's, and its 95 % interval."""
        over = self.targets / self.covariance
        return self.error * over, self.low * over, self.high * over


def _correlation(noise: BrownGaussian) -> Float[Tensor, "p p"]:
    """Between the pixels of an image: along each side, the blur's overlap with itself."""
    kernel = noise.kernel(torch.device("cpu"))
    overlaps = [float(kernel[distance:] @ kernel[: len(kernel) - distance]) for distance in range(SIDE)]
    along = torch.from_numpy(toeplitz(overlaps)).float()
    return torch.kron(along, along)


NOISES: Mapping[str, tuple[NoiseModel, Tensor]] = {
    "Gaussian": (Gaussian(SIGMA, SIGMA), (SIGMA / 255) ** 2 * torch.eye(SIDE**2)),
    "Poisson": (Poisson(PHOTONS, PHOTONS), torch.diag(CLEAN.flatten() / PHOTONS)),
    "brown": (BROWN, (SIGMA / 255) ** 2 * _correlation(BROWN)),
}
"""The noise that networks are trained with, and its covariance between the pixels of an image."""


def _squared_errors(noise: NoiseModel, repetitions: int, images: int, generator: Generator) -> Float[Tensor, " r"]:
    """Of the mean of so many noisy images: its squared distance to the mean of the clean ones, each time anew."""
    pieces = []
    for done in range(0, repetitions, per_piece := max(1, AT_ONCE // images)):
        count = min(per_piece, repetitions - done)
        clean = (CLEAN - 0.5).expand(count * images, 1, SIDE, SIDE)
        noisy = noise(clean, torch.full((count * images,), float(noise.low)), generator).image
        pieces.append((noisy - clean).double().reshape(count, -1).mean(1).square())
    return torch.cat(pieces)


def finite_targets(repetitions: int, streams: RandomStreams) -> dict[str, FiniteTargets]:
    """Measure the error: for every noise and number of targets, that many repetitions in one batch."""
    return {noise: _finite_targets(noise, repetitions, streams) for noise in NOISES}


def _finite_targets(noise: str, repetitions: int, streams: RandomStreams) -> FiniteTargets:
    model, covariance = NOISES[noise]
    targets = np.array(IMAGES, dtype=np.float64) * SIDE**2
    errors = [_squared_errors(model, repetitions, n, streams.at(noise, n)) for n in IMAGES]
    error = np.array([float(squared.mean()) for squared in errors])
    half = np.array([Z * float(squared.std()) for squared in errors]) / math.sqrt(repetitions)
    weights = (error / half) ** 2  # of log error: the inverse of its variance, up to a factor
    log_n = np.log(targets)
    away = log_n - np.average(log_n, weights=weights)
    slope = float((weights * away * np.log(error)).sum() / (weights * away**2).sum())
    slope_half = float((weights * away**2).sum() ** -0.5)
    constant, constant_half = float((error * targets).mean()), math.hypot(*(half * targets)) / len(targets)
    return FiniteTargets(
        targets,
        error,
        error - half,
        error + half,
        float(covariance.sum()) / SIDE**2,
        float(covariance.trace()) / SIDE**2,
        Estimate(constant, constant - constant_half, constant + constant_half),
        Estimate(slope, slope - slope_half, slope + slope_half),
    )


def finite_targets_table(found: Mapping[str, FiniteTargets]) -> str:
    """Markdown: constants and slopes, then measured over stated for every N. Brackets are 95 % intervals."""
    lines = [
        "| noise | stated by Eq. 8 | stated by Eq. 9 | measured N × error | slope, stated -1 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for noise, one in found.items():
        stated = f"{one.variance:.6f} | {one.covariance:.6f}"
        lines.append(f"| {noise} | {stated} | {one.constant:.6f} | {one.slope:.4f} |")
    lines += ["", f"| measured / Eq. 9, N | {' | '.join(found)} |", "| --- " * (1 + len(found)) + "|"]
    for place, images in enumerate(IMAGES):
        ratios = (Estimate(*(float(values[place]) for values in one.ratio)) for one in found.values())
        lines.append(f"| {images * SIDE**2:,} | {' | '.join(f'{ratio:.3f}' for ratio in ratios)} |")
    return "\n".join(lines)


def finite_targets_panels(found: Mapping[str, FiniteTargets]) -> list[Panel]:
    """The error over N beside the stated lines, and their ratio."""
    ends = np.array([IMAGES[0], IMAGES[-1]]) * float(SIDE**2)
    errors, ratios = [], [Curve("stated", ends, (1, 1), style="dashed", colour="0.3")]
    for (noise, one), colour, aside in zip(found.items(), ("C0", "C1", "C2"), (0.9, 1, 1.11), strict=True):
        label = f"{noise}, slope {one.slope.mean:.3f}"
        errors.append(Curve(label, one.targets, one.error, one.low, one.high, "points", colour))
        errors.append(Curve("", ends, one.covariance / ends, style="dashed", colour=colour))
        ratios.append(Curve(noise, one.targets * aside, *one.ratio, "points", colour))
    n = "number N of noisy target scalars"
    return [
        Panel("Error of the mean of N noisy targets (A.3)", n, "squared difference", errors, log_x=True, log_y=True),
        Panel("The same, over what Eq. 9 states", n, "measured / stated", ratios, log_x=True),
    ]
