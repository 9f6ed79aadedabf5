"""Appendix A.3 and A.4: what a finite number of noisy targets costs, and which point the "L0" norm seeks.

Source: Lehtinen et al., ICML 2018, appendix. A.3 (Eq. 8, 9): the mean of N noisy targets misses the mean of the clean
ones by a squared error of 1/N times the average variance of the noise; where the noise is correlated, times the average
of its summed covariances. A.4 (Eq. 10 to 12): as p goes to 0, the minimiser of E|x - y|^p goes to a zero of the
density's Hilbert transform, close to its mode but not at it. The paper derives both and prints no figure.
Cost on one CPU core: `smoke` below 5 seconds, `small` (and `paper`: no sizes are published) below half a minute.
Command: `mri-n2n reproduce appendix --scale small`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import gamma, norm
from torch import Generator, Tensor

from mri_n2n.durable import write_text
from mri_n2n.evaluation import Estimate
from mri_n2n.training.seeding import RandomStreams
from pipelines.figures import Curve, Panel, draw_curves

Scale = Literal["smoke", "small", "paper"]
Array = NDArray[np.float64]
Z = float(norm.ppf(0.975))
REPETITIONS = {"smoke": 1_000, "small": 5_000, "paper": 5_000}
SAMPLES = {"smoke": (100, 10_000), "small": (200, 100_000), "paper": (200, 100_000)}

SIDE, IMAGES = 4, (1, 3, 10, 30, 100, 300, 1000)
SIGMA, PHOTONS, BANDWIDTH = 25 / 255, 30.0, 1.0
CLEAN = torch.linspace(0.1, 0.9, SIDE * SIDE).reshape(SIDE, SIDE)
ALONG = torch.exp(-(torch.arange(SIDE)[:, None] - torch.arange(SIDE)).square() / (4 * BANDWIDTH**2))
"""Correlation along one side of an image: white noise blurred by a Gaussian of BANDWIDTH pixels, cut from a field."""

MODE, MEDIAN, MEAN = 2.0, float(gamma.median(3.0)), 3.0
BULK = (float(gamma.ppf(0.05, 3.0)), float(gamma.ppf(0.95, 3.0)))
EXPONENTS = (2.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.05, 0.01)
BIN = 0.005


@dataclass(frozen=True)
class FiniteTargets:
    """A.3 for one kind of noise: the squared error of the mean of N targets, images in [0, 1].

    targets: N, scalars. error: measured, with its 95 % interval. covariance: (1/n) sum of Cov(i, j) over an image of n
    pixels, the stated constant of Eq. 9; variance: that of Eq. 8. constant: N times the error, over all N; slope: of
    log error over log N, stated as -1; both with their 95 % intervals.
    """

    targets: Array
    error: Array
    low: Array
    high: Array
    covariance: float
    variance: float
    constant: Estimate
    slope: Estimate

    @property
    def ratio(self) -> tuple[Array, Array, Array]:
        """The error over Eq. 9's, and its 95 % interval."""
        over = self.targets / self.covariance
        return self.error * over, self.low * over, self.high * over


@dataclass(frozen=True)
class ModeSeeking:
    """A.4 for the gamma density of shape 3 and scale 1.

    exponents: p, descending, the last 0 for its limit. minimiser: of E|x - y|^p, by quadrature. sampled: mean minimiser
    over repeated samples for every p but the last, with its 95 % bootstrap interval; spread: their standard deviation.
    zero: of the Hilbert transform, by its own quadrature. precision: the largest error that either quadrature claims,
    in x.
    """

    exponents: Array
    minimiser: Array
    sampled: Array
    low: Array
    high: Array
    spread: Array
    zero: float
    precision: float


def gaussian(repetitions: int, images: int, generator: Generator) -> Float[Tensor, "r n h w"]:
    """White noise."""
    return SIGMA * torch.randn(repetitions, images, SIDE, SIDE, generator=generator)


def poisson(repetitions: int, images: int, generator: Generator) -> Float[Tensor, "r n h w"]:
    """The error of photon counts, larger where the image is brighter."""
    rates = (PHOTONS * CLEAN).expand(repetitions, images, SIDE, SIDE)
    return (torch.poisson(rates, generator) - rates) / PHOTONS


def brown(repetitions: int, images: int, generator: Generator) -> Float[Tensor, "r n h w"]:
    """Blurred noise, correlated within an image and independent between images."""
    factor: Tensor = torch.linalg.cholesky(ALONG)
    return factor @ gaussian(repetitions, images, generator) @ factor.T


NOISES: Mapping[str, tuple[Callable[[int, int, Generator], Tensor], Tensor]] = {
    "Gaussian": (gaussian, SIGMA**2 * torch.eye(SIDE**2)),
    "Poisson": (poisson, torch.diag(CLEAN.flatten() / PHOTONS)),
    "brown": (brown, SIGMA**2 * torch.kron(ALONG, ALONG)),
}
"""Each noise and its covariance between the pixels of an image."""


