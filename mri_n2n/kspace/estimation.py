"""The sampling density of a mask when nobody states it: estimated from the mask itself.

Two kinds of sampling are known: points, each acquired with p(k) = exp(-λ|k|), and whole lines of phase encoding, all of
the centre and some outside. A mask that is clearly of neither kind is refused; one that is good is refused wrongly once
in 1 / `FALSE_ALARM` scans. Beyond what the scan reached (see `extent`) p is 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from scipy.special import chdtrc

from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace.extent import box, full_extent, reached
from mri_n2n.kspace.fourier import opposite
from mri_n2n.kspace.sampling import decay_for_share, exponential_density, radius

FALSE_ALARM = 1e-4
POINTS_SPREAD, LINES_SPREAD = 20.0, 5.0  # variance of the count in a group: enough for it to be nearly normal
MOST_GROUPS = 48
STEEPEST = 8.0  # p falls by exp(-8) at most from the first line outside the centre to the last


@dataclass(frozen=True)
class Estimate:
    """density: `[row column]`, unshifted, in [0, 1], 0 where nothing was ever going to be acquired. how: in words."""

    density: Float[ndarray, "h w"]
    how: str


def line_axis(mask: Bool[ndarray, "h w"], *, flat: bool) -> int | None:
    """The axis along which lines were chosen: 0 for rows of the mask, 1 for columns; None where points were.

    flat: columns are the readout of a 2-D scan, of which a part may be missing in every line. Of other scans it may be
    missing at the lines' ends alone.
    """
    rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)
    if (mask != rows[:, None] & columns).any():
        return None
    inside = box(mask, flat=flat)
    if flat or (columns == inside.any(axis=0)).all():
        return 0
    return 1 if (rows == inside.any(axis=1)).all() else None


def estimated_density(
    mask: Bool[ndarray, "h w"], *, flat: bool, stated: Bool[ndarray, "h w"] | None = None
) -> Estimate:
    """The density that the mask seems to be drawn from; raises `BadVolume` (without a path) if it is of no known kind.

    flat: see `line_axis`. stated: what could be acquired at all, as the file says; by default all of it.
    """
    if not mask[0, 0]:
        raise BadVolume("lacks the centre of k-space, and with it the image's brightness.", Problem.INCOMPATIBLE)
    stated = np.ones(mask.shape, bool) if stated is None else stated
    whole = full_extent(mask, stated, flat=flat)
    if whole is not None:
        return Estimate(whole.astype(np.float32), "all of it was acquired, and 1 is taken")
    axis = line_axis(mask, flat=flat)
    return _of_points(mask, stated) if axis is None else _of_lines(mask, stated, axis, flat=flat)


def _of_points(mask: Bool[ndarray, "h w"], stated: Bool[ndarray, "h w"]) -> Estimate:
    """The exponential density whose expected count is what was acquired."""
    paired = twins(mask)
    _, density = _exponential(mask, box(mask, flat=False))
    inside = reached(mask, density, stated, axis=None, twins=paired)
    decay, density = _exponential(mask, inside)
    rows, columns = (np.abs(np.fft.fftfreq(size)) for size in mask.shape)
    upright = (rows[:, None] > columns)[inside]
    distance = radius(mask.shape).numpy()[inside]
    told = _one_of_each(mask.shape)[inside] | (not paired)  # of k and -k together, one is a draw
    parts = [(upright & told, distance), (~upright & told, distance)]
    _check_fit(mask[inside], density[inside], parts, POINTS_SPREAD, 1)
    return Estimate(density * inside, f"estimated as exp(-λ|k|) with λ = {decay:.4g}")


def _exponential(mask: Bool[ndarray, "h w"], inside: Bool[ndarray, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
    """λ from the count within a box, and the density everywhere."""
    height, width = mask.shape
    count = int(mask.sum())
    distance = radius((height, width))[np.ix_(inside.any(axis=1), inside.any(axis=0))]
    try:
        if count <= 2:  # DC alone is always acquired, and something beside it must be
            raise UsageError("too few")
        decay = decay_for_share(distance, 1 / (distance.numel() / count))
        return decay, exponential_density((height, width), decay).numpy().copy()
    except UsageError:
        raise BadVolume("has too few samples to estimate their density from.", Problem.INCOMPATIBLE) from None


def _of_lines(mask: Bool[ndarray, "h w"], stated: Bool[ndarray, "h w"], axis: int, *, flat: bool) -> Estimate:
    """The profile of the lines' probabilities, constant along each line, as far as lines are read."""
    along, across = (np.any(box(mask, flat=flat), axis=number) for number in (1 - axis, axis))

    def plane(profile: Float[ndarray, " n"]) -> Float[ndarray, "h w"]:
        return np.outer(profile, across) if axis == 0 else np.outer(across, profile)

    acquired = np.any(mask, axis=1 - axis)
    paired = twins(acquired[:, None])
    within = _profile(acquired, along)
    inside = reached(mask, plane(within.probability), stated, axis=axis, twins=paired)
    inside = np.any(inside, axis=1 - axis)
    found = _profile(acquired, inside)
    frequency = _frequency(acquired)
    distance = np.abs(frequency).astype(float)
    sides = (frequency > 0,) if paired else (frequency < 0, frequency > 0)  # of k and -k together, one is a draw
    parts = [(found.outside & side, distance) for side in sides]
    _check_fit(acquired, found.probability, parts, LINES_SPREAD, 2)
    rest = found.probability[inside & ~found.centre]
    lines = int(found.centre.sum())
    how = f"estimated as 1 for {lines} lines of the centre, {rest.max():.2g} to {rest.min():.2g} outside"
    return Estimate(plane(found.probability * inside).astype(np.float32), how)


