import errno
import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_metadata, verify_net_in_out

from mri_n2n.data.volumes import read_volume
from mri_n2n.durable import sha256_of
from mri_n2n.interop import bundle
from mri_n2n.recipes import COMPLEX, Optimisation, Recipe, kspace_task, pairs_task
from mri_n2n.reconstruction import Reconstructor
from mri_n2n.run_directory import open_run

TEXTS = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"]
TENSOR = ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"]


def schema() -> dict:
    """What MONAI's specification of bundles says must be there; its own schema is on the network."""
    tensor = {"type": "object", "required": TENSOR, "properties": {"spatial_shape": {"items": {"type": "string"}}}}
    of_one = {
        side: {"type": "object", "additionalProperties": tensor, "minProperties": 1} for side in ("inputs", "outputs")
    }
    data_format = {"type": "object", "required": list(of_one), "properties": of_one}
    properties = {name: {"type": "string"} for name in (*TEXTS, "copyright", "intended_use")}
    properties |= {"required_packages_version": {"type": "object"}, "network_data_format": data_format}
    return {"type": "object", "required": list(properties), "properties": properties}


def said(start: str) -> list[str]:
    """The words of the command in docs/monai.md that begins like this, without its beginning."""
    page = (Path(__file__).parents[2] / "docs/monai.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^{re.escape(start)} (.*)$", page, re.M)
    return shlex.split(line, comments=True)


def options(words: list[str]) -> dict[str, str]:
    """--name value as keyword arguments."""
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def test_a_bundle_runs_by_monai_alone_and_gives_what_reconstruct_gives(
    cli, made_run: Callable[..., Path], tiny_recipe: Recipe, heads: Path, tmp_path: Path
) -> None:
    """Within 1e-3 of intensities up to 255: the same masks, and sums in the same order."""
    directory = made_run(tiny_recipe)
    answer = cli("export", "bundle", *said("mri-n2n export bundle"))
    assert answer.code == 0, answer.err
    source = tmp_path / "volumes"
    source.mkdir()
    volume = sorted(heads.iterdir())[0]
    image = nibabel.load(volume)
    image.header.set_xyzt_units("mm", "sec")
    turned = nibabel.affines.from_matvec(np.array([[0, 2.0, 0], [-2.0, 0, 0], [0, 0.125, 3.0]]), [5, 6, 7])
    nibabel.Nifti1Image(np.asarray(image.dataobj)[:, :40, 12:15], turned, image.header).to_filename(source / "a.nii.gz")
    command = [sys.executable, "-m", "monai.bundle", "run", *said("python -m monai.bundle run"), "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path / "bundle", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = nibabel.load(tmp_path / "reconstructed" / "a.nii.gz")
    expected = Reconstructor(open_run(directory).network(), tiny_recipe, torch.device("cpu"), simulate=True)(
        read_volume(source / "a.nii.gz")
    )
    np.testing.assert_allclose(made.get_fdata(), np.clip(expected.array, 0, 255), atol=1e-3)
    np.testing.assert_array_equal(made.affine, turned)
    assert made.header.get_xyzt_units() == ("mm", "sec")
    assert b"SIMULATED" in made.header["descrip"].item()
    assert b"not for diagnostic use" in made.header["descrip"].item()
    assert [path.name for path in (tmp_path / "reconstructed").iterdir()] == ["a.nii.gz"]


def test_a_bundle_passes_monais_verification(
    cli,
    made_run: Callable[..., Path],
    tiny_recipe: Recipe,
    heads: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_run(tiny_recipe)
    assert cli("export", "bundle", "first", "bundle").code == 0
    monkeypatch.chdir(tmp_path / "bundle")
    Path("schema.json").write_text(json.dumps(schema()))
    with pytest.warns(UserWarning, match="file integrity is NOT verified"):
        verify_metadata(**options(said("python -m monai.bundle verify_metadata")))
    Path("schema.json").unlink()
    words = options(said("python -m monai.bundle verify_net_in_out"))
    verify_net_in_out(**words, device="cpu", any=37)
    configs = tmp_path / "bundle" / "configs"
    metadata, inference = str(configs / "metadata.json"), str(configs / "inference.json")
    places = {"bundle_root": str(tmp_path / "bundle"), "dataset_dir": str(heads)}
    workflow = ConfigWorkflow(inference, metadata, logging_file=False, workflow_type="infer", **places)
    workflow.initialize()
    assert workflow.check_properties() == []
    content = json.loads((configs / "metadata.json").read_text())
    assert "Not for diagnostic use" in content["intended_use"]
    assert content["eval_metrics"] == {"validation PSNR, dB": 30.0}  # after replacement: what the bundle gives
    weights = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)
    network = open_run(tmp_path / "runs/first").network()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert str(tmp_path) not in "".join(path.read_text() for path in configs.iterdir())


def test_a_run_on_pairs_denoises(
    cli, made_run: Callable[..., Path], tiny_recipe: Recipe, heads: Path, tmp_path: Path
) -> None:
    recipe = Recipe(pairs_task(), tiny_recipe.optimisation, tiny_recipe.network)
    directory = made_run(recipe)
    assert cli("export", "bundle", directory, "bundle").code == 0
    from mri_n2n.interop.bundled import ReadVolumed, VolumeInferer

    metadata = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    assert metadata["eval_metrics"] == {"validation PSNR, dB": 20.0}
    inference = json.loads((tmp_path / "bundle/configs/inference.json").read_text())
    assert inference["inferer"]["simulate"] is False
    assert "SIMULATED" not in inference["postprocessing"]["label"]
    path = sorted(heads.iterdir())[0]
    network = open_run(directory).network()
    inputs = ReadVolumed("image")({"image": path})["image"][None]
    inputs.meta["sha256"] = [inputs.meta["sha256"]]
    made = VolumeInferer(str(tmp_path / "bundle/configs/recipe.json"), simulate=False)(inputs, network)
    expected = Reconstructor(network, recipe, torch.device("cpu"))(read_volume(path)).array
    np.testing.assert_allclose(made[0, 0], expected, atol=1e-3)


def test_what_is_there_is_refused(cli, made_run: Callable[..., Path], tiny_recipe: Recipe, tmp_path: Path) -> None:
    made_run(tiny_recipe)
    assert cli("export", "bundle", "first", "bundle").code == 0
    before = (tmp_path / "bundle/models/model.pt").stat()
    again = cli("export", "bundle", "first", "bundle")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "--overwrite" in again.err
    assert (tmp_path / "bundle/models/model.pt").stat() == before
    assert cli("export", "bundle", "first", "bundle", "--overwrite").code == 0
    (tmp_path / "bundle/notes.txt").write_text("mine")
    assert "notes.txt" in cli("export", "bundle", "first", "bundle", "--overwrite").err
    shutil.copytree(tmp_path / "bundle", tmp_path / "other", ignore=lambda *_: ["notes.txt"])
    (tmp_path / "other/configs/metadata.json").write_text("{}")
    assert "other software" in cli("export", "bundle", "first", "other", "--overwrite").err
    (tmp_path / "file").write_text("x")
    assert "is a file" in cli("export", "bundle", "first", "file").err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "file", "other", "runs"]


