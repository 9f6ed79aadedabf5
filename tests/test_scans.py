"""Scans of real images: from volumes to files of raw k-space, and from these back to volumes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import write_flat_mrd

from mri_n2n.data.mrd import read_scan, write_scan
from mri_n2n.data.scan import Scan
from mri_n2n.data.volumes import Volume, read_volume
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.kspace.acquisition import zero_filled
from mri_n2n.kspace.sampling import decay_for_acceleration
from mri_n2n.recipes import Optimisation, Recipe, pairs_task, undersampling_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.scans import complex_volume, scanned_volume, simulated_scan
from mri_n2n.simulation import simulate_path
from mri_n2n.task import Undersampling

CPU = torch.device("cpu")


def some_volume(shape: tuple[int, int, int], seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).random(shape, dtype=np.float32) * 700
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]], float)
    return Volume(array, affine, None, (0.0, 700.0), "x")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.tuples(st.integers(2, 20), st.integers(2, 20), st.integers(1, 8)))
@settings(deadline=None, max_examples=40)
def test_a_full_scan_holds_the_volume(shape: tuple[int, int, int]) -> None:
    volume = some_volume(shape)
    scan = simulated_scan(volume, 0.0, generator())
    assert scan.mask.all()
    images = zero_filled(scanned_volume(scan).measurement)
    np.testing.assert_allclose(np.moveaxis(images.numpy(), 0, -1), volume.array, atol=0.01)
    # and by numpy alone: the samples are the centred orthonormal transform, stored with DC first
    whole = np.fft.fftn(np.fft.ifftshift(volume.array), norm="ortho")
    np.testing.assert_allclose(scan.samples[0], np.moveaxis(whole, -1, 0), atol=0.05)


def test_one_mask_for_the_whole_volume() -> None:
    volume = some_volume((32, 31, 5))
    decay = decay_for_acceleration((32, 31), 4.0)
    scan = simulated_scan(volume, decay, generator())
    assert 0.18 < scan.mask.mean() < 0.32
    assert ((scan.samples != 0).all(axis=(0, 1)) == scan.mask).all()
    assert (scan.decay, scan.white, scan.simulated) == (decay, float(volume.array.max()), True)
    measurement = scanned_volume(scan).measurement
    assert (measurement.mask == measurement.mask[0]).all()


def test_oversampling_is_cut_off() -> None:
    """Of 12×10×8 voxels the middle 6×7×5 are shown, and the voxel at the origin stays there."""
    volume = some_volume((12, 10, 8))
    scan = replace(simulated_scan(volume, 0.0, generator()), size=(6, 7, 5))
    scanned = scanned_volume(scan)
    images = replace(scanned, white=1.0).intensities(zero_filled(scanned.measurement) - 0.5)
    np.testing.assert_allclose(np.moveaxis(images.numpy(), 0, -1), volume.array[3:9, 2:9, 2:7], atol=0.01)


def test_a_stack_of_slices_is_reconstructed(tiny_recipe: Recipe, tmp_path: Path) -> None:
    """A 2-D scan of a real image, of which every line was acquired: the image comes back, slice by slice."""
    array = np.random.default_rng(0).random((12, 10, 3), dtype=np.float32)
    kspace = np.fft.fft2(np.fft.ifftshift(array, axes=(0, 1)), axes=(0, 1), norm="ortho")
    write_flat_mrd(tmp_path / "a.h5", np.moveaxis(kspace, 2, 0)[None].astype(np.complex64), readout=6)
    recipe = replace(tiny_recipe, task=undersampling_task(acceleration=1.0))
    reconstructor = Reconstructor(recipe.network.build(), recipe, CPU, white=1.0)
    reconstruct_path(reconstructor, tmp_path / "a.h5", tmp_path / "a.nii", {})
    written: Any = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_allclose(written.get_fdata(), array[:, 2:8], atol=1e-4)
    np.testing.assert_allclose(written.affine, read_scan(tmp_path / "a.h5").affine, atol=1e-4)


@pytest.mark.parametrize("coils", [1, 3])
def test_a_complex_scan_holds_the_volume(coils: int) -> None:
    """Root sum of squares of the coils' images is the magnitude, whatever the phase; one coil alone has phases."""
    volume = some_volume((12, 11, 6))
    scan = simulated_scan(volume, 0.0, generator(), coils=coils)
    assert scan.samples.shape == (coils, 6, 12, 11)
    scanned = complex_volume(scan)
    images = zero_filled(scanned.measurement)
    assert images.is_complex()
    assert images.imag.abs().mean() > 0.1 * images.abs().mean()
    shown = replace(scanned, white=1.0).intensities(images)
    np.testing.assert_allclose(np.moveaxis(shown.numpy(), 0, -1), volume.array, atol=0.02)
    part = replace(scanned, white=1.0).intensities(images[scanned.rows([4, 1])])
    torch.testing.assert_close(part, shown[[4, 1]])
    assert any("coil sensitivities" in note for note in scanned.notes) == (coils > 1)


