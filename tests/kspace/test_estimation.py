"""Densities estimated from masks that were drawn from known ones, and masks of other kinds refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks import lines, points, profile

from mri_n2n.errors import BadVolume, Problem
from mri_n2n.kspace.estimation import FALSE_ALARM, estimated_density, line_axis
from mri_n2n.kspace.sampling import decay_for_acceleration, exponential_density


@given(st.tuples(st.integers(60, 140), st.integers(60, 140)), st.floats(2, 12), st.integers(0, 10**6), st.booleans())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_decay_of_points_is_found(grid: tuple[int, int], acceleration: float, seed: int, twins: bool) -> None:
    """log p within 5 standard deviations of the count, which come to a few per cent, everywhere."""
    (mask,) = points(grid, acceleration, 1, seed, twins=twins)
    estimate = estimated_density(mask, flat=False)
    truth = exponential_density(grid, decay_for_acceleration(grid, acceleration)).numpy()
    assert estimate.density.sum() == pytest.approx(mask.sum(), rel=1e-4)
    spread = np.sqrt((1 + twins) * (truth * (1 - truth)).sum()) / truth.sum()
    np.testing.assert_allclose(np.log(estimate.density) / np.log(truth).min(), np.log(truth) / np.log(truth).min(),
                               atol=5 * spread)  # fmt: skip


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize(("grid", "acceleration"), [((96, 80), 8.0), ((64, 64), 4.0), ((31, 40), 3.0)])
def test_good_points_are_seldom_refused(grid: tuple[int, int], acceleration: float, twins: bool) -> None:
    """150 draws with a rate of 1e-4 each: more than two alarms come once in a million times."""
    refused = 0
    for mask in points(grid, acceleration, 150, 1, twins=twins):
        try:
            estimated_density(mask, flat=False)
        except BadVolume:
            refused += 1
    assert FALSE_ALARM == 1e-4
    assert refused <= 2


@pytest.mark.parametrize(("outside", "decay"), [(0.3, 0.0), (0.5, 0.006), (0.2, 0.002)])
def test_the_profile_of_lines_is_found(outside: float, decay: float) -> None:
    """On the average of 60 draws within 0.03, and each of 320 lines within 0.25; none refused.

    Beside the centre: a line that happens to be acquired there is taken for one of it.
    """
    truth = profile(320, 24, outside, decay)
    found = []
    for mask in lines(truth, 60, 3):
        estimate = estimated_density(np.broadcast_to(mask[:, None], (320, 6)), flat=True)
        assert np.ptp(estimate.density, axis=1).max() == 0
        found.append(estimate.density[:, 0])
    certain = truth == 1
    assert (np.array(found)[:, certain] == 1).all()
    edge = np.abs(np.fft.fftfreq(320) * 320) < 24 // 2 + 10
    np.testing.assert_allclose(np.mean(found, axis=0)[~edge], truth[~edge], atol=0.03)
    assert np.abs(np.array(found) - truth)[np.array(found) < 1].max() < 0.25
    assert (np.array(found) == 1).sum(1).mean() < certain.sum() + 2 * outside / (1 - outside) + 0.7


def test_good_lines_are_seldom_refused() -> None:
    refused = 0
    for outside, decay in ((0.3, 0.0), (0.5, 0.01), (1.0, 0.02)):
        for mask in lines(profile(256, 16, outside, decay), 150, 5):
            try:
                estimated_density(np.broadcast_to(mask[:, None], (256, 2)), flat=True)
            except BadVolume:
                refused += 1
    assert refused <= 2


@pytest.mark.parametrize("paired", [False, True])
def test_lines_of_no_known_profile_are_refused(paired: bool) -> None:
    """Denser outwards: also where k and -k go together, of which only one is a draw."""
    frequency = np.fft.fftfreq(320) * 320
    rising = np.where(np.abs(frequency) <= 12, 1.0, 0.05 + 0.65 * np.abs(frequency) / 160)
    refused = 0
    for mask in lines(rising, 20, 2):
        mask = mask[np.abs(np.rint(frequency).astype(int))] if paired else mask
        try:
            estimated_density(np.broadcast_to(mask[:, None], (320, 2)), flat=True)
        except BadVolume:
            refused += 1
    assert refused >= 6


def test_good_lines_of_pairs_are_seldom_refused() -> None:
    places = np.abs(np.rint(np.fft.fftfreq(256) * 256).astype(int))
    refused = 0
    for outside, decay in ((0.3, 0.0), (0.5, 0.01)):
        for mask in lines(profile(256, 16, outside, decay), 100, 7):
            try:
                estimated_density(np.broadcast_to(mask[places][:, None], (256, 2)), flat=True)
            except BadVolume:
                refused += 1
    assert refused <= 2


def test_lines_and_points_are_told_apart() -> None:
    row = np.array([True, True, False, True, False, True])
    down = np.broadcast_to(row[:, None], (6, 5))
    assert line_axis(down, flat=False) == 0
    assert line_axis(down.T, flat=False) == 1
    assert line_axis(down & (np.arange(5) != 2), flat=True) == 0  # a partial echo
    assert line_axis(down & (np.arange(5) != 2), flat=False) == 0  # zeros at the end of every line
    assert line_axis(down & (np.arange(5) != 1), flat=False) is None
    assert line_axis(np.eye(6, dtype=bool), flat=True) is None
    assert (estimated_density(np.ones((6, 5), bool), flat=True).density == 1).all()


def test_lines_of_a_partial_echo() -> None:
    truth = profile(128, 16, 0.3, 0.0)
    (row,) = lines(truth, 1, 0)
    columns = np.arange(32) < 24
    part = estimated_density(row[:, None] & columns, flat=True)
    np.testing.assert_array_equal(part.density, estimated_density(row[:, None] & (columns | True), flat=True).density)


def uniform_points() -> np.ndarray:
    mask = np.random.default_rng(0).random((64, 64)) < 0.2
    mask[0, 0] = True
    return mask


def wide_points() -> np.ndarray:
    """Exponential, but four times as far along one axis."""
    rows, columns = (np.fft.fftfreq(96) * 96 for _ in range(2))
    distance = np.hypot(rows[:, None] * 2, columns / 2)
    return np.random.default_rng(0).random((96, 96)) < np.exp(-0.04 * distance)


def less_than_half_of_the_lines() -> np.ndarray:
    mask = (np.fft.fftfreq(128) * 128 > -12) & (np.fft.fftfreq(128) * 128 < 48)
    return np.broadcast_to(mask[:, None], (128, 8))


def centre_alone() -> np.ndarray:
    return np.broadcast_to(np.abs(np.fft.fftfreq(64) * 64)[:, None] < 8, (64, 8))


def one_side() -> np.ndarray:
    """Lines of one side alone, beside the centre, and one that shows how far the other one reaches."""
    frequency = np.fft.fftfreq(256) * 256
    mask = (
        (np.abs(frequency) < 8) | (frequency == -120) | ((frequency > 0) & (np.random.default_rng(0).random(256) < 0.5))
    )
    return np.broadcast_to(mask[:, None], (256, 8))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (uniform_points(), "looks like none"),
        (wide_points(), "looks like none"),
        (centre_alone(), "centre of k-space alone"),
        (less_than_half_of_the_lines(), "centre of k-space alone"),
        (one_side(), "looks like none"),
        (~centre_alone(), "lacks the centre"),
        (np.arange(4096).reshape(64, 64) == 0, "centre of k-space alone"),
        (np.isin(np.arange(4096), [0, 500]).reshape(64, 64), "too few"),
    ],
)
def test_masks_of_other_kinds_are_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(BadVolume, match=message) as refusal:
        estimated_density(mask, flat=False)
    assert refusal.value.problem is Problem.INCOMPATIBLE
