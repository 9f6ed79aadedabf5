"""From a scene's file to frames on disk: complete or absent, and the same bytes however often it was stopped."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mri_n2n.errors import UsageError
from rendering.contact_sheet import write_contact_sheet
from rendering.frames import FrameStore, Layout
from rendering.production import OWN, FrameRequest, render_frames
from rendering.renderer import Frame, Look, Renderer
from rendering.scenes import find_scenes
from rendering.views import draw_views, fault, read_views

SCALAR = "scalar_rgb"
SMALL = FrameRequest(views=3, replicates=2, spp=1, reference_spp=4, size=(24, 32), seed=5)
OPTIONS = ("--views", 3, "--spp", 1, "--reference-spp", 4, "--size", "32x24", "--seed", 5, "--variant", SCALAR)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_scene_becomes_frames_and_a_second_call_changes_nothing(
    room: Path, cli: Callable[..., object], tmp_path: Path
) -> None:
    out = tmp_path / "frames"
    answer = cli("render", "frames", room, out, *OPTIONS)
    assert answer.code == 0, answer.err
    assert "3 frames of 1 scenes, 2 renders each (32×24, 1 samples per pixel)" in answer.out
    assert "contact.png" in answer.out
    store = FrameStore.open(out)
    assert sorted(store.complete) == [0, 1, 2]
    colour, albedo, normal, clean = (store.array(name) for name in ("colour", "albedo", "normal", "reference"))
    assert colour.shape == albedo.shape == normal.shape == (3, 2, 3, 24, 32)
    assert clean.shape == (3, 3, 24, 32)
    assert colour.dtype == clean.dtype == np.float16
    assert (colour[:, 0] != colour[:, 1]).any(axis=(1, 2, 3)).all(), "replicates are independent"
    assert albedo.min() >= 0
    assert albedo.max() <= 1
    assert np.corrcoef(colour.astype(float).mean(axis=1).ravel(), clean.astype(float).ravel())[0, 1] > 0.5
    views = [tuple(view["origin"]) for view in store.manifest["views"]["room"]]
    assert len(set(views)) == 3
    assert views[0] == (0.0, 1.0, 5.0)
    with Image.open(out / "contact.png") as sheet:
        assert sheet.size == (4 * 36, 3 * 28)
    before = contents(out)
    assert cli("render", "frames", room, out, *OPTIONS).code == 0
    assert contents(out) == before


def test_another_request_or_scene_is_refused_before_anything_is_touched(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    request = FrameRequest(views=1, replicates=1, spp=1, reference_spp=0, size=(16, 16))
    assert "reference" not in render_frames(room, out, request, variant=SCALAR).layout.arrays()
    before = contents(out)
    with pytest.raises(UsageError, match="spp"):
        render_frames(room, out, FrameRequest(1, 1, 2, 0, (16, 16)), variant=SCALAR)
    Image.new("RGB", (8, 8)).save(room.parent / "board.png")
    with pytest.raises(UsageError, match="scenes"):
        render_frames(room, out, request, variant=SCALAR)
    assert contents(out) == before
    assert render_frames(room, out, request, variant=SCALAR, overwrite=True).complete
    assert contents(out)["colour.npy"] != before["colour.npy"]
    (out / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"mine\.txt"):
        render_frames(room, out, request, variant=SCALAR, overwrite=True)


@pytest.mark.parametrize("when", ["before the record", "killed"])
def test_a_rendering_that_was_stopped_goes_on_with_the_same_bytes(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    render_frames(room, whole, SMALL, variant=SCALAR)
    if when == "killed":
        command = [sys.executable, "-m", "pipelines", "render", "frames", room, stopped, *OPTIONS]
        slow = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen([*map(str, command)], env=slow, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not (stopped / "complete.json").exists() or not FrameStore.open(stopped).complete:
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    else:
        import rendering.frames as module

        written = module.write_json

        def stop(path: Path, content: object) -> None:
            if path.name == "complete.json" and len(content) == 2:
                raise KeyboardInterrupt
            written(path, content)

        monkeypatch.setattr(module, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            render_frames(room, stopped, SMALL, variant=SCALAR)
        monkeypatch.undo()
        assert sorted(FrameStore.open(stopped).complete) == [0]
    store = render_frames(room, stopped, SMALL, variant=SCALAR)
    assert sorted(store.complete) == [0, 1, 2]
    assert contents(stopped) == contents(whole)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UsageError, match="Free space"):
        FrameStore.create(tmp_path / "store", {}, Layout(2, 2, (8, 8), reference=True))
    assert list((tmp_path / "store").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        sys.platform != "linux"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], stderr=subprocess.DEVNULL
        ).returncode
    ):
        pytest.skip("needs to mount a small file system, as root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_really_full_leaves_frames_complete_or_absent(
    small_disk: Path, room: Path, cli: Callable[..., object]
) -> None:
    out = small_disk / "frames"
    large, small = ("--views", 2, "--size", 256), ("--views", 2, "--size", 64)
    rest = ("--spp", 1, "--reference-spp", 0, "--variant", SCALAR)
    answer = cli("render", "frames", room, out, *large, *rest)
    assert answer.code == 2
    assert answer.err.strip().splitlines()[-1].endswith("No space left on device. Free space.")
    assert list(out.iterdir()) == []
    ballast = small_disk / "ballast"
    store = FrameStore.create(out, {"views": {}}, Layout(3, 2, (64, 64), reference=False))
    planes = {name: np.ones((2, 3, 64, 64), np.float32) for name in ("colour", "albedo", "normal")}
    store.write(0, planes, replaced=0)
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(UsageError, match=r"complete\.json: No space left on device\. Free space"):
        store.write(1, planes, replaced=0)
    assert sorted(FrameStore.open(out).complete) == [0]
    assert not list(out.glob(".partial-*"))
    ballast.unlink()
    FrameStore.open(out).write(1, planes, replaced=0)
    assert sorted(FrameStore.open(out).complete) == [0, 1]
    assert cli("render", "frames", room, out, *small, *rest, "--overwrite").code == 0


@pytest.mark.parametrize("killed_while", ["manifest.json", "colour.npy", "complete.json"])
def test_a_store_whose_making_was_killed_is_made_by_the_same_command(
    room: Path, tmp_path: Path, killed_while: str
) -> None:
    out = tmp_path / "frames"
    whole = render_frames(room, tmp_path / "whole", SMALL, variant=SCALAR)
    out.mkdir()
    (out / f".partial-0123-{killed_while}").write_text("half of it")
    if killed_while != "manifest.json":
        shutil.copy(whole.directory / "manifest.json", out)
        (out / "colour.npy").write_bytes(b"the begin")
    render_frames(room, out, SMALL, variant=SCALAR)
    assert contents(out) == contents(whole.directory)


def test_a_frame_counts_what_was_clamped_and_damage_is_told(tmp_path: Path) -> None:
    store = FrameStore.create(tmp_path, {"views": {}}, Layout(2, 1, (8, 8), reference=False))
    planes = {name: np.zeros((1, 3, 8, 8), np.float32) for name in ("colour", "albedo", "normal")}
    planes["colour"][0, :, 0, 0] = 1e6
    store.write(1, planes, replaced=4)
    opened = FrameStore.open(tmp_path)
    assert opened.complete == {1: {"clamped": 3, "replaced": 4}}
    assert opened.array("colour")[1, 0, 0, 0, 0] == 65504
    assert not opened.array("colour")[0].any()
    write_contact_sheet(opened)
    (tmp_path / "colour.npy").write_bytes((tmp_path / "colour.npy").read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"colour\.npy"):
        FrameStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="no store"):
        FrameStore.open(tmp_path)


def test_views_are_the_same_for_the_same_seed_and_do_not_depend_on_their_number(room: Path) -> None:
    renderer = Renderer(room, (24, 24), SCALAR)
    three, four, other = (draw_views(renderer, "room", n, seed) for n, seed in ((3, 0), (4, 0), (3, 1)))
    assert four[:3] == three
    assert other[1:] != three[1:]
    assert all(renderer.is_free(renderer.pose.origin, view.origin) for view in four)
    assert not renderer.is_free((0, 1, 5), (0, 1, -3)), "through the wall"


def test_poor_views_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    normal = generator.normal(size=(3, 8, 8))
    normal = (normal / np.linalg.norm(normal, axis=0)).astype(np.float32)
    frame = Frame(np.ones((3, 8, 8), np.float32), generator.random((3, 8, 8), np.float32), normal, 0)
    good = Look(frame, np.full((8, 8), 4, np.float32))
    flat = np.zeros_like(normal) + np.array([0, 0, 1], np.float32)[:, None, None]
    assert fault(good, good) is None
    assert fault(Look(frame, good.depth * 0.01), good) == "inside an object, or too near to one"
    assert fault(Look(frame, good.depth * (np.arange(8) > 2)), good) == "too much of nothing"
    assert fault(Look(Frame(frame.colour * 1e-4, frame.albedo, normal, 0), good.depth), good) == "nearly black"
    assert fault(Look(Frame(frame.colour, frame.albedo * 0.01, flat, 0), good.depth), good) == "a blank wall"
    assert fault(Look(Frame(frame.colour, frame.albedo, flat, 0), good.depth), good) is None, "a picture on a wall"


def test_a_dark_scene_and_views_from_a_file(room: Path, cli: Callable[..., object], tmp_path: Path) -> None:
    views, out = tmp_path / "views.json", tmp_path / "frames"
    views.write_text(json.dumps([{"origin": [0, 1, 4], "target": [0, 1, 0]}]))
    answer = cli("render", "frames", room, out, *OPTIONS, "--views-file", views)
    assert answer.code == 0, answer.err
    assert FrameStore.open(out).manifest["views"]["room"] == [
        {"origin": [0, 1, 4], "target": [0, 1, 0], "up": pytest.approx([0, 1, 0], abs=0.05)}
    ]
    for bad in ("[]", '[{"origin": [0, 1, 4]}]', '[{"origin": [0, 1], "target": [0, 1, 0]}]', "{", "[3]"):
        views.write_text(bad)
        with pytest.raises(UsageError, match=r"views\.json"):
            read_views(views, (0, 1, 0))
    views.write_text('[{"origin": [0, 1, 0], "target": [0, 4, 0]}]')
    with pytest.raises(UsageError, match="straight up"):
        read_views(views, (0, 1, 0))
    room.write_text(room.read_text().replace("9, 8, 7", "0, 0, 0"))
    answer = cli("render", "frames", room, tmp_path / "dark", *OPTIONS)
    assert answer.code == 2
    assert "darkness" in answer.err
    assert answer.err.count("error:") == 1
    assert not (tmp_path / "dark").exists()


def test_scenes_are_found_by_folder_and_bad_requests_refused(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room.parent, tmp_path / "other" / "hall")
    assert [scene.name for scene in find_scenes(tmp_path)] == ["other/hall", "room"]
    assert find_scenes(room)[0].name == "room"
    assert len({scene.sha256 for scene in find_scenes(tmp_path)}) == 1
    board = room.parent / "board.png"
    room.write_text(room.read_text().replace("board.png", str(board)))  # absolute
    before = find_scenes(room)[0].sha256
    board.write_bytes(board.read_bytes() + b"changed")
    assert find_scenes(room)[0].sha256 != before
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=str(place)):
            find_scenes(place)
    for wrong in ({"views": 0}, {"spp": 0}, {"reference_spp": -1}, {"size": (4, 64)}, {"replicates": 0}):
        with pytest.raises(UsageError, match="--"):
            FrameRequest(**wrong)


def test_the_slow_variant_is_told_of_where_nobody_chose_it(
    room: Path, cli: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import rendering.renderer as module

    monkeypatch.setattr(module, "_renders", lambda variant: variant == SCALAR)
    module.chosen_variant.cache_clear()
    small = ("--views", 1, "--spp", 1, "--reference-spp", 0, "--size", 16)
    assert "libllvm19" in cli("render", "frames", room, "told", *small).err
    assert "libllvm19" not in cli("render", "frames", room, "chosen", *small, "--variant", SCALAR).err
    module.chosen_variant.cache_clear()


def test_where_mitsuba_is_missing_it_is_said_how_to_get_it(
    room: Path, cli: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("rendering.") and name != "rendering.cli"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    answer = cli("render", "frames", room, "out")
    assert answer.code == 2
    assert "pip install 'mri-n2n[rendering]'" in answer.err


@pytest.mark.parametrize("name", ["cornell-box", "staircase2", "veach-ajar"])
def test_real_scenes_become_frames(shared_scenes: Path, tmp_path: Path, name: str) -> None:
    request = FrameRequest(views=3, replicates=2, spp=1, reference_spp=0, size=(24, 24))
    store = render_frames(shared_scenes / name / "scene.xml", tmp_path / "frames", request, variant=SCALAR)
    assert sorted(path.name for path in store.directory.iterdir()) == sorted(set(OWN) - {"reference.npy"})
    assert store.counted("replaced") == 0
    assert store.array("colour").max() > 0
    assert all(store.array("albedo")[view].std() > 0.05 for view in range(3))