def test_white_does_not_depend_on_what_was_sampled() -> None:
    """Six times the root mean square, from the acquired samples alone: within ten per cent on a small grid."""
    smooth = np.add.outer(np.hanning(32), np.hanning(30))[..., None] * np.linspace(200, 400, 12)
    volume = replace(some_volume((32, 30, 12)), array=smooth.astype(np.float32))
    exact = 6 * float(np.sqrt(np.square(volume.array).mean()))
    for acceleration in (1.0, 3.0, 8.0):
        for coils in (1, 4):
            decay = decay_for_acceleration((32, 30), acceleration)
            scanned = complex_volume(simulated_scan(volume, decay, generator(1), coils=coils))
            assert scanned.white == pytest.approx(exact, rel=0.1)


def edited(**changes: Any) -> Scan:
    return replace(simulated_scan(some_volume((8, 8, 4)), 0.0, generator()), **changes)


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        (edited(samples=np.ones((2, 4, 8, 8), np.complex64)), "2 coils.*prepare kspace"),
        (
            edited(decay=None, mask=np.outer(np.abs(np.fft.fftfreq(8)) < 0.2, np.ones(8, bool))),
            "centre of k-space alone",
        ),
        (edited(decay=9.0), "impossible"),
        (edited(decay=0.5), "not sampled with the density"),
        (edited(mask=np.roll(np.eye(8, dtype=bool), 1, 0)), "centre of k-space"),
        (edited(mask=np.arange(64).reshape(8, 8) < 9), "opposites.*prepare kspace"),
        (edited(samples=simulated_scan(some_volume((8, 8, 4)), 0.0, generator()).samples * np.complex64(1j)), "phases"),
    ],
)
def test_scans_that_a_real_recipe_cannot_use(scan: Scan, message: str) -> None:
    with pytest.raises(BadVolume, match=message):
        scanned_volume(scan)


def test_what_a_noisy_scan_measured_twice_is_averaged(tiny_recipe: Recipe) -> None:
    """Noise is not the same at k and -k: a real image has the mean of both, and that is what is put back."""
    scan = simulated_scan(some_volume((16, 17, 6)), decay_for_acceleration((16, 17), 3.0), generator())
    noise = np.random.default_rng(1).normal(0, 7, (2, *scan.samples.shape)).astype(np.float32)
    noisy = replace(scan, samples=np.where(scan.mask, scan.samples + noise[0] + 1j * noise[1], 0).astype(np.complex64))
    scanned = replace(scanned_volume(noisy), white=700.0)
    assert Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU)(scanned).residual < 1e-5


def test_a_sheared_volume_cannot_be_scanned() -> None:
    volume = some_volume((8, 8, 4))
    volume.affine[0, 2] = 1.0
    with pytest.raises(UsageError, match="right angles"):
        simulated_scan(volume, 0.0, generator())


def test_full_sampling_returns_the_volume_from_a_file(tiny_recipe: Recipe, heads: Path, tmp_path: Path) -> None:
    """With every frequency acquired the network changes nothing: file to file, geometry and intensities."""
    recipe = replace(tiny_recipe, task=undersampling_task(acceleration=1.0))
    simulate_path(heads, tmp_path / "scans", Undersampling(1.0, None), 0)
    reconstructor = Reconstructor(recipe.network.build(), recipe, CPU)
    done = reconstruct_path(reconstructor, tmp_path / "scans", tmp_path / "out", {})
    for result, source in zip(done, sorted(heads.iterdir()), strict=True):
        assert result.output.name == source.name
        before: Any = nibabel.load(source)
        after: Any = nibabel.load(result.output)
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-4)
        np.testing.assert_allclose(after.get_fdata(), before.get_fdata(), atol=0.02)
        assert b"SIMULATED" in after.header["descrip"].item()


def test_the_network_sees_what_it_saw_in_training(tiny_recipe: Recipe) -> None:
    """A constant volume of half the white is 0 to the network: DC is put back, and black is -0.5."""
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image)
            return image

    volume = replace(some_volume((9, 8, 2)), array=np.full((9, 8, 2), 300, np.float32))
    scanned = replace(scanned_volume(simulated_scan(volume, 0.3, generator())), white=600.0)
    made = Reconstructor(Watching(), tiny_recipe, CPU)(scanned)
    output, quality = made.array, made.psnr
    np.testing.assert_allclose(seen[0], 0.0, atol=1e-4)
    np.testing.assert_allclose(output, volume.array, atol=0.01)
    assert quality is None