def test_a_full_disk_leaves_what_was_there(
    cli, made_run: Callable[..., Path], tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tiny_recipe)
    assert cli("export", "bundle", "first", "bundle").code == 0
    before = (tmp_path / "bundle/docs/README.md").stat()

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "_readme", full)
    for arguments in (("bundle", "--overwrite"), ("new",)):
        answer = cli("export", "bundle", "first", *arguments)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "No space left on device. Free space." in answer.err
    assert (tmp_path / "bundle/docs/README.md").stat() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "runs"]


@pytest.mark.usefixtures("unchecked")
def test_nothing_of_a_run_becomes_code(cli, made_run: Callable[..., Path], tiny_recipe: Recipe, tmp_path: Path) -> None:
    """MONAI evaluates text that begins with $, @ or %, and dictionaries with a _target_; a run may be a stranger's."""
    directory = made_run(tiny_recipe, name="$print('run')")
    network = directory / "network.json"
    network.write_text(json.dumps(json.loads(network.read_text()) | {"step": {"_target_": "print"}}))
    assert cli("export", "bundle", directory, "bundle").code == 0
    metadata = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    assert metadata["mri-n2n"].startswith("made by run $print('run'), step {'_target_': 'print'}")
    assert metadata["model_pt_sha256"] == sha256_of(tmp_path / "bundle/models/model.pt")
    assert "execute" in cli("export", "bundle", directory, "named", "--authors", "$print('who')").err
    recipe = (directory / "run.json").read_text()
    (directory / "run.json").write_text(recipe.replace('"padding": -0.5', '"padding": "$print()"'))
    answer = cli("export", "bundle", directory, "another")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "expected numbers" in answer.err
    assert not (tmp_path / "another").exists()


def test_what_is_not_installed_is_named(
    cli, made_run: Callable[..., Path], tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tiny_recipe)

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    answer = cli("export", "bundle", "first", "bundle")
    assert (answer.code, answer.err) == (2, "error: fire is not installed here. Run: pip install 'mri-n2n[monai]'\n")
    assert not Path("bundle").exists()


def test_runs_that_cannot_be_exported_are_one_line(cli, made_run: Callable[..., Path], tiny_recipe: Recipe) -> None:
    made_run(tiny_recipe, steps=5, name="stopped")
    made_run(Recipe(kspace_task(), Optimisation(steps=1), COMPLEX), name="raw")
    photographs = made_run(tiny_recipe, name="photographs") / "run.json"
    photographs.write_text(photographs.read_text().replace('"domain": "MRI"', '"domain": "photographs"'))
    expected = {"none": "no run", "stopped": "5 of 12 steps", "raw": "raw k-space", "photographs": "on photographs"}
    for name, part in expected.items():
        answer = cli("export", "bundle", name, "bundle")
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
        assert part in answer.err
        assert not Path("bundle").exists()
