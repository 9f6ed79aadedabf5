"""The sampling density of a mask when nobody states it: estimated from the mask itself.

Two kinds of sampling are known: points, each acquired with p(k) = exp(-λ|k|), and whole lines of phase encoding, all of
the centre and some outside. A mask that is clearly of neither kind is refused; one that is good is refused wrongly once
in 1 / `FALSE_ALARM` scans.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from scipy.special import chdtrc

from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace.fourier import opposite
from mri_n2n.kspace.sampling import decay_for_acceleration, exponential_density, radius

FALSE_ALARM = 1e-4
POINTS_SPREAD, LINES_SPREAD = 20.0, 5.0  # variance of the count in a group: enough for it to be nearly normal
MOST_GROUPS = 48
STEEPEST = 8.0  # p falls by exp(-8) at most from the first line outside the centre to the last


@dataclass(frozen=True)
class Estimate:
    """density: `[row column]`, unshifted, in (0, 1]. how: what it comes to, in words."""

    density: Float[ndarray, "h w"]
    how: str


def line_axis(mask: Bool[ndarray, "h w"], *, flat: bool) -> int | None:
    """The axis along which lines were chosen: 0 for rows of the mask, 1 for columns; None where points were.

    flat: columns are the readout of a 2-D scan, of which a part may be missing in every line.
    """
    rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)
    if (mask != rows[:, None] & columns).any():
        return None
    if flat or columns.all():
        return 0
    return 1 if rows.all() else None


def estimated_density(mask: Bool[ndarray, "h w"], *, flat: bool) -> Estimate:
    """The density that the mask seems to be drawn from; raises `BadVolume` (without a path) if it is of no known kind.

    flat: see `line_axis`.
    """
    if mask.all():
        return Estimate(np.ones(mask.shape, np.float32), "all of it was acquired, and 1 is taken")
    if not mask[0, 0]:
        raise BadVolume("lacks the centre of k-space, and with it the image's brightness.", Problem.INCOMPATIBLE)
    axis = line_axis(mask, flat=flat)
    if axis is None:
        return _of_points(mask)
    profile, how = _of_lines(np.any(mask, axis=1 - axis))
    whole = np.broadcast_to(profile[:, None] if axis == 0 else profile, mask.shape)
    return Estimate(np.ascontiguousarray(whole, np.float32), how)


def _of_points(mask: Bool[ndarray, "h w"]) -> Estimate:
    """The exponential density whose expected count is what was acquired."""
    height, width = mask.shape
    try:
        decay = decay_for_acceleration((height, width), mask.size / int(mask.sum()))
        density = exponential_density((height, width), decay).numpy().copy()
    except UsageError:
        raise BadVolume("has too few samples to estimate their density from.", Problem.INCOMPATIBLE) from None
    rows, columns = (np.abs(np.fft.fftfreq(size)) for size in mask.shape)
    upright = (rows[:, None] > columns).ravel()
    distance = radius((height, width)).numpy().ravel()
    _check_fit(
        mask.ravel(), density.ravel(), [(upright, distance), (~upright, distance)], _twins(mask), POINTS_SPREAD, 1
    )
    return Estimate(density, f"estimated as exp(-λ|k|) with λ = {decay:.4g}")


def _of_lines(acquired: Bool[ndarray, " n"]) -> tuple[Float[ndarray, " n"], str]:
    """The profile of the lines' probabilities: 1 in the centre, outside a·exp(-λ|k|) as it is most likely.

    The centre is the run of acquired lines around DC. The two lines at its ends are missing by definition, and so say
    nothing of the lines outside.
    """
    if acquired.all():
        return np.ones(len(acquired)), "all lines were acquired, and 1 is taken"
    frequency = np.rint(np.fft.fftfreq(len(acquired)) * len(acquired)).astype(int)
    missing = frequency[~acquired]
    ends = (max((k for k in missing if k < 0), default=None), min((k for k in missing if k > 0), default=None))
    before, after = (-len(acquired) if ends[0] is None else ends[0], len(acquired) if ends[1] is None else ends[1])
    centre = (frequency > before) & (frequency < after)
    outside = (frequency < before) | (frequency > after)
    if not acquired[outside].any():
        raise BadVolume(
            "has the centre of k-space alone, or nearly so: no density makes up for it.", Problem.INCOMPATIBLE
        )
    distance = np.abs(frequency).astype(float)
    fitted = _fitted(acquired[outside], distance[outside], distance)
    profile = np.where(centre, 1.0, fitted)
    sides = [(outside & (frequency < 0), distance), (outside & (frequency > 0), distance)]
    _check_fit(acquired, profile, sides, _twins(acquired[:, None]), LINES_SPREAD, 2)
    low, high = profile[~centre].min(), profile[~centre].max()
    return profile, f"estimated as 1 for {int(centre.sum())} lines of the centre, {high:.2g} to {low:.2g} outside"


def _fitted(
    acquired: Bool[ndarray, " m"], distance: Float[ndarray, " m"], everywhere: Float[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """a·exp(-λ(d - d₀)) of greatest likelihood for independent lines, at the distances `everywhere`."""
    from scipy.optimize import minimize  # slow to import, and a density is often stated

    first, reach = float(distance.min()), max(float(np.ptp(distance)), 1.0)

    def probability(parameters: Any, at: Float[ndarray, " k"]) -> Float[ndarray, " k"]:
        return np.asarray(np.clip(np.exp(parameters[0] - parameters[1] * (at - first) / reach), 1e-9, 1.0))

    def surprise(parameters: Any) -> float:
        p = probability(parameters, distance)
        return -float(np.log(np.where(acquired, p, np.maximum(1 - p, 1e-9))).sum())

    share = float(acquired.mean())
    start = (np.log(min(1.2 * share, 0.9)), 0.4)
    found = minimize(surprise, start, method="Nelder-Mead", bounds=((np.log(share / 20), 0.0), (0.0, STEEPEST)))
    return probability(found.x, everywhere)


def _check_fit(
    acquired: Bool[ndarray, " n"],
    probability: Float[ndarray, " n"],
    parts: list[tuple[Bool[ndarray, " n"], Float[ndarray, " n"]]],
    twins: bool,
    spread: float,
    fitted: int,
) -> None:
    """Pearson's test: counts in rings against what is expected of them.

    Every part is cut into rings by its distances, in each of which the count has a variance of at least `spread`.
    """
    variance = probability * (1 - probability) * (2 if twins else 1)
    statistic, groups = 0.0, 0
    for inside, distance in parts:
        order = np.flatnonzero(inside)[np.argsort(distance[inside], kind="stable")]
        total = np.cumsum(variance[order])
        count = min(MOST_GROUPS // len(parts), int(total[-1] / spread)) if len(order) else 0
        if count < 1:
            continue
        ring = np.minimum((total / total[-1] * count).astype(int), count - 1)
        excess, spreads = (np.bincount(ring, values[order], count) for values in (acquired - probability, variance))
        statistic += float((excess**2 / spreads).sum())
        groups += count
    if groups > fitted and chdtrc(groups - fitted, statistic) < FALSE_ALARM:
        raise BadVolume(
            "states no sampling density, and what was acquired looks like none that can be estimated. Give it with "
            "--density or --edge-probability.",
            Problem.INCOMPATIBLE,
        )


def _twins(mask: Shaped[ndarray, "h w"]) -> bool:
    """Whether k and -k were acquired together, as for real images."""
    whole = torch.from_numpy(mask)
    return bool(torch.equal(opposite(whole), whole))
