"""How far an acquisition reached: nothing beyond that was ever going to be acquired, and p is 0 there.

k-space is padded with zeros (fastMRI, interpolated images), and partial Fourier leaves an edge out. The limits that a
file states are believed. What is empty beside the first and the last line acquired is taken for such an edge where the
scan is full in between, or where the density that fits what lies in between makes so many empty lines implausible: the
box of what happened to be acquired at random is always a little too small, and a few empty lines say nothing.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.special import chdtrc

FALSE_ALARM = 1e-3  # of edges found where there are none, which changes little; to miss some spoils every weight
PLAIN = 0.05  # each edge must be this implausible, too: the other one may have a few empty lines by chance
SMALLEST_SHARE = 0.5  # of an axis, unless the file states it: less may be the centre of another density


def box(mask: Bool[ndarray, "h w"], *, flat: bool) -> Bool[ndarray, "h w"]:
    """What lies between the first and the last that was acquired along each phase encoding.

    flat: columns are the readout of a 2-D scan, and all of them belong to it.
    """
    rows, columns = (_between(np.any(mask, axis=1 - axis)) for axis in (0, 1))
    return rows[:, None] & (columns | flat)


def full_extent(mask: Bool[ndarray, "h w"], stated: Bool[ndarray, "h w"], *, flat: bool) -> Bool[ndarray, "h w"] | None:
    """The box of a scan that acquired all of it, DC included; None where it did not.

    flat: a part of the readout may be missing in every line.
    """
    inside = box(mask, flat=flat)
    lines = mask.any(axis=0) if flat else True
    if not mask[0, 0] or (mask != (inside & lines)).any():
        return None
    return inside if _share(inside) >= SMALLEST_SHARE or (inside == stated).all() else None


def reached(
    mask: Bool[ndarray, "h w"],
    probability: Float[ndarray, "h w"],
    stated: Bool[ndarray, "h w"],
    *,
    axis: int | None,
    twins: bool,
) -> Bool[ndarray, "h w"]:
    """What is stated, without the edges that are implausibly empty for samples of this probability.

    axis: along which lines were chosen, the other axis being full; None for points. twins: k and -k go together. All
    edges together are judged by Fisher's method; that many empty lines come by chance once in 1 / `FALSE_ALARM` scans.
    """
    surprise = -np.log1p(-np.minimum(probability.astype(float), 1 - 1e-9))
    inside: Bool[ndarray, "h w"] = stated.copy()
    edges = list(_edges(mask, axis))
    drawn = [float(surprise[_draws(edge, axis) & inside].sum()) for edge in edges]
    events = 2 * len(edges) / (2 if twins else 1)
    if chdtrc(events, 2 * sum(drawn) / (2 if twins else 1)) < FALSE_ALARM:
        for edge, empty in zip(edges, drawn, strict=True):
            if np.exp(-empty) < PLAIN:
                inside &= ~edge
    return inside if _share(inside) >= SMALLEST_SHARE else stated


def _share(inside: Bool[ndarray, "h w"]) -> float:
    """Of the axis that is cut the most."""
    return min(float(np.any(inside, axis=axis).mean()) for axis in (0, 1))


def _edges(mask: Bool[ndarray, "h w"], axis: int | None) -> Iterator[Bool[ndarray, "h w"]]:
    """What lies before the first and behind the last line acquired; of points, that of columns without the corners."""
    rows, columns = (np.any(mask, axis=1 - number) for number in (0, 1))
    if axis != 1:
        yield from (np.broadcast_to(side[:, None], mask.shape) for side in _outside(rows))
    if axis != 0:
        kept = _between(rows)[:, None]
        yield from (kept & side for side in _outside(columns))


def _draws(region: Bool[ndarray, "h w"], axis: int | None) -> Bool[ndarray, "h w"]:
    """Of whole lines one frequency stands for each."""
    if axis is None:
        return region
    one = np.zeros(region.shape, bool)
    one[(slice(None), 0) if axis == 0 else (0, slice(None))] = True
    return np.asarray(region & one)


def _outside(acquired: Bool[ndarray, " n"]) -> tuple[Bool[ndarray, " n"], Bool[ndarray, " n"]]:
    """The frequencies below the lowest acquired, and above the highest."""
    frequency = np.fft.fftfreq(len(acquired))
    return frequency < frequency[acquired].min(), frequency > frequency[acquired].max()


def _between(acquired: Bool[ndarray, " n"]) -> Bool[ndarray, " n"]:
    below, above = _outside(acquired)
    return np.asarray(~(below | above))
