"""False-alarm rates: each statistical threshold is exceeded by a right program with probability below 1e-6."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.optimize import brentq
from scipy.special import expi
from scipy.stats import chi2, gamma, norm

from mri_n2n.training.seeding import RandomStreams
from pipelines.paper.appendix import reproduce_appendix
from pipelines.paper.finite_targets import NOISES, FiniteTargets, finite_targets
from pipelines.paper.mode_seeking import (
    BULK,
    EXPONENTS,
    MODE,
    ModeSeeking,
    hilbert_transform,
    mode_seeking,
    norm_derivative,
    sampled_minimisers,
)

FALSE_ALARM = 1e-6
REPETITIONS = 1000
ZERO = brentq(lambda x: x * x * math.exp(-x) * expi(x) - x - 1, *BULK, xtol=1e-13)
"""The gamma density's Hilbert transform in closed form, up to a factor, crosses zero here."""


@pytest.fixture(scope="module")
def finite() -> dict[str, FiniteTargets]:
    return finite_targets(REPETITIONS, RandomStreams(1))


@pytest.fixture(scope="module")
def seeking() -> ModeSeeking:
    return mode_seeking(100, 10_000, RandomStreams(1))


@pytest.mark.parametrize("noise", NOISES)
def test_error_is_the_stated_one(finite: dict[str, FiniteTargets], noise: str) -> None:
    """The sum of squared normal means is chi-square; Poisson's excess kurtosis, below 1/100, hardly widens it."""
    sums = finite[noise].ratio[0] * REPETITIONS
    each = FALSE_ALARM / 2 / len(sums)
    low, high = chi2.ppf(each, REPETITIONS), chi2.isf(each, REPETITIONS)
    assert (sums > 0.99 * low).all()
    assert (sums < 1.01 * high).all()


@pytest.mark.parametrize("noise", NOISES)
def test_error_falls_as_one_over_n(finite: dict[str, FiniteTargets], noise: str) -> None:
    """Slope and constant are those stated; intervals of squares are not quite normal: widened by a fifth."""
    found = finite[noise]
    widening = 1.2 * norm.isf(FALSE_ALARM / 2) / norm.isf(0.025)
    for value, stated in ((found.slope, -1), (found.constant, found.covariance)):
        assert value.low is not None
        assert abs(value.mean - stated) < widening * (value.mean - value.low)
        assert value.mean - value.low < 0.05 * abs(stated)


def test_covariance_counts(finite: dict[str, FiniteTargets]) -> None:
    """Eq. 8 is Eq. 9 for the uncorrelated noises, and far too small for brown noise."""
    for noise in ("Gaussian", "Poisson"):
        assert finite[noise].variance == pytest.approx(finite[noise].covariance, rel=1e-6)
    assert finite["brown"].low.min() > 0
    assert (finite["brown"].low * finite["brown"].targets > 5 * finite["brown"].variance).all()


def test_mean_and_median_are_recovered(seeking: ModeSeeking) -> None:
    at = dict(zip(seeking.exponents, seeking.minimiser, strict=True))
    assert at[2.0] == pytest.approx(gamma.mean(3), abs=1e-9)
    assert at[1.0] == pytest.approx(gamma.median(3), abs=1e-9)


def test_minimiser_goes_to_the_zero_of_the_hilbert_transform(seeking: ModeSeeking) -> None:
    assert seeking.zero == pytest.approx(ZERO, abs=1e-9)
    assert seeking.minimiser[-1] == pytest.approx(ZERO, abs=1e-9)
    assert seeking.precision < 1e-9
    tolerance = 0.005
    at = dict(zip(seeking.exponents, seeking.minimiser, strict=True))
    assert abs(at[0.01] - ZERO) < tolerance
    assert at[0.01] - MODE > 60 * tolerance
    assert (np.diff(seeking.minimiser) < 0).all()  # from the mean down


def test_hilbert_transform_in_closed_form() -> None:
    for x in (0.05, 0.7, 2.0, 3.5, 8.0, 20.0):
        exact = (x * x * math.exp(-x) * expi(x) - x - 1) / (2 * math.pi)
        assert hilbert_transform(x)[0] == pytest.approx(exact, abs=1e-12)
        assert norm_derivative(x, 0)[0] == pytest.approx(math.pi * exact, abs=1e-10)


@pytest.mark.parametrize("p", [2.0, 1.0, 0.3, 0.01, 0.0])
def test_the_minimum_is_the_only_one(p: float) -> None:
    """The derivative changes sign once, upwards."""
    signs = np.sign([norm_derivative(x, p)[0] for x in np.linspace(0.05, 12, 80)])
    assert (np.diff(signs) >= 0).all()
    assert signs[0] == -1
    assert signs[-1] == 1


def test_samples_agree(seeking: ModeSeeking) -> None:
    """Their mean minimiser lies where the quadrature puts it; the bias at this size, below 0.005, is allowed for."""
    error = seeking.spread / math.sqrt(100)
    off = np.abs(seeking.sampled - seeking.minimiser[:-1])
    assert (off < norm.isf(FALSE_ALARM / 2 / len(off)) * error + 0.005).all()
    assert seeking.sampled[-1] - MODE > 0.25
    assert (seeking.low < seeking.sampled).all()
    assert (seeking.sampled < seeking.high).all()
    assert seeking.high - seeking.low == pytest.approx(2 * norm.isf(0.025) * error, rel=0.3)


def test_draws_are_addressed() -> None:
    first, again, other = (sampled_minimisers(20, 1000, RandomStreams(seed)) for seed in (3, 3, 4))
    assert first.shape == (len(EXPONENTS), 20)
    assert (first == again).all()
    assert (first != other).any()


def test_smoke(tmp_path: Path) -> None:
    text = reproduce_appendix(tmp_path, "smoke")
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == text
    assert re.search(r"\n\nOn \d+ CPU threads?, in \d+ (s|min)\.\n$", text)
    for name, rows in (("finite-targets", 21), ("mode-seeking", len(EXPONENTS))):
        with (tmp_path / f"{name}.csv").open() as file:
            assert len(list(csv.DictReader(file))) == rows
        picture = imread(tmp_path / f"{name}.png")[..., :3]
        assert picture.shape[1] > 1000
        assert (picture.min(-1) < 1).mean() > 0.02
    assert len(list(tmp_path.iterdir())) == 6  # with what marks the folder as ours
