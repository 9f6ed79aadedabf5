"""Which density a scan gets: what its file states, else what is given, else an estimate, and then it is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mri_n2n.data.mrd import read_scan, write_scan
from mri_n2n.data.scan import Scan
from mri_n2n.densities import GivenDensity, given_density, with_density
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace.sampling import decay_for_edge, exponential_density
from mri_n2n.recipes import Recipe
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor

GRID = (48, 40)
DECAY = decay_for_edge(GRID, 0.05)
DENSITY = exponential_density(GRID, DECAY).numpy()


def some_scan(**changes: Any) -> Scan:
    """Points of the exponential density; nothing but its mask matters."""
    mask = np.random.default_rng(0).random(GRID) < DENSITY
    samples = mask.astype(np.complex64)[None, None]
    scan = Scan(samples, mask, (*GRID, 1), np.eye(4), None, 1.0, simulated=False, notes=("is cold.",))
    return replace(scan, **changes)


def some_lines() -> Scan:
    """A 2-D scan: lines of exp(-λ|k|)."""
    profile = np.exp(-DECAY * np.abs(np.fft.fftfreq(48) * 48))
    rows = np.random.default_rng(1).random(48) < profile
    return some_scan(mask=np.broadcast_to(rows[:, None], GRID).copy(), encoded=False)


def saved(path: Path, plane: Any) -> Path:
    np.save(path, plane)
    return path


def test_what_is_stated_comes_first(tmp_path: Path) -> None:
    given = given_density(None, saved(tmp_path / "a.npy", np.fft.fftshift(DENSITY**1.05)))
    scan = with_density(some_scan(decay=DECAY), given)
    np.testing.assert_allclose(scan.density, DENSITY, rtol=1e-5)
    assert scan.notes == ("is cold.",)
    assert with_density(scan, given) is scan


def test_what_is_given_comes_next(tmp_path: Path) -> None:
    given = given_density(None, saved(tmp_path / "a.npy", np.fft.fftshift(DENSITY)))
    for density in (given, given_density(0.05, None)):
        scan = with_density(some_scan(), density)
        np.testing.assert_allclose(scan.density, DENSITY, rtol=1e-5)
        assert scan.notes == ("is cold.",)
    assert given.facts()["density_sha256"]
    assert (given.said, GivenDensity().said) == (True, False)


def test_an_edge_probability_of_lines_is_that_of_their_axis() -> None:
    scan = with_density(some_lines(), given_density(0.05, None))
    assert scan.density is not None
    assert np.ptp(scan.density, axis=1).max() == 0
    np.testing.assert_allclose(scan.density[24, 0], 0.05, rtol=1e-5)


def test_else_it_is_estimated_and_said() -> None:
    for scan in (some_scan(), some_lines()):
        found = with_density(scan)
        assert found.notes[0] == "is cold."
        assert "states no sampling density: estimated as" in found.notes[1]
        assert "--edge-probability" in found.notes[1]
        assert found.density is not None
        np.testing.assert_array_equal(found.density[0, 0], 1)
    np.testing.assert_allclose(np.log(with_density(some_scan()).density), np.log(DENSITY), rtol=0.15, atol=1e-6)


@pytest.mark.parametrize(
    ("scan", "given", "problem", "message"),
    [
        (some_scan(decay=DECAY * 2), GivenDensity(), Problem.DAMAGED, "not sampled with the density"),
        (some_scan(), GivenDensity(0.5), Problem.DAMAGED, "or that was given"),
        (some_lines(), GivenDensity(0.9), Problem.DAMAGED, "or that was given"),
        (some_scan(decay=9.0), GivenDensity(), Problem.IMPLAUSIBLE, "impossible"),
        (some_scan(), GivenDensity(None, np.ones((4, 4)), "x"), Problem.INCOMPATIBLE, "4×4"),
    ],
)
def test_what_does_not_fit_is_refused(scan: Scan, given: GivenDensity, problem: Problem, message: str) -> None:
    with pytest.raises(BadVolume, match=message) as refusal:
        with_density(scan, given)
    assert refusal.value.problem is problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DENSITY, "expected DC in the middle"),
        (np.fft.fftshift(DENSITY) * 2, "beyond"),
        (np.zeros((4, 4)), "beyond"),
        (np.full((4, 4), np.nan), "beyond"),
        (np.ones(4), r"\[row column\]"),
        (np.ones((4, 4), int), r"\[row column\]"),
        (b"Dear colleague,", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_density_files_that_cannot_be(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(UsageError, match=message):
        given_density(None, path)


def test_one_of_two() -> None:
    with pytest.raises(UsageError, match="not both"):
        given_density(0.1, Path("a.npy"))
    with pytest.raises(UsageError, match="must lie in"):
        given_density(2.0, None)


def test_reconstruct_says_what_it_estimated(
    tiny_recipe: Recipe, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning for a scan that does not state its density, none where it is given; nothing is done twice."""
    from mri_n2n.simulation import simulate_path
    from mri_n2n.task import Undersampling

    simulate_path(heads, tmp_path / "scans", Undersampling(None, 0.1), 0)
    scan = read_scan(sorted((tmp_path / "scans").glob("*.h5"))[0])
    write_scan(tmp_path / "a.h5", replace(scan, decay=None), {})
    reconstructor = Reconstructor(tiny_recipe.network.build(), tiny_recipe, torch.device("cpu"))
    reconstruct_path(reconstructor, tmp_path / "a.h5", tmp_path / "a.nii", {})
    assert capsys.readouterr().err.count("states no sampling density") == 1
    given = replace(reconstructor, density=given_density(0.1, None))
    reconstruct_path(given, tmp_path / "a.h5", tmp_path / "b.nii", {})
    assert "density" not in capsys.readouterr().err
    assert reconstruct_path(given, tmp_path / "a.h5", tmp_path / "b.nii", {}) == []
    with pytest.raises(UsageError, match="--overwrite"):
        reconstruct_path(reconstructor, tmp_path / "a.h5", tmp_path / "b.nii", {})