def finite_targets(repetitions: int, streams: RandomStreams) -> dict[str, FiniteTargets]:
    """Measure A.3: for every noise and number of targets, that many repetitions in one batch."""
    return {noise: _finite_targets(noise, repetitions, streams) for noise in NOISES}


def _finite_targets(noise: str, repetitions: int, streams: RandomStreams) -> FiniteTargets:
    draw, covariance = NOISES[noise]
    targets = np.array(IMAGES, dtype=np.float64) * SIDE**2
    errors = [draw(repetitions, n, streams.at(noise, n)).double().mean((1, 2, 3)).square() for n in IMAGES]
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


def density(y: float) -> float:
    """The skewed density of A.4: gamma of shape 3 and scale 1, whose mode is 2 and mean 3."""
    return 0.5 * y * y * math.exp(-y) if y > 0 else 0.0


def norm_derivative(x: float, p: float) -> tuple[float, float]:
    """Eq. 11, the derivative of E|x - y|^p / p for x > 0, and the error its quadrature claims.

    With t = |x - y| it is the integral of t^(p - 1) (q(x - t) - q(x + t)): regular down to p = 0, where it is Eq. 12.
    """

    def slope(t: float) -> float:
        t = max(t, 1e-6)  # the ratio is even in t: its limit to 1e-12
        return (density(x - t) - density(x + t)) / t

    near, near_error = quad(slope, 0, x, weight="alg", wvar=(p, 0), epsabs=1e-13, epsrel=1e-12)
    far, far_error = quad(lambda t: t ** (p - 1) * density(x + t), x, math.inf, epsabs=1e-13, epsrel=1e-12)
    return near - far, near_error + far_error


def hilbert_transform(x: float) -> tuple[float, float]:
    """The principal value of the integral of q(y) / (x - y) over π, for x > 0, and the error its quadrature claims."""
    near, near_error = quad(density, 0, 2 * x, weight="cauchy", wvar=x, epsabs=1e-13, epsrel=1e-12)
    far, far_error = quad(lambda y: density(y) / (y - x), 2 * x, math.inf, epsabs=1e-13, epsrel=1e-12)
    return -(near + far) / math.pi, (near_error + far_error) / math.pi


def mode_seeking(samples: int, draws: int, streams: RandomStreams) -> ModeSeeking:
    """Compute A.4 by quadrature, and measure it on `samples` samples of `draws` numbers each."""
    exponents = (*EXPONENTS, 0.0)
    minimiser = [_crossing(partial(norm_derivative, p=p)) for p in exponents]
    zero = _crossing(hilbert_transform)
    sampled = sampled_minimisers(samples, draws, streams)
    resampled = torch.randint(samples, (2000, samples), generator=streams.at("bootstrap", 0))
    low, high = sampled[:, resampled].mean(2).quantile(torch.tensor([0.025, 0.975]).double(), dim=1).numpy()
    precision = max(error for _, error in (*minimiser, zero))
    return ModeSeeking(
        np.array(exponents),
        np.array([x for x, _ in minimiser]),
        sampled.mean(1).numpy(),
        low,
        high,
        sampled.std(1).numpy(),
        zero[0],
        precision,
    )


def _crossing(function: Callable[[float], tuple[float, float]]) -> tuple[float, float]:
    """Where a function of x, given with its error, crosses zero within BULK, and the error of that x."""
    x = float(brentq(lambda x: function(x)[0], *BULK, xtol=1e-13))
    rise = (function(x + 1e-3)[0] - function(x - 1e-3)[0]) / 2e-3
    return x, function(x)[1] / rise


def sampled_minimisers(samples: int, draws: int, streams: RandomStreams) -> Float[Tensor, "p s"]:
    """The minimiser over a grid of the mean of |x - y|^p over each sample, for all EXPONENTS.

    Draws are rounded to bins of BIN and the grid is their edges, as 8-bit images are rounded: it costs no precision
    here. Below p = 1/2 the minimiser of a sample is only precise to the cube root of its size, where resampling one
    sample is not valid: the samples are drawn afresh.
    """
    generator = streams.at("samples", 0)
    y = sum((torch.empty(samples, draws).exponential_(generator=generator) for _ in range(3)), torch.zeros(()))
    places = (y / BIN).long()
    bins = int(places.max()) + 1
    offsets = bins * torch.arange(samples)[:, None]
    counts = torch.bincount((places + offsets).flatten(), minlength=samples * bins).view(samples, bins).double()
    grid = BIN * torch.arange(round(BULK[0] / BIN), round(BULK[1] / BIN)).double()
    distance = (grid - BIN * (torch.arange(bins).double()[:, None] + 0.5)).abs()
    return torch.stack([grid[(counts @ distance**p).argmin(1)] for p in EXPONENTS])


def finite_targets_table(found: Mapping[str, FiniteTargets]) -> str:
    """A.3 in Markdown: constants and slopes, then measured over stated for every N. Brackets are 95 % intervals."""
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


