"""Files whose k-space ends before its matrix does, from the file to the training pair and the figure of quality."""

import math
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest
import torch
from masks import lines, profile
from raw_files import Samples, flat_header, write_fastmri, write_flat_mrd

from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.raw import read_scan
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slices import open_prepared
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.densities import GivenDensity, given_density, with_density
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace_preparation import prepare_kspace
from mri_n2n.measured_kspace import MeasuredKspace
from mri_n2n.networks.unet import UNet
from mri_n2n.quality import held_out_errors, held_out_split
from mri_n2n.scans import complex_volume
from mri_n2n.task import HorvitzThompson, data_consistent
from mri_n2n.training.task import Batch

ROWS, COLUMNS = 96, 24
RNG = np.random.default_rng(0)
EVERYTHING: Samples = RNG.standard_normal((2, 2, ROWS, COLUMNS, 2)).astype(np.float32).view(np.complex64)[..., 0]
FREQUENCY = np.rint(np.fft.fftfreq(ROWS) * ROWS)
REACH = (FREQUENCY >= -36) & (FREQUENCY <= 35)
PARTIAL = FREQUENCY >= -18
SAMPLED = lines(profile(ROWS, 12, 0.4, 0.0), 1, 0)[0]


def of(rows: Any) -> Samples:
    return np.where(rows[:, None], EVERYTHING, 0).astype(np.complex64)


def fastmri(path: Path, samples: Samples, minimum: int, maximum: int, centre: int) -> Path:
    """With the limits of the first phase encoding that its header states."""
    write_fastmri(path, samples)
    header = flat_header(samples, (1.0, 1.0, 4.0))
    header.encoding[0].encodingLimits.kspace_encoding_step_1 = ismrmrd.xsd.limitType(
        minimum=minimum, maximum=maximum, center=centre
    )
    with h5py.File(path, "r+") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = ismrmrd.xsd.ToXML(header, encoding="utf-8")
    return path


@pytest.mark.parametrize("rows", [REACH, PARTIAL])
@pytest.mark.parametrize("given", [None, GivenDensity(0.5)])
def test_a_padded_file_is_fully_sampled(tmp_path: Path, rows: Any, given: GivenDensity | None) -> None:
    write_fastmri(tmp_path / "a.h5", of(rows))
    scan = with_density(read_scan(tmp_path / "a.h5"), given)
    np.testing.assert_array_equal(scan.density, np.broadcast_to(rows[:, None], (ROWS, COLUMNS)))
    assert f"reaches {rows.sum()}×24 of 96×24" in scan.notes[-1]
    white = complex_volume(scan).white
    assert white == pytest.approx(6 * math.sqrt(2 * np.mean(np.abs(of(rows)) ** 2)), rel=1e-4)