@dataclass(frozen=True)
class _Profile:
    """The lines' probabilities, also beyond what they were found from; its centre, and the lines outside it."""

    probability: Float[ndarray, " n"]
    centre: Bool[ndarray, " n"]
    outside: Bool[ndarray, " n"]


def _profile(acquired: Bool[ndarray, " n"], inside: Bool[ndarray, " n"]) -> _Profile:
    """1 in the centre, outside a·exp(-λ|k|) as it is most likely for the lines `inside`.

    The centre is the run of acquired lines around DC. The two lines at its ends are missing by definition, and so say
    nothing of the lines outside.
    """
    frequency = _frequency(acquired)
    missing = frequency[~acquired & inside]
    before = max((k for k in missing if k < 0), default=-len(acquired))
    after = min((k for k in missing if k > 0), default=len(acquired))
    centre = (frequency > before) & (frequency < after) & inside
    outside = ((frequency < before) | (frequency > after)) & inside
    if not acquired[outside].any():
        raise BadVolume(
            "has the centre of k-space alone, or nearly so: no density makes up for it.", Problem.INCOMPATIBLE
        )
    distance = np.abs(frequency).astype(float)
    fitted = _fitted(acquired[outside], distance[outside], distance)
    return _Profile(np.where(centre, 1.0, fitted), centre, outside)


def _frequency(lines: Bool[ndarray, " n"]) -> Int[ndarray, " n"]:
    return np.asarray(np.rint(np.fft.fftfreq(len(lines)) * len(lines)), int)


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
    spread: float,
    fitted: int,
) -> None:
    """Pearson's test: counts in rings against what is expected of them.

    Every part is cut into rings by its distances, in each of which the count has a variance of at least `spread`.
    """
    variance = probability * (1 - probability)
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


def _one_of_each(shape: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Of k and -k the one that comes first."""
    places = torch.arange(shape[0] * shape[1]).reshape(shape)
    return np.asarray(places <= opposite(places))


def twins(mask: Shaped[ndarray, "h w"]) -> bool:
    """Whether k and -k were acquired together, as for real images."""
    whole = torch.from_numpy(mask)
    return bool(torch.equal(opposite(whole), whole))
