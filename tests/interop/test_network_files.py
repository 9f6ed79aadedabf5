import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from mri_n2n.networks.spec import RED30Spec
from mri_n2n.recipes import COMPLEX, Optimisation, Recipe, kspace_task
from mri_n2n.run_directory import open_run


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) - 0.5


@pytest.mark.usefixtures("unchecked")
def test_torch_export_gives_the_same_numbers_at_any_size(cli, made_run: Callable[..., Path], tmp_path: Path) -> None:
    """A complex run's, whose network has two channels; padded as it is said, sizes that do not divide by 32, too."""
    directory = made_run(Recipe(kspace_task(), Optimisation(steps=1), replace(COMPLEX, width=6)))
    answer = cli("export", "torch", "first", "network.pt2")
    assert answer.code == 0, answer.err
    assert "multiples of 32" in answer.out
    assert answer.err == ""
    about = {"mri-n2n.json": ""}
    loaded = torch.export.load(tmp_path / "network.pt2", extra_files=about).module()
    assert "Not for diagnostic use" in json.loads(about["mri-n2n.json"])["intended_use"]
    network = open_run(directory).network()
    with torch.inference_mode():
        for shape in ((1, 2, 64, 64), (3, 2, 96, 128)):
            torch.testing.assert_close(loaded(images(*shape)), network(images(*shape)), rtol=0, atol=1e-5)
        odd = images(1, 2, 61, 70)
        padded = pad(odd, (0, -70 % 32, 0, -61 % 32), value=0.0)
        torch.testing.assert_close(loaded(padded)[..., :61, :70], network(odd), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_onnx_gives_the_same_numbers(cli, made_run: Callable[..., Path], tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Within 1e-4 of outputs around 1: the runtime sums in another order."""
    directory = made_run(tiny_recipe)
    answer = cli("export", "onnx", "first", "network.onnx")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    onnx.checker.check_model(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    network = open_run(directory).network()
    for shape in ((1, 1, 64, 64), (2, 1, 128, 96)):
        (made,) = session.run(None, {"image": images(*shape).numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(made), network(images(*shape)), rtol=0, atol=1e-4)
    about = json.loads(session.get_modelmeta().custom_metadata_map["mri-n2n"])
    assert about["weights_sha256"] == open_run(directory).identity()["weights_sha256"]


@pytest.mark.usefixtures("unchecked")
def test_the_other_network_takes_any_size(
    cli, made_run: Callable[..., Path], tiny_recipe: Recipe, tmp_path: Path
) -> None:
    directory = made_run(replace(tiny_recipe, network=RED30Spec(1, 1, width=2)))
    assert cli("export", "torch", directory, "network.pt2").code == 0
    with torch.inference_mode():
        made = torch.export.load(tmp_path / "network.pt2").module()(images(1, 1, 33, 20))
        torch.testing.assert_close(made, open_run(directory).network()(images(1, 1, 33, 20)), rtol=0, atol=1e-5)


def test_a_file_is_whole_or_absent(cli, made_run: Callable[..., Path], tiny_recipe: Recipe, tmp_path: Path) -> None:
    made_run(tiny_recipe)
    made_run(tiny_recipe, steps=3, name="stopped")
    (tmp_path / "there.onnx").write_text("mine")
    lines = {
        ("torch", "first", "network.onnx"): "should end in .pt2",
        ("onnx", "first", "network.pt2"): "should end in .onnx",
        ("onnx", "first", "there.onnx"): "--overwrite",
        ("onnx", "first", "there.onnx/network.onnx"): "cannot write",
        ("torch", "stopped", "network.pt2"): "3 of 12 steps",
        ("torch", "none", "network.pt2"): "no run at none",
    }
    for arguments, part in lines.items():
        answer = cli("export", *arguments)
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
        assert part in answer.err
    assert (tmp_path / "there.onnx").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "there.onnx"]
