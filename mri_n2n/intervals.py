"""Means and their 95 % intervals. Without torch, so that what compares runs starts at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, sem
from scipy.stats import t as student

RESAMPLES = 10_000
MANY = 20  # subjects, of which an interval is about as wide as it should be
AT_ONCE = 2_000_000  # numbers drawn together: what fits a processor's cache is quickest


@dataclass(frozen=True)
class Estimate:
    """A mean, and its 95 % interval over subjects, seeds, or whatever was drawn (None with fewer than two)."""

    mean: float
    low: float | None
    high: float | None

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        if self.low is None or self.high is None:
            return format(self.mean, spec)
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def estimate(values: Sequence[tuple[str, float]]) -> Estimate:
    """Mean of (subject, value) and its 95 % percentile interval under resampling of whole subjects."""
    return estimates([subject for subject, _ in values], np.array([[value] for _, value in values]))[0]


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of one value of each seed, and Student's 95 % interval: of so few a bootstrap would be too narrow."""
    mean, number = float(np.mean(values)), len(values)
    if number < 2:
        return Estimate(mean, None, None)
    half = float(student.ppf(0.975, number - 1) * sem(values))
    return Estimate(mean, mean - half, mean + half)


def caveat(number: int) -> str:
    """What must be known of a bootstrap interval over few subjects; empty of many.

    It is as wide as the spread that was found, which of few is mostly too small: for normal values it holds the mean as
    often as Student's t with n - 1 degrees of freedom stays below 1.96 √((n - 1) / n). Over two it goes from one value
    to the other, and the mean lies between these every other time.
    """
    if not 2 <= number < MANY:
        return ""
    held = 50 if number == 2 else 200 * student.cdf(1.96 * np.sqrt((number - 1) / number), number - 1) - 100
    return (
        f"Over as few as {number} such intervals are too narrow: about {held:.0f} % of them, not 95 %, hold the mean."
    )


def by_subject(subjects: Sequence[str], values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of every subject, in the order of their first rows, the sums of the columns of `values` `[n k]`, and the rows."""
    places = {subject: place for place, subject in enumerate(dict.fromkeys(subjects))}
    own = np.array([places[subject] for subject in subjects])
    sums = np.stack([np.bincount(own, column) for column in np.asarray(values, float).T], axis=1)
    return sums, np.bincount(own).astype(float)


def estimates(subjects: Sequence[str], values: NDArray[Any]) -> list[Estimate]:
    """The same for every column of `values` `[n k]`, whose rows are of `subjects`; all see the same resamples."""
    sums, counts = by_subject(subjects, values)
    number = len(counts)
    means = sums.sum(axis=0) / counts.sum()
    if number < 2:
        return [Estimate(float(mean), None, None) for mean in means]

    def resampled(chosen: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        del axis  # the last one
        drawn = chosen.reshape(-1, number)
        offsets = number * np.arange(len(drawn))[:, None]
        times = np.bincount((drawn + offsets).ravel(), minlength=drawn.size).reshape(drawn.shape).astype(float)
        of_resamples: NDArray[Any] = (times @ sums) / (times @ counts)[:, None]
        return of_resamples.T.reshape(-1, *chosen.shape[:-1])

    found = bootstrap(
        (np.arange(number),),
        resampled,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // number),
        method="percentile",
        rng=0,
    ).confidence_interval
    ends = np.stack([means, np.asarray(found.low), np.asarray(found.high)], axis=1).tolist()
    return [Estimate(*of_column) for of_column in ends]
