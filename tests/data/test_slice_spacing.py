"""Slices in space: one missing, one twice and one out of line are told apart, wherever they lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mri_n2n.data.slice_spacing import slice_step
from mri_n2n.errors import BadVolume, Problem

axes = st.integers(0, 10**6).map(lambda seed: np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0])
steps = st.tuples(axes, st.floats(0.2, 10)).map(lambda drawn: drawn[0][0] * drawn[1])
starts = st.tuples(*[st.floats(-300, 300)] * 3).map(np.array)


def problem(positions: np.ndarray) -> Problem:
    with pytest.raises(BadVolume) as refusal:
        slice_step(positions)
    return refusal.value.problem


@given(steps, starts, st.integers(2, 40))
def test_the_step_is_found(step: np.ndarray, start: np.ndarray, count: int) -> None:
    np.testing.assert_allclose(slice_step(start + np.arange(count)[:, None] * step), step, atol=1e-9)


@given(steps, starts, st.integers(4, 40), st.data())
def test_one_that_is_missing_within_is_missed(
    step: np.ndarray, start: np.ndarray, count: int, data: st.DataObject
) -> None:
    """Of as few as four, too."""
    lost = data.draw(st.integers(1, count - 2))
    positions = start + np.delete(np.arange(count), lost)[:, None] * step
    assert problem(positions) is Problem.INCOMPLETE


@given(steps, starts, st.integers(2, 40), st.data())
def test_two_at_one_place(step: np.ndarray, start: np.ndarray, count: int, data: st.DataObject) -> None:
    twice = data.draw(st.integers(0, count - 1))
    positions = start + np.sort(np.append(np.arange(count), twice))[:, None] * step
    assert problem(positions) is Problem.DUPLICATE


@given(axes, st.floats(0.5, 10), starts, st.integers(3, 40), st.floats(0.1, 0.3), st.data())
def test_one_out_of_line(
    axes: np.ndarray, length: float, start: np.ndarray, count: int, share: float, data: st.DataObject
) -> None:
    positions = start + np.arange(count)[:, None] * length * axes[0]
    positions[data.draw(st.integers(1, count - 2))] += share * length * axes[1]
    assert problem(positions) is Problem.UNSUPPORTED