def test_limits_are_read_and_believed(tmp_path: Path) -> None:
    """Lines 0 to 71 of which 36 is DC; not, where something acquired lies beyond."""
    rows = SAMPLED & REACH
    scan = read_scan(fastmri(tmp_path / "a.h5", of(rows), 0, 71, 36))
    assert scan.extent is not None
    np.testing.assert_array_equal(scan.extent[:, 0], REACH)
    density = with_density(scan).density
    assert density is not None
    np.testing.assert_array_equal(density[:, 0] > 0, REACH)
    wrong = read_scan(fastmri(tmp_path / "b.h5", of(rows), 0, 10, 5))
    assert with_density(wrong).density is not None
    assert read_scan(fastmri(tmp_path / "c.h5", of(rows), 0, ROWS - 1, ROWS // 2)).extent is None

    def limited(header: Any, _: Any) -> None:
        limits = header.encoding[0].encodingLimits.kspace_encoding_step_1
        limits.minimum, limits.maximum = 12, 83

    write_flat_mrd(tmp_path / "d.h5", of(rows), edit=limited)
    again = read_scan(tmp_path / "d.h5").extent
    assert again is not None
    np.testing.assert_array_equal(again, scan.extent)


def test_a_density_may_be_nought_where_nothing_was_acquired(tmp_path: Path) -> None:
    truth = np.where(REACH, profile(ROWS, 12, 0.4, 0.0), 0)
    plane = np.broadcast_to(truth[:, None], (ROWS, COLUMNS))
    np.save(tmp_path / "a.npy", np.fft.fftshift(plane))
    given = given_density(None, tmp_path / "a.npy")
    write_fastmri(tmp_path / "a.h5", of(SAMPLED & REACH))
    scan = with_density(read_scan(tmp_path / "a.h5"), given)
    np.testing.assert_array_equal(scan.density, plane.astype(np.float32))
    write_fastmri(tmp_path / "b.h5", of((SAMPLED & REACH) | (FREQUENCY == 40)))
    with pytest.raises(BadVolume, match="density that was given is 0") as refusal:
        with_density(read_scan(tmp_path / "b.h5"), given)
    assert refusal.value.problem is Problem.DAMAGED
    np.save(tmp_path / "b.npy", np.fft.fftshift(np.where(plane == 1, 0, plane)))
    with pytest.raises(UsageError, match="0 in its middle"):
        given_density(None, tmp_path / "b.npy")


def prepared(folder: Path, rows: Any) -> Any:
    (folder / "scans").mkdir()
    for name in "ab":
        write_fastmri(folder / "scans" / f"{name}.h5", of(rows))
        with h5py.File(folder / "scans" / f"{name}.h5", "r+") as file:
            file["kspace"][...] = file["kspace"][...] * (1 if name == "a" else 1j)
    request = PrepareRequest(SplitRequest(1, 1), SliceRequest(0, 2047))
    manifest = prepare_kspace(folder / "scans", folder / "data", request)
    return manifest.kind, Batch(open_prepared(folder / "data").images([0, 1, 2, 3]), torch.arange(4))


def test_full_within_its_reach_it_is_undersampled_there_alone(tmp_path: Path) -> None:
    kind, batch = prepared(tmp_path, REACH)
    assert kind == "full-kspace"
    corruption = MeasuredKspace(acceleration=2.0)
    for pair in (corruption(batch, torch.Generator().manual_seed(0)), corruption.evaluation_pair(batch.images,
                 [torch.Generator().manual_seed(number) for number in range(4)])):  # fmt: skip
        assert torch.isfinite(pair.input).all()
        assert torch.isfinite(pair.target).all()
        assert not pair.measurement.mask[:, ~REACH].any()
        assert not pair.measurement.density[:, ~REACH].any()
        assert 0.3 < pair.measurement.mask[:, REACH].float().mean() < 0.8
    pair = corruption(batch, torch.Generator().manual_seed(0))
    loss = HorvitzThompson()(pair.input, pair, progress=0.0)
    assert torch.isfinite(loss).all()


@pytest.mark.parametrize("partial", [False, True])
def test_lines_that_are_padded_are_split_and_scored_within_their_reach(tmp_path: Path, partial: bool) -> None:
    reach = PARTIAL if partial else REACH
    rows = SAMPLED & reach
    kind, batch = prepared(tmp_path, np.where(reach, rows, False))
    assert kind == "kspace"
    corruption = MeasuredKspace()
    pair = corruption(batch, torch.Generator().manual_seed(0))
    whole = corruption.measured(batch.images, [])
    assert pair.target_measurement is not None
    for part in (pair.measurement, pair.target_measurement):
        assert torch.isfinite(part.density).all()
        assert torch.isfinite(part.samples).all()
        assert not (part.mask & (part.density == 0)).any()
        assert (part.mask == part.mask[:, :, :1]).all()  # line by line
    for image in (pair.input, pair.target, HorvitzThompson()(pair.input, pair, progress=0.0)):
        assert torch.isfinite(image).all()
    first, second = held_out_split(whole, ["a", "b", "c", "d"])
    assert (first.mask | second.mask).sum() == whole.mask.sum()
    errors = held_out_errors(UNet(2, 2, width=6), data_consistent, whole, ["a", "b", "c", "d"])
    assert torch.isfinite(errors).all()
    assert (errors > 0).all()


def test_frequencies_that_are_never_acquired_lose_no_weight() -> None:
    density = torch.tensor([[1.0, 0.5, 0.001, 0.0]])
    assert HorvitzThompson(cap=100.0).lost_weight(density) == pytest.approx(0.3)
