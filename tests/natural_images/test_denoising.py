"""Denoising files, with a network whose answer is known: it returns what it is shown."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from mri_n2n.durable import alone
from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import RED30Spec, UNetSpec, save_network
from mri_n2n.recipes import Optimisation, Recipe
from mri_n2n.restoration import reach_of, restored
from mri_n2n.run_directory import Run
from natural_images.crops import Crops
from natural_images.denoising import BYTES, LOG, Denoiser, denoise_file, denoise_folder, standalone
from natural_images.image_files import BadImage, read_image, read_pixels
from natural_images.noise import Gaussian
from natural_images.recipes import PHOTOGRAPHS, noise_task

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def identity() -> Denoiser:
    network = RED30Spec(3, 3, width=2).build()
    torch.nn.init.zeros_(network.up[-1].weight)
    return Denoiser(network.eval(), 3, torch.device("cpu"), {"run": "one", "weights_sha256": "0" * 64})


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_what_a_file_holds_is_kept(identity: Denoiser, tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 4), dtype=np.uint8)
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    lossless = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(pixels).save(source, icc_profile=PROFILE, **lossless)
    denoise_file(identity, source, target)
    before, after = read_image(source), read_image(target)
    assert np.array_equal(after.pixels, before.pixels)
    assert after.alpha is not None
    assert np.array_equal(after.alpha, pixels[..., 3])
    assert after.metadata["icc-profile-data"] == before.metadata["icc-profile-data"]


def test_grey_stays_grey_and_16_bit_16_bit(identity: Denoiser, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (20, 31), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    denoise_file(identity, tmp_path / "in.png", tmp_path / "out.png")
    after = read_pixels(tmp_path / "out.png")
    assert after.shape == (20, 31, 1)
    assert np.abs(after[..., 0].astype(int) - pixels).max() <= 1  # float32


def test_a_folder_with_bad_files(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(pictures, source / "below")
    (source / "empty.png").touch()
    (source / "rubbish.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    outcome = denoise_folder(identity, source, target)
    assert (outcome.done, outcome.already) == (12, 0)
    assert {path.name for path in outcome.failures} == {"empty.png", "rubbish.jpg"}
    assert len(list((target / "below").iterdir())) == 12
    again = denoise_folder(identity, source, target)
    assert (again.done, again.already, len(again.failures)) == (0, 12, 2)


def test_an_interrupted_folder_goes_on(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    denoise_folder(identity, pictures, target)
    log = target / LOG
    lines = log.read_text().splitlines(keepends=True)
    begun, done = (json.loads(line) for line in lines[-4:-2])
    assert begun["image"] == done["image"] == "picture-010.png"
    assert "result_sha256" not in begun
    log.write_text("".join(lines[:-3]) + lines[-3][:20])  # killed between writing picture 10 and its line
    (target / "picture-011.png").unlink()
    outcome = denoise_folder(identity, pictures, target)
    assert (outcome.done, outcome.already, outcome.failures) == (2, 10, {})
    outcome = denoise_folder(identity, pictures, target)
    assert (outcome.done, outcome.already, outcome.failures) == (0, 12, {})
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_new_weights_and_new_sources_are_done_again(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(pictures, source)
    denoise_folder(identity, source, target)
    shutil.copy(source / "picture-001.png", source / "picture-000.png")
    assert denoise_folder(identity, source, target).done == 1
    other = Denoiser(identity.network, 3, identity.device, {"weights_sha256": "1" * 64})
    refused = denoise_folder(other, source, target)
    assert (refused.done, len(refused.failures)) == (0, 12)
    assert denoise_folder(other, source, target, overwrite=True).done == 12


def test_a_retouched_result_survives_a_source_that_failed(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    """That it was to be overwritten once, which failed, is no leave to overwrite it later."""
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(pictures, source)
    denoise_folder(identity, source, target)
    (target / "picture-004.png").write_text("retouched")
    content = (source / "picture-004.png").read_bytes()
    (source / "picture-004.png").write_bytes(content[:100])
    assert len(denoise_folder(identity, source, target, overwrite=True).failures) == 1
    (source / "picture-004.png").write_bytes(content)
    assert len(denoise_folder(identity, source, target).failures) == 1
    assert (target / "picture-004.png").read_text() == "retouched"
    assert denoise_folder(identity, source, target, overwrite=True).failures == {}


def test_an_image_beyond_free_memory_does_not_stop_the_others(
    identity: Denoiser, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    shutil.copytree(pictures, source)
    with Image.open(source / "picture-003.png") as small:
        small.resize((400, 300)).save(source / "large.png")
        pixels = small.width * small.height
    enough = pixels * (BYTES + 4 * reach_of(identity.network).values)
    monkeypatch.setattr("natural_images.denoising.free_memory", lambda: enough)
    outcome = denoise_folder(identity, source, tmp_path / "out")
    assert outcome.done == 12
    ((path, why),) = outcome.failures.items()
    assert path.name == "large.png"
    assert "memory" in why


@pytest.mark.parametrize("content", ["retouched", ""])
def test_a_result_that_someone_changed_is_kept(
    identity: Denoiser, pictures: Path, tmp_path: Path, content: str
) -> None:
    target = tmp_path / "out"
    denoise_folder(identity, pictures, target)
    (target / "picture-004.png").write_text(content)
    outcome = denoise_folder(identity, pictures, target)
    assert (outcome.done, outcome.already) == (0, 11)
    assert [path.name for path in outcome.failures] == ["picture-004.png"]
    assert (target / "picture-004.png").read_text() == content
    outcome = denoise_folder(identity, pictures, target, overwrite=True)
    assert (outcome.done, outcome.already) == (1, 11)


def test_one_process_at_a_time_in_a_folder(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with alone(target), pytest.raises(UsageError, match="another process is at work"):
        denoise_folder(identity, pictures, target)
    assert denoise_folder(identity, pictures, target).done == 12


def test_a_file_that_cannot_be_written_does_not_stop_the_others(
    identity: Denoiser, pictures: Path, tmp_path: Path
) -> None:
    """WebP ends at 16,383 pixels; a name may be as long as the file system takes it."""
    source = tmp_path / "in"
    shutil.copytree(pictures, source)
    Image.new("L", (16_500, 8)).save(tmp_path / "wide.png")
    (tmp_path / "wide.png").rename(source / "a-wide.webp")
    shutil.copy(pictures / "picture-000.png", source / f"{'n' * 245}.png")
    outcome = denoise_folder(identity, source, tmp_path / "out")
    assert outcome.done == 13
    assert [path.name for path in outcome.failures] == ["a-wide.webp"]
    assert not list((tmp_path / "out").glob(".partial-*"))


def test_images_of_other_types_are_named(
    identity: Denoiser, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures, tmp_path / "in")
    (tmp_path / "in" / "raw.NEF").touch()
    denoise_folder(identity, tmp_path / "in", tmp_path / "out")
    assert "1 .nef. Convert them first" in capsys.readouterr().err


def test_foreign_files_are_not_overwritten(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "picture-003.png").write_text("mine")
    outcome = denoise_folder(identity, pictures, target)
    assert [path.name for path in outcome.failures] == ["picture-003.png"]
    assert (target / "picture-003.png").read_text() == "mine"
    with pytest.raises(UsageError, match="exists"):
        denoise_file(identity, pictures / "picture-003.png", target)


@pytest.mark.parametrize("output", ["in", "in/below", "."])
def test_output_in_input(identity: Denoiser, pictures: Path, tmp_path: Path, output: str) -> None:
    shutil.copytree(pictures, tmp_path / "in")
    with pytest.raises(UsageError, match="lies in the other"):
        denoise_folder(identity, tmp_path / "in", tmp_path / output)


def test_single_files(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    source = pictures / "picture-000.png"
    with pytest.raises(UsageError, match="no image at"):
        denoise_file(identity, tmp_path / "absent.png", tmp_path / "out.png")
    with pytest.raises(UsageError, match="overwritten"):
        denoise_file(identity, source, source)
    with pytest.raises(UsageError, match="name should end"):
        denoise_file(identity, source, tmp_path / "out.xyz")
    assert denoise_file(identity, source, tmp_path) == tmp_path / source.name
    grey = Denoiser(identity.network, 1, identity.device, {})
    with pytest.raises(BadImage, match="grey"):
        denoise_file(grey, source, tmp_path / "out.png")


def test_a_network_that_has_lost_its_mind(identity: Denoiser, pictures: Path, tmp_path: Path) -> None:
    torch.nn.init.constant_(identity.network.up[-1].bias, torch.nan)
    with pytest.raises(BadImage, match="not finite"):
        denoise_file(identity, pictures / "picture-000.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_a_run_as_one_module_denoises_as_the_command_does(tmp_path: Path) -> None:
    """As a graph of torch.export, of any number of images."""
    spec = UNetSpec(3, 3, width=4)
    network = spec.build().eval()
    run = Run(tmp_path, Recipe(noise_task(Gaussian()), Optimisation(1), spec, 0, Crops(40, 3)), {}, {}, PHOTOGRAPHS)
    save_network(run.network_path, network, spec)
    made = standalone(run)
    graph = torch.export.export(made.module, (made.example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}]).module()
    images = torch.rand((3, 3, 40, 40), generator=torch.Generator().manual_seed(0)) - 0.5
    expected = torch.stack([restored(network, image, torch.device("cpu")) for image in images])
    with torch.no_grad():
        assert torch.allclose(graph(images), expected, atol=1e-5)