def test_as_good_as_undersampling_in_memory(tiny_recipe: Recipe, heads: Path, tmp_path: Path) -> None:
    """The same mask in a file and in memory gives the same volume."""
    source = sorted(heads.iterdir())[0]
    volume = read_volume(source)
    height, width, _ = volume.array.shape
    scan = simulated_scan(volume, decay_for_acceleration((height, width), 5.0), generator())
    write_scan(tmp_path / "a.h5", scan, {})
    network = tiny_recipe.network.build()
    read = Reconstructor(network, tiny_recipe, CPU).read(tmp_path / "a.h5")
    from_file = Reconstructor(network, tiny_recipe, CPU, batch_size=3)(read).array
    from_memory = Reconstructor(network, tiny_recipe, CPU)(replace(scanned_volume(scan), white=scan.white)).array
    np.testing.assert_allclose(from_file, from_memory, atol=0.05)


def test_simulation_goes_on_and_repeats(heads: Path, tmp_path: Path) -> None:
    sampling = Undersampling(4.0, None)
    first = simulate_path(heads, tmp_path / "a", sampling, 7)
    assert len(first) == 4
    assert simulate_path(heads, tmp_path / "a", sampling, 7) == []
    victim = first[1].target
    content = victim.read_bytes()
    victim.unlink()
    (again,) = simulate_path(heads, tmp_path / "a", sampling, 7)
    assert again.target == victim
    assert victim.read_bytes() == content
    with pytest.raises(UsageError, match="--overwrite"):
        simulate_path(heads, tmp_path / "a", sampling, 8)
    simulate_path(heads, tmp_path / "a", sampling, 8, overwrite=True)
    assert victim.read_bytes() != content
    masks = [read_scan(job.target).mask for job in first]
    assert not (masks[0] == masks[1]).all()
    about = json.loads((tmp_path / "a" / (victim.name + ".json")).read_text())
    assert "SIMULATED" in about["label"]


def test_a_bad_volume_harms_no_other(heads: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.nii").write_bytes(b"rubbish")
    (source / "b.nii.gz").write_bytes(sorted(heads.iterdir())[0].read_bytes())
    with pytest.raises(UsageError, match="1 of 2 volumes could not"):
        simulate_path(source, tmp_path / "out", Undersampling(4.0, None), 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.h5", "b.h5.json"]


def test_what_a_run_can_reconstruct(tiny_recipe: Recipe, heads: Path, tmp_path: Path) -> None:
    network = tiny_recipe.network.build()
    simulate_path(heads, tmp_path / "scans", Undersampling(4.0, None), 0)
    plain = Reconstructor(network, tiny_recipe, CPU)
    with pytest.raises(UsageError, match="add --simulate"):
        reconstruct_path(plain, heads, tmp_path / "out", {})
    with pytest.raises(UsageError, match="Leave it out"):
        reconstruct_path(replace(plain, simulate=True), tmp_path / "scans", tmp_path / "out", {})
    pairs = Reconstructor(network, Recipe(pairs_task(), Optimisation(steps=1)), CPU)
    with pytest.raises(UsageError, match="pairs of images"):
        reconstruct_path(pairs, tmp_path / "scans", tmp_path / "out", {})
    other = tmp_path / "a.txt"
    other.write_text("x")
    with pytest.raises(UsageError, match="ends in none of"):
        reconstruct_path(plain, other, tmp_path / "out.nii", {})
    scan = replace(read_scan(sorted((tmp_path / "scans").glob("*.h5"))[0]), white=None)
    write_scan(tmp_path / "b.h5", scan, {})
    with pytest.raises(UsageError, match="--white"):
        reconstruct_path(plain, tmp_path / "b.h5", tmp_path / "out.nii", {})
    reconstruct_path(replace(plain, white=255.0), tmp_path / "b.h5", tmp_path / "out.nii", {})


def test_two_sources_never_share_an_output(tiny_recipe: Recipe, heads: Path, tmp_path: Path) -> None:
    simulate_path(heads, tmp_path / "scans", Undersampling(4.0, None), 0)
    (tmp_path / "scans" / sorted(heads.iterdir())[0].name).write_bytes(sorted(heads.iterdir())[0].read_bytes())
    reconstructor = Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU, white=255.0)
    with pytest.raises(UsageError, match="would both become"):
        reconstruct_path(reconstructor, tmp_path / "scans", tmp_path / "out", {})


def test_on_the_command_line(cli: Callable[..., Any], heads: Path, tmp_path: Path) -> None:
    answer = cli("simulate", heads, "--out", "scans", "--acceleration", 4)
    assert answer.code == 0
    assert "4 scans" in answer.out
    assert "SIMULATED" in answer.out
    for arguments, message in (
        (("simulate", heads / "absent", "--out", "x"), "no file or folder"),
        (("simulate", heads, "--out", "x", "--acceleration", 0.5), "at least 1"),
        (("simulate", heads, "--out", "x", "--acceleration", 4, "--edge-probability", 0.1), "not both"),
        (("simulate", heads, "--out", sorted(heads.iterdir())[0]), "is a file"),
        (("simulate", heads, "--out", heads / "inside"), "lies in the other"),
    ):
        answer = cli(*arguments)
        assert answer.code == 2
        assert message in answer.err
