import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mri_n2n import reconstructed_files
from mri_n2n.data.volumes import Volume, read_volume
from mri_n2n.errors import UsageError
from mri_n2n.metrics import psnr
from mri_n2n.recipes import Optimisation, Recipe, pairs_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor

CPU = torch.device("cpu")


@pytest.fixture
def reconstructor(tiny_recipe: Recipe) -> Reconstructor:
    return Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU, simulate=True, batch_size=4)


@given(st.tuples(st.integers(8, 50), st.integers(8, 50), st.integers(1, 6)), st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_matrix_size(tiny_recipe: Recipe, shape: tuple[int, int, int], simulate: bool) -> None:
    array = np.random.default_rng(0).random(shape, dtype=np.float32) * 700
    volume = Volume(array, np.eye(4), None, (0.0, 700.0), "x")
    white = None if simulate else 700.0
    reconstructor = Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU, simulate, white=white)
    made = reconstructor(volume)
    output, quality = made.array, made.psnr
    assert output.shape == shape
    assert np.isfinite(output).all()
    assert (quality is not None) == simulate


def test_full_sampling_returns_the_volume(tiny_recipe: Recipe, heads: Path) -> None:
    """With every frequency acquired, replacement restores the input exactly, in its own units, whatever the network."""
    from dataclasses import replace

    from mri_n2n.recipes import undersampling_task

    recipe = replace(tiny_recipe, task=undersampling_task(acceleration=1.0))
    volume = read_volume(sorted(heads.iterdir())[0])
    made = Reconstructor(recipe.network.build(), recipe, CPU, simulate=True)(volume)
    output, quality = made.array, made.psnr
    np.testing.assert_allclose(output, volume.array, atol=0.01)
    assert quality > 80


def test_batches_do_not_matter(tiny_recipe: Recipe, heads: Path) -> None:
    volume = read_volume(sorted(heads.iterdir())[0])
    network = tiny_recipe.network.build()
    one, two = (Reconstructor(network, tiny_recipe, CPU, True, size)(volume).array for size in (1, 16))
    np.testing.assert_allclose(one, two, atol=0.05)


def test_file_to_file_keeps_the_geometry_and_says_simulated(
    reconstructor: Reconstructor, heads: Path, tmp_path: Path
) -> None:
    source = sorted(heads.iterdir())[0]
    (done,) = reconstruct_path(reconstructor, source, tmp_path / "out.nii.gz", {"run": "r"})
    before, after = nibabel.load(source), nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(before.affine, after.affine)
    assert before.header.get_zooms() == after.header.get_zooms()
    assert b"SIMULATED" in after.header["descrip"].item()
    about = json.loads((tmp_path / "out.nii.gz.json").read_text())
    assert about["simulated"] is True
    assert "SIMULATED" in about["label"]
    assert about["psnr"] == done.psnr
    images = [
        torch.from_numpy(np.moveaxis(np.asarray(image.get_fdata()), -1, 0) / 255 - 0.5) for image in (after, before)
    ]
    assert float(psnr(*images).mean()) == pytest.approx(done.psnr, abs=0.1)


def test_folder_to_folder(reconstructor: Reconstructor, heads: Path, tmp_path: Path) -> None:
    done = reconstruct_path(reconstructor, heads, tmp_path / "out", {})
    assert [result.output.name for result in done] == [path.name for path in sorted(heads.iterdir())]
    with pytest.raises(UsageError, match="--overwrite"):
        reconstruct_path(reconstructor, heads, tmp_path / "out", {"run": "another"})
    reconstruct_path(reconstructor, heads, tmp_path / "out", {"run": "another"}, overwrite=True)


