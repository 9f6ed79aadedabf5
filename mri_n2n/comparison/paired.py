"""Scores of several arms on the same images: means, and differences image by image, with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from mri_n2n.comparison.records import Scores
from mri_n2n.errors import UsageError
from mri_n2n.intervals import Estimate, by_subject, estimates


@dataclass(frozen=True)
class Quality:
    """One metric of one arm: the mean over images and seeds with its interval, and the seeds' own means."""

    arm: str
    metric: str
    value: Estimate
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """An arm minus the first one, image by image.

    p: Wilcoxon's signed rank test over units, None where too few. seeds: the mean of each seed minus that of the same
    seed, where both arms have the same; what one training differs from the next by shows in them alone.
    """

    arm: str
    baseline: str
    metric: str
    value: Estimate
    p: float | None
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class ScoreArray:
    """Scores as an array [image, arm and metric]: of every arm the mean over its seeds. seeds: each seed's means."""

    arms: tuple[str, ...]
    metrics: tuple[str, ...]
    units: tuple[str, ...]
    values: NDArray[np.float64]
    seeds: Mapping[tuple[str, str], tuple[float, ...]]

    @classmethod
    def of(cls, arms: Mapping[str, Sequence[Scores]]) -> "ScoreArray":
        """The scores of arms on the images, and of the metrics, that all have; in the first one's order."""
        every = [scores for own in arms.values() for scores in own]
        first = every[0]
        metrics = tuple(name for name in first.metrics if all(name in scores.metrics for scores in every))
        shared = set(first.images).intersection(*(scores.images for scores in every))
        if not shared:
            raise UsageError("the scores to compare have no image in common. Evaluate the runs again.")
        images = [image for image in first.images if image in shared]
        units = tuple(unit for image, unit in zip(first.images, first.units, strict=True) if image in shared)
        columns, seeds = [], {}
        for arm, own in arms.items():
            orders = [order_of(scores, images) for scores in own]
            for metric in metrics:
                sorted_ = np.stack([s.metrics[metric][order] for s, order in zip(own, orders, strict=True)])
                columns.append(sorted_.mean(axis=0))
                seeds[arm, metric] = tuple(sorted_.mean(axis=1).tolist())
        return cls(tuple(arms), metrics, units, np.stack(columns, axis=1), seeds)

    def column(self, arm: str, metric: str) -> NDArray[np.float64]:
        """An arm's values of a metric, image by image."""
        return self.values[:, self.arms.index(arm) * len(self.metrics) + self.metrics.index(metric)]

    def qualities(self) -> list[Quality]:
        """Every arm's means."""
        keys = [(arm, metric) for arm in self.arms for metric in self.metrics]
        found = estimates(self.units, self.values)
        return [Quality(*key, value, self.seeds[key]) for key, value in zip(keys, found, strict=True)]

    def differences(self, seeds: Mapping[str, Sequence[str]]) -> list[Difference]:
        """Every arm minus the first one; seeds: each arm's, in the order of its scores."""
        baseline, *others = self.arms
        keys = [(arm, metric) for arm in others for metric in self.metrics]
        if not keys:
            return []
        values = np.stack([self.column(arm, metric) - self.column(baseline, metric) for arm, metric in keys], axis=1)
        tests = [_p(own) for own in _unit_means(self.units, values).T]
        found = zip(keys, estimates(self.units, values), tests, strict=True)
        return [
            Difference(arm, baseline, metric, value, p, self._by_seed(arm, metric) if paired else ())
            for (arm, metric), value, p in found
            for paired in [list(seeds[arm]) == list(seeds[baseline])]
        ]

    def _by_seed(self, arm: str, metric: str) -> tuple[float, ...]:
        both = zip(self.seeds[arm, metric], self.seeds[self.arms[0], metric], strict=True)
        return tuple(own - first for own, first in both)

    def by_unit(self) -> dict[str, Mapping[str, tuple[float, ...]]]:
        """Of every metric and arm the mean over each unit."""
        means = _unit_means(self.units, self.values)
        table = means.reshape(len(means), len(self.arms), len(self.metrics))
        return {
            metric: {arm: tuple(table[:, row, place].tolist()) for row, arm in enumerate(self.arms)}
            for place, metric in enumerate(self.metrics)
        }


def order_of(scores: Scores, images: Sequence[str]) -> list[int]:
    """Where each of the images is among the scores."""
    places = {image: place for place, image in enumerate(scores.images)}
    return [places[image] for image in images]


def _unit_means(units: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums, counts = by_subject(units, values)
    means: NDArray[np.float64] = sums / counts[:, None]
    return means


def _p(differences: NDArray[np.float64]) -> float | None:
    """Of the hypothesis that differences lie around zero; None of fewer than two units, which can say nothing."""
    if len(differences) < 2:
        return None
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)
