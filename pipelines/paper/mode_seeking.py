"""A.4: which point of a skewed density the "L0" norm seeks, by quadrature and from samples.

As p goes to 0, the minimiser of E|x - y|^p goes to a zero of the density's Hilbert transform, close to its mode but not
at it (Eq. 10 to 12).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import gamma
from torch import Tensor

from mri_n2n.intervals import Estimate
from mri_n2n.training.seeding import RandomStreams
from pipelines.figures import Curve, Panel

MODE, MEDIAN, MEAN = 2.0, float(gamma.median(3.0)), 3.0
BULK = (float(gamma.ppf(0.05, 3.0)), float(gamma.ppf(0.95, 3.0)))
EXPONENTS = (2.0, 1.5, 1.0, 0.5, 0.2, 0.1, 0.05, 0.01)
BIN = 0.005


@dataclass(frozen=True)
class ModeSeeking:
    """What was found for the gamma density of shape 3 and scale 1.

    exponents: p, descending, the last 0 for its limit. minimiser: of E|x - y|^p, by quadrature. sampled: mean minimiser
    over repeated samples for every p but the last, with its 95 % bootstrap interval; spread: their standard deviation.
    zero: of the Hilbert transform, by its own quadrature. precision: the largest error that either quadrature claims,
    in x.
    """

    exponents: NDArray[np.float64]
    minimiser: NDArray[np.float64]
    sampled: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]
    zero: float
    precision: float


def density(y: float) -> float:
    """The skewed density: gamma of shape 3 and scale 1, whose mode is 2 and mean 3."""
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
    """Compute the minimisers by quadrature, and measure them on `samples` samples of `draws` numbers each."""
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


def mode_seeking_table(found: ModeSeeking) -> str:
    """Markdown: the points of the density, then the minimiser for every p. Brackets are 95 % intervals."""
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