def test_an_interrupted_folder_goes_on(
    reconstructor: Reconstructor, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = reconstructed_files.write_volume

    def dies(path: Path, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(reconstructed_files, "write_volume", dies)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_path(reconstructor, heads, tmp_path / "out", {})
    monkeypatch.setattr(reconstructed_files, "write_volume", write)
    again = reconstruct_path(reconstructor, heads, tmp_path / "out", {})
    assert [result.output for result in again] == [tmp_path / "out" / path.name for path in sorted(heads.iterdir())[2:]]
    assert reconstruct_path(reconstructor, heads, tmp_path / "out", {}) == []


def test_beside_a_gpu_the_files_are_the_same(
    reconstructor: Reconstructor, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconstruct_path(reconstructor, heads, tmp_path / "in-turn", {})
    monkeypatch.setattr(reconstructed_files, "volumes_overlapped", lambda _: 2)
    reconstruct_path(reconstructor, heads, tmp_path / "overlapped", {})
    in_turn = {path.name: path.read_bytes() for path in (tmp_path / "in-turn").iterdir()}
    assert len(in_turn) == 2 * len(list(heads.iterdir()))
    assert {path.name: path.read_bytes() for path in (tmp_path / "overlapped").iterdir()} == in_turn


def test_a_volume_too_small_to_sample_names_itself(reconstructor: Reconstructor, heads: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    nibabel.Nifti1Image(np.arange(18.0).reshape(3, 3, 2), np.eye(4)).to_filename(source / "tiny.nii")
    (source / "a.nii.gz").write_bytes(sorted(heads.iterdir())[0].read_bytes())
    with pytest.raises(UsageError, match="1 of 2"):
        reconstruct_path(reconstructor, source, tmp_path / "out", {})
    assert (tmp_path / "out/a.nii.gz").exists()
    with pytest.raises(UsageError, match=r"tiny\.nii.*impossible"):
        reconstruct_path(reconstructor, source / "tiny.nii", tmp_path / "t.nii", {})
    assert not (tmp_path / "t.nii").exists()


def test_one_bad_volume_does_not_stop_the_others(reconstructor: Reconstructor, heads: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.nii.gz").write_bytes(b"rubbish")
    (source / "b.nii.gz").write_bytes(sorted(heads.iterdir())[0].read_bytes())
    with pytest.raises(UsageError, match="1 of 2 volumes could not be used"):
        reconstruct_path(reconstructor, source, tmp_path / "out", {})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.nii.gz", "b.nii.gz.json"]


def test_where_to_write(reconstructor: Reconstructor, heads: Path, tmp_path: Path) -> None:
    source = sorted(heads.iterdir())[0]
    with pytest.raises(UsageError, match="should end in"):
        reconstruct_path(reconstructor, source, tmp_path / "out.txt", {})
    with pytest.raises(UsageError, match="no file"):
        reconstruct_path(reconstructor, tmp_path / "absent.nii", tmp_path / "out.nii", {})
    with pytest.raises(UsageError, match="lies in the other"):
        reconstruct_path(reconstructor, heads, heads / "out", {})
    reconstruct_path(reconstructor, source, tmp_path, {})
    assert (tmp_path / source.name).exists()


def test_other_files_are_never_overwritten(reconstructor: Reconstructor, heads: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.nii.gz"
    source.write_bytes(sorted(heads.iterdir())[0].read_bytes())
    with pytest.raises(UsageError, match="would be overwritten"):
        reconstruct_path(reconstructor, source, tmp_path, {}, overwrite=True)
    (tmp_path / "out.nii.gz.json").write_text("{}")
    with pytest.raises(UsageError, match="exists"):
        reconstruct_path(reconstructor, source, tmp_path / "out.nii.gz", {})
    assert not (tmp_path / "out.nii.gz").exists()


def test_white_is_the_scale_of_an_undersampled_image(tiny_recipe: Recipe) -> None:
    """The network sees what it saw in training: black at -0.5 and white at 0.5, whatever the artefacts beyond them."""
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image)
            return image

    array = np.zeros((8, 8, 2), np.float32)
    array[0, 0, :], array[1, 1, :] = 1000.0, -300.0
    volume = Volume(array, np.eye(4), None, (-1e9, 1e9), "x")
    with pytest.raises(UsageError, match="--white"):
        Reconstructor(Watching(), tiny_recipe, CPU)(volume)
    output = Reconstructor(Watching(), tiny_recipe, CPU, white=500.0)(volume).array
    assert float(seen[0].max()) == pytest.approx(1.5)
    assert float(seen[0].min()) == pytest.approx(-1.1)
    np.testing.assert_allclose(output, array, atol=1e-3)


def test_blank_slices_have_no_quality(tiny_recipe: Recipe) -> None:
    array = np.zeros((16, 16, 2), np.float32)
    array[4:9, 4:9, 0] = 1.0
    volume = Volume(array, np.eye(4), None, (0.0, 1.0), "x")
    quality = Reconstructor(tiny_recipe.network.build(), tiny_recipe, CPU, simulate=True)(volume).psnr
    assert quality is not None
    assert quality < 40


def test_simulation_needs_undersampling() -> None:
    recipe = Recipe(pairs_task(), Optimisation(steps=1))
    with pytest.raises(UsageError, match="--simulate"):
        Reconstructor(torch.nn.Identity(), recipe, CPU, simulate=True)


MEASURE = """
import resource, sys
from pathlib import Path
import torch
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.recipes import Optimisation, Recipe, undersampling_task
from mri_n2n.reconstructed_files import reconstruct_path
from mri_n2n.reconstruction import Reconstructor
torch.manual_seed(0)
recipe = Recipe(undersampling_task(acceleration=5.0), Optimisation(steps=1), UNetSpec(width=6))
reconstructor = Reconstructor(recipe.network.build(), recipe, torch.device("cpu"), True)
reconstruct_path(reconstructor, Path(sys.argv[1]), Path(sys.argv[2]), {})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_volumes(tmp_path: Path) -> None:
    """The peak of 30 volumes of 2.4 MB (as float32) exceeds that of 3 by less than eight volumes."""
    array = np.random.default_rng(0).integers(0, 255, (96, 96, 64)).astype(np.uint8)
    peaks = {}
    for count in (3, 30):
        source = tmp_path / f"source{count}"
        source.mkdir()
        for number in range(count):
            nibabel.Nifti1Image(array, np.eye(4)).to_filename(source / f"{number:02d}.nii")
        arguments = [sys.executable, "-c", MEASURE, str(source), str(tmp_path / f"out{count}")]
        peaks[count] = int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout) * 1024
    assert peaks[30] - peaks[3] < 8 * array.size * 4
