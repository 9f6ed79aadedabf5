"""Renders denoised by a trained network: files of OpenEXR in and out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made_frames import made_frames
from PIL import Image

from mri_n2n.restoration import restored
from mri_n2n.run_directory import Run
from rendering.denoising import Denoiser, standalone
from rendering.exchange import export_frames
from rendering.exr import read_exr, write_exr
from rendering.radiance import tone_map
from rendering.recipes import rendering_recipe, rendering_task
from rendering.tasks import Encoding
from rendering.training import create_frames_run, train_on_frames

CPU = torch.device("cpu")


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """A run of a few steps under runs/short, on the frames in frames/."""
    store = made_frames(tmp_path / "frames", {"hall": 3})
    recipe = rendering_recipe(rendering_task(), 4, crop=32, batch_size=2, width=4)
    run = create_frames_run(tmp_path / "runs" / "short", recipe, store, CPU)
    assert train_on_frames(run, store, CPU, track=False)
    return run


def denoiser_of(run: Run) -> Denoiser:
    return Denoiser(run.network(), Encoding(), CPU)


def test_an_image_is_denoised_to_radiance_and_a_picture(
    trained: Run, cli: Callable[..., object], tmp_path: Path
) -> None:
    export_frames(tmp_path / "frames", tmp_path / "images")
    source = tmp_path / "images" / "hall" / "view-001-0.exr"
    answer = cli("render", "denoise", "short", source, "out.exr", "--device", "cpu")
    assert answer.code == 0, answer.err
    layers, result = read_exr(source), read_exr(tmp_path / "out.exr")
    expected = denoiser_of(trained)(layers.colour, layers.albedo, layers.normal)
    assert np.array_equal(result.colour, expected.astype(np.float16))
    assert expected.shape == (3, 48, 64)
    with Image.open(tmp_path / "out.png") as picture:
        assert np.abs(np.asarray(picture) / 255.0 - np.moveaxis(tone_map(expected), 0, -1)).max() < 0.6 / 255
    assert "clamped" not in answer.err
    write_exr(
        tmp_path / "bright.exr", {"colour": layers.colour * 1e9, "albedo": layers.albedo, "normal": layers.normal}
    )
    answer = cli("render", "denoise", "short", "bright.exr", "again.exr", "--device", "cpu")
    assert answer.code == 0
    assert "values clamped to float16's range" in answer.err
    (tmp_path / "mine.png").touch()
    answer = cli("render", "denoise", "short", source, "mine.exr")
    assert answer.code == 2
    assert "mine.png exists" in answer.err
    about = json.loads((tmp_path / "out.exr.json").read_text())
    assert about["weights_sha256"] == trained.identity()["weights_sha256"]


def test_a_folder_is_gone_through_and_gone_on_with(trained: Run, cli: Callable[..., object], tmp_path: Path) -> None:
    export_frames(tmp_path / "frames", tmp_path / "images")
    hall = tmp_path / "images" / "hall"
    write_exr(hall / "bare.exr", {"colour": np.ones((3, 8, 8), np.float32)})
    (hall / "rubbish.exr").write_bytes(b"rubbish")
    answer = cli("render", "denoise", "short", tmp_path / "images", "out", "--device", "cpu")
    assert answer.code == 2
    assert "bare.exr has no albedo and normal" in answer.err
    assert "rubbish.exr" in answer.err
    assert "2 of 8 images could not be used" in answer.err
    made = sorted(path.name for path in (tmp_path / "out" / "hall").glob("*.exr"))
    assert made == [f"view-{view:03}-{replicate}.exr" for view in range(3) for replicate in range(2)]
    assert len(list((tmp_path / "out" / "hall").glob("*.png"))) == 6
    (hall / "bare.exr").unlink()
    (hall / "rubbish.exr").unlink()
    (tmp_path / "out" / "hall" / "view-002-1.exr").unlink()
    answer = cli("render", "denoise", "short", tmp_path / "images", "out", "--device", "cpu")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("1 images denoised")
    assert "3 references" in answer.err


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nowhere.exr", "out.exr", "no image at"),
        ("one.exr", "out.png", "should end in .exr"),
        ("one.exr", "one.exr", "overwritten by its own output"),
        ("empty", "out", "no OpenEXR image"),
        ("text.txt", "out.exr", "no OpenEXR image"),
    ],
)
def test_what_cannot_be_denoised_is_one_line(
    trained: Run, cli: Callable[..., object], tmp_path: Path, source: str, target: str, said: str
) -> None:
    planes = np.ones((3, 40, 40), np.float32)
    write_exr(tmp_path / "one.exr", {"colour": planes, "albedo": planes, "normal": planes})
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no image")
    answer = cli("render", "denoise", "short", source, target, "--device", "cpu")
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("error:") == 1
    assert not (tmp_path / "out.exr").exists()


def test_brighter_renders_are_denoised_alike_and_sizes_and_tiles_do_not_matter(trained: Run) -> None:
    generator = np.random.default_rng(0)
    colour, albedo = generator.gamma(0.5, 2, (3, 37, 51)), generator.random((3, 37, 51))
    normal = np.zeros((3, 37, 51))
    denoise = denoiser_of(trained)
    once, eightfold = denoise(colour, albedo, normal), denoise(8 * colour, albedo, normal)
    assert once.shape == (3, 37, 51)
    assert eightfold == pytest.approx(8 * once, rel=1e-3, abs=1e-4)
    encoding = Encoding()
    render = torch.from_numpy(np.concatenate([colour, albedo, normal]).astype(np.float32))[None]
    render = torch.nn.functional.pad(render, (0, 500, 0, 0), mode="replicate")
    seen = encoding.encoded(render, encoding.exposure(render))[0]
    whole = restored(trained.network(), seen, CPU)
    tiled = restored(trained.network(), seen, CPU, tile=64, most_values=1)
    assert torch.allclose(whole, tiled, atol=1e-5)


def test_who_has_frames_needs_no_renderer() -> None:
    """Training and denoising work where Mitsuba is not installed."""
    code = "import sys; sys.modules['mitsuba'] = None; import rendering.training, rendering.report"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}, rendering.denoised_files"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_run_as_one_module_denoises_as_the_command_does(trained: Run) -> None:
    """As a graph of torch.export, of any number of renders, each on its own exposure."""
    made = standalone(trained)
    graph = torch.export.export(made.module, (made.example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}]).module()
    renders = torch.rand((3, 9, 32, 32), generator=torch.Generator().manual_seed(0))
    renders[1, :3] *= 20
    denoise = denoiser_of(trained)
    expected = [denoise(*(part.numpy() for part in render.split(3))) for render in renders]
    with torch.no_grad():
        assert np.allclose(graph(renders).numpy(), np.stack(expected), rtol=1e-4, atol=1e-5)
