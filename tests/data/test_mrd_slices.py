"""ISMRMRD, 2-D: a stack of slices, each with its own position."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_files import NORMAL, PHASE, READ, Edit, some_slices, write_flat_mrd

from mri_n2n.data.mrd import read_scan
from mri_n2n.errors import BadVolume, Problem

LPS = np.diag([-1.0, -1.0, 1.0])


@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_mask_and_places(tmp_path: Path, coils: int, slices: int, rows: int, columns: int) -> None:
    samples = some_slices(coils, slices, rows, columns)
    write_flat_mrd(tmp_path / "a.h5", samples)
    scan = read_scan(tmp_path / "a.h5")
    np.testing.assert_array_equal(scan.samples, samples)
    np.testing.assert_array_equal(scan.mask, samples.any(axis=(0, 1)))
    assert scan.size == (rows, columns, slices)
    assert not scan.encoded
    assert scan.notes == ()
    for number in range(slices):  # the middle of each slice lies at its position
        middle = scan.affine @ [rows // 2, columns // 2, number, 1]
        np.testing.assert_allclose(middle[:3], LPS @ (4.5 * number * NORMAL + (10, 20, 30)), atol=1e-4)
    np.testing.assert_allclose(scan.affine[:3, :2], LPS @ np.stack([1.5 * PHASE, 2.0 * READ], 1), atol=1e-4)
    assert np.linalg.norm(scan.affine[:3, 2]) == pytest.approx(4.5 if slices > 1 else 4.0)


def test_slices_are_put_in_their_order_in_space(tmp_path: Path) -> None:
    """Numbered against the direction of their normal."""

    def backwards(_: Any, lines: list[ismrmrd.Acquisition]) -> None:
        for line in lines:
            line.slice_dir[:] = -NORMAL

    samples = some_slices()
    write_flat_mrd(tmp_path / "a.h5", samples, edit=backwards)
    scan = read_scan(tmp_path / "a.h5")
    np.testing.assert_array_equal(scan.samples, samples[:, ::-1])
    np.testing.assert_allclose((scan.affine @ [3, 4, 0, 1])[:3], LPS @ (9.0 * NORMAL + (10, 20, 30)), atol=1e-4)


def test_oversampling_and_partial_echoes(tmp_path: Path) -> None:
    def partial(_: Any, lines: list[ismrmrd.Acquisition]) -> None:
        for place, line in enumerate(lines):
            short = ismrmrd.Acquisition.from_array(np.ascontiguousarray(line.data[:, 2:]))
            head = line.getHead()
            head.number_of_samples, head.center_sample = 6, 2
            short.setHead(head)
            short.data[:] = line.data[:, 2:]
            lines[place] = short

    samples = some_slices()
    write_flat_mrd(tmp_path / "a.h5", samples, edit=partial, readout=4)
    scan = read_scan(tmp_path / "a.h5")
    samples[:, :, :, [4, 5]] = 0  # the first two: frequencies -4 and -3
    np.testing.assert_array_equal(scan.samples, samples)
    np.testing.assert_array_equal(scan.mask, samples.any(axis=(0, 1)))
    assert scan.notes == ("has partial echoes: 2 of 8 samples of every line are left to the network.",)
    assert scan.size == (6, 4, 3)
    np.testing.assert_allclose((scan.affine @ [3, 2, 0, 1])[:3], LPS @ (10, 20, 30), atol=1e-4)


def test_without_places_it_is_said(tmp_path: Path) -> None:
    write_flat_mrd(tmp_path / "a.h5", some_slices(), oriented=False)
    scan = read_scan(tmp_path / "a.h5")
    assert [("orientation" in note, "4 mm apart" in note) for note in scan.notes] == [(True, False), (False, True)]
    np.testing.assert_allclose(scan.affine[:3, :3], LPS @ np.diag([1.5, 2.0, 4.0]))
    np.testing.assert_allclose(scan.affine @ [3, 4, 1, 1], [0, 0, 0, 1])


def slice_of(number: int, change: Callable[[ismrmrd.Acquisition], None]) -> Edit:
    def edit(_: Any, lines: list[ismrmrd.Acquisition]) -> None:
        for line in lines:
            if line.idx.slice == number:
                change(line)

    return edit


def moved(*by: float) -> Callable[[ismrmrd.Acquisition], None]:
    return lambda line: line.position.__setitem__(slice(None), np.array(line.position) + by)


def without(number: int) -> Edit:
    def edit(header: Any, lines: list[ismrmrd.Acquisition]) -> None:
        lines[:] = [line for line in lines if line.idx.slice != number]

    return edit


def unlimited(number: int) -> Edit:
    def edit(header: Any, lines: list[ismrmrd.Acquisition]) -> None:
        without(number)(header, lines)
        header.encoding[0].encodingLimits.slice = None

    return edit


@pytest.mark.parametrize(
    ("edit", "problem", "message"),
    [
        (without(3), Problem.INCOMPLETE, "3 slices, and states 4"),
        (unlimited(1), Problem.INCOMPLETE, "gap"),
        (slice_of(3, moved(0, 0, -4.5)), Problem.DUPLICATE, "one place"),
        (slice_of(2, moved(0, 3, 0)), Problem.UNSUPPORTED, "in line"),
        (slice_of(2, moved(0, 0, np.nan)), Problem.UNSUPPORTED, "position"),
        (slice_of(1, lambda line: line.slice_dir.__setitem__(slice(None), READ)), Problem.UNSUPPORTED, "slice_dir"),
        (lambda _, lines: lines.pop(), Problem.UNSUPPORTED, "one mask"),
        (lambda _, lines: moved(0, 0, 1)(lines[-1]), Problem.UNSUPPORTED, "position"),
        (slice_of(1, lambda line: setattr(line.idx, "slice", 2)), Problem.UNSUPPORTED, "position"),
        (lambda _, lines: setattr(lines[-1].idx, "kspace_encode_step_1", 1), Problem.DUPLICATE, "twice"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, edit: Edit, problem: Problem, message: str) -> None:
    write_flat_mrd(tmp_path / "a.h5", some_slices(slices=4), edit=edit)
    with pytest.raises(BadVolume, match=message) as refusal:
        read_scan(tmp_path / "a.h5")
    assert refusal.value.problem is problem