def mode_seeking_table(found: ModeSeeking) -> str:
    """A.4 in Markdown: the points of the density, then the minimiser for every p. Brackets are 95 % intervals."""
    limit = found.minimiser[-1]
    lines = [
        "| mode | zero of the Hilbert transform | minimiser as p → 0 | median | mean |",
        "| --- | --- | --- | --- | --- |",
        f"| {MODE:.6f} | {found.zero:.6f} | {limit:.6f} | {MEDIAN:.6f} | {MEAN:.6f} |",
        "",
        "| p | minimiser x* | x* − zero | minimiser of a sample: mean | its standard deviation |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows = zip(EXPONENTS, found.minimiser[:-1], found.sampled, found.low, found.high, found.spread, strict=True)
    for p, minimiser, *sampled, spread in rows:
        away = f"{minimiser:.6f} | {minimiser - found.zero:+.6f}"
        lines.append(f"| {p:g} | {away} | {Estimate(*sampled):.4f} | {spread:.4f} |")
    return "\n".join([*lines, f"| → 0 | {limit:.6f} | {limit - found.zero:.6f} | | |"])


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


def mode_seeking_panels(found: ModeSeeking) -> list[Panel]:
    """The density and its Hilbert transform with the points of interest, and the minimiser over p."""
    x = np.linspace(0.02, 8, 200)
    curves = [
        Curve("density q", x, [density(at) for at in x], colour="C0"),
        Curve("its Hilbert transform", x, [hilbert_transform(at)[0] for at in x], colour="0.45"),
        Curve("", (0, 8), (0, 0), style="dashed", colour="0.7"),
    ]
    p = np.array(EXPONENTS)
    paths = [
        Curve("minimiser, by quadrature", found.exponents, found.minimiser, colour="C0"),
        Curve("mean minimiser of samples", p, found.sampled, found.low, found.high, "points", "k"),
        Curve("zero of the Hilbert transform", (0, 2), (found.zero, found.zero), style="dashed", colour="C2"),
        Curve("mode", (0, 2), (MODE, MODE), style="dashed", colour="C3"),
    ]
    marks = {"mode": MODE, "zero of the Hilbert transform": found.zero, "median": MEDIAN, "mean": MEAN}
    return [
        Panel("A skewed density (A.4)", "x", "q and its Hilbert transform", curves, marks=marks),
        Panel("Minimiser of E|x − y|$^p$", "p", "minimiser", paths),
    ]


def reproduce_appendix(folder: Path, scale: Scale) -> str:
    """Compute both, and write results.md, two CSV files and two pictures into `folder`. Returns the text of results.md.

    What an earlier call left there is replaced.
    """
    streams, repetitions, (samples, draws) = RandomStreams(0), REPETITIONS[scale], SAMPLES[scale]
    finite, seeking = finite_targets(repetitions, streams), mode_seeking(samples, draws, streams)
    about = (
        f"{repetitions:,} repetitions for every N, on images of {SIDE}×{SIDE} in [0, 1], seed 0. Gaussian σ = 25/255; "
        f"Poisson with {PHOTONS:g} photons; brown: σ = 25/255, blurred by {BANDWIDTH:g} pixel."
    )
    sampling = f"Gamma density of shape 3. {samples} samples of {draws:,} draws each, grid of {BIN:g}, seed 0."
    text = f"""# Appendix A.3: a finite number of noisy targets

{finite_targets_table(finite)}

{about} Brackets: 95 % intervals; one in twenty misses by chance.

# Appendix A.4: the point that L0 seeks

{mode_seeking_table(seeking)}

{sampling} Brackets: 95 % bootstrap intervals over the samples. By their own estimate the quadratures behind x* and the
zero are precise to {seeking.precision:.0e} in x.
"""
    errors = [
        (noise, *row)
        for noise, one in finite.items()
        for row in zip(one.targets, one.error, one.low, one.high, one.covariance / one.targets, strict=True)
    ]
    minimisers = zip(EXPONENTS, seeking.minimiser[:-1], seeking.sampled, seeking.low, seeking.high, strict=True)
    _write_csv(folder / "finite-targets.csv", "noise,targets,error,low,high,stated", errors)
    _write_csv(folder / "mode-seeking.csv", "p,minimiser,sampled,low,high", minimisers)
    draw_curves(folder / "finite-targets.png", finite_targets_panels(finite), f"{about} Bars: 95 % intervals.")
    draw_curves(folder / "mode-seeking.png", mode_seeking_panels(seeking), f"{sampling} Bars: 95 % intervals.")
    write_text(folder / "results.md", text)
    return text


def _write_csv(path: Path, header: str, rows: Iterable[Sequence[str | float]]) -> None:
    lines = [",".join(value if isinstance(value, str) else f"{value:.10g}" for value in row) for row in rows]
    write_text(path, "\n".join([header, *lines]) + "\n")
