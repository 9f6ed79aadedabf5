"""Training while the camera flies."""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_frames import made_frames
from PIL import Image

from mri_n2n.errors import UsageError
from mri_n2n.run_directory import Run, create_run, open_run
from rendering.flythrough import Flight, FlightRenderer, FlightRequest, Shot, camera_path, stored
from rendering.online import STEPS, online_recipe, train_online
from rendering.recipes import RENDERINGS
from rendering.renderer import Pose
from rendering.scenes import find_scenes

CPU = torch.device("cpu")
SCALAR = "scalar_rgb"
STOPS = [Pose((0, 1, 5), (0, 1, 0)), Pose((1, 1, 4), (0, 1, -1)), Pose((-1, 1.5, 4), (0, 0.5, 0))]
FLIGHT = ("--frames", 4, "--size", 32, "--crop", 32, "--width", 4, "--spp", 1, "--reference-spp", 2)
FLIGHT += ("--reference-every", 2, "--variant", SCALAR, "--device", "cpu")


def begun(directory: Path, frames: int, **options: object) -> Run:
    recipe = online_recipe(frames, crop=32, width=4, **options)
    return create_run(directory, recipe, {"fingerprint": "a flight"}, CPU, RENDERINGS)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return dict(run.network().state_dict())


def test_a_way_is_smooth_goes_through_its_keyframes_and_closes() -> None:
    open_way, loop = (camera_path(STOPS, 61, closed=closed) for closed in (False, True))
    assert open_way == camera_path(STOPS, 61, closed=False)
    assert len(open_way) == len(loop) == 61
    for place, stop in zip((0, 30, 60), STOPS, strict=True):
        assert open_way[place].origin == pytest.approx(stop.origin)
        assert open_way[place].target == pytest.approx(stop.target)
    assert loop[0].origin == pytest.approx(STOPS[0].origin)
    places = np.array([pose.origin for pose in [*loop, loop[0], loop[1]]])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.max() < 0.25, "the last frame is a step away from the first"
    assert np.abs(np.diff(places, n=2, axis=0)).max() < 0.05, "no corner, at the seam neither"
    with pytest.raises(UsageError, match="two keyframes"):
        camera_path(STOPS[:1], 5, closed=True)


def test_a_flight_is_the_same_whenever_it_is_flown(room: Path) -> None:
    scene = find_scenes(room)[0]
    request = FlightRequest((24, 32), 1, 4, 2, clean_spp=4, seed=1)
    flight = Flight(scene, tuple(camera_path(STOPS, 3, closed=True)), request)
    changed = replace(flight, request=replace(request, seed=2))
    whole, other = FlightRenderer(flight, SCALAR), FlightRenderer(changed, SCALAR)
    shots = [whole(frame) for frame in range(3)]
    again = FlightRenderer(flight, SCALAR)(2)
    assert np.array_equal(again.renders, shots[2].renders)
    assert not np.array_equal(other(2).renders, shots[2].renders)
    assert shots[0].renders.shape == (2, 9, 24, 32)
    assert (shots[0].renders[0] != shots[0].renders[1]).any()
    assert [shot.reference is not None for shot in shots] == [True, False, True]
    for shot in shots[::2]:
        assert shot.reference is not None
        assert (shot.reference != shot.clean).any(), "what is learnt from is not what is scored against"
    assert flight.fingerprint != changed.fingerprint


@pytest.mark.parametrize("targets", ["noisy", "clean"])
def test_each_frame_is_learnt_from_and_shown_and_the_next_one_is_made_meanwhile(tmp_path: Path, targets: str) -> None:
    store = made_frames(tmp_path / "frames", {"hall": 5})
    source = stored(store, store)
    made: list[tuple[int, bool]] = []
    seen: list[int] = []

    def told(frame: int) -> Shot:
        made.append((frame, threading.current_thread() is threading.main_thread()))
        return source(frame)

    def watch(frame: int, shot: Shot, result: np.ndarray) -> None:
        seen.append(frame)
        assert np.array_equal(shot.renders, source(frame).renders)
        assert result.shape == (3, 48, 64)
        assert result.min() >= 0

    run = begun(tmp_path / "run", 5, targets=targets)
    assert train_online(run, told, CPU, track=False, watch=watch)
    assert seen == [0, 1, 2, 3, 4]
    assert made == [(frame, False) for frame in range(5)]
    quality = run.metric("online/psnr/network")
    assert [step for step, _ in quality] == [STEPS * frame for frame in range(1, 6)]
    inputs, both = (run.metric(f"online/psnr/{name}")[-1][1] for name in ("input", "mean of both"))
    assert both > inputs
    for part in ("render", "wait", "train", "denoise"):
        assert len(run.metric(f"seconds/{part}")) == 5


def test_a_flight_that_was_stopped_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    store = made_frames(tmp_path / "frames", {"hall": 4})
    source = stored(store, store, 2)
    whole, parted = begun(tmp_path / "whole", 4), begun(tmp_path / "parted", 4)
    assert train_online(whole, source, CPU, track=False)

    class Stop(Exception):
        pass

    def stopping(frame: int, shot: Shot, result: np.ndarray) -> None:
        if frame == 2:
            raise Stop

    with pytest.raises(Stop):
        train_online(parted, source, CPU, track=False, watch=stopping, save_seconds=0.0)
    assert train_online(parted, source, CPU, track=False, resume=True)
    one, two = weights(whole), weights(parted)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.metric("online/psnr/network") == parted.metric("online/psnr/network")


def test_clean_targets_and_crops_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    bare = stored(made_frames(tmp_path / "bare", {"hall": 2}, reference=False))
    with pytest.raises(UsageError, match="no clean target"):
        train_online(begun(tmp_path / "clean", 2, targets="clean"), bare, CPU, track=False)
    small = stored(made_frames(tmp_path / "small", {"hall": 2}, size=(16, 16)))
    with pytest.raises(UsageError, match="--crop"):
        train_online(begun(tmp_path / "run", 2), small, CPU, track=False)


def test_a_scene_is_flown_through_and_filmed(room: Path, cli: Callable[..., object], tmp_path: Path) -> None:
    answer = cli("render", "flythrough", room, *FLIGHT, "--run-name", "flight")
    assert answer.code == 0, answer.err
    assert "waited" in answer.out
    run = open_run(tmp_path / "runs" / "flight", RENDERINGS)
    assert len(run.metric("online/psnr/network")) == 2
    with Image.open(run.directory / "examples" / "flythrough.webp") as video:
        assert video.size == (3 * 32 + 2 * 4, 32)
        assert video.n_frames == 2
    stops = tmp_path / "stops.json"
    stops.write_text(json.dumps([{"origin": list(stop.origin), "target": list(stop.target)} for stop in STOPS]))
    answer = cli("render", "flythrough", room, *FLIGHT, "--keyframes", stops, "--targets", "clean")
    assert answer.code == 0, answer.err
    clean = open_run(tmp_path / "runs" / "flythrough-clean-4frames-seed0", RENDERINGS)
    assert clean.data["poses"][0]["origin"] == [0, 1, 5]
    assert len(clean.metric("online/psnr/network")) == 2
    assert cli("render", "flythrough", "--resume", "runs/flight").code == 0
    answer = cli("render", "flythrough", room, *FLIGHT, "--run-name", "flight", "--overwrite")
    assert answer.code == 0, answer.err
    answer = cli("render", "train", "--resume", "runs/flight")
    assert answer.code == 2
    assert "flight" in answer.err
    room.write_text(room.read_text().replace("9, 8, 7", "9, 9, 7"))
    answer = cli("render", "flythrough", "--resume", "runs/flight")
    assert answer.code == 2
    assert "has changed" in answer.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--crop", 64), "--crop"),
        (("--frames", 0), "--frames"),
        (("--spp", 0), "--spp"),
        (("--size", "big"), "--size"),
    ],
)
def test_a_flight_that_cannot_be_is_one_line(
    room: Path, cli: Callable[..., object], tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    answer = cli("render", "flythrough", room, *FLIGHT, *options)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("error:") == 1
    assert not (tmp_path / "runs").exists()


def test_the_call_in_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "rendering.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    shown: list[int] = []

    def render(frame: int, seed: int) -> np.ndarray:
        return np.random.default_rng([frame, seed]).random((9, 64, 80), np.float32)

    monkeypatch.chdir(tmp_path)
    exec(code.replace("frames=100", "frames=2"), {"render": render, "print": lambda frame, _: shown.append(frame)})
    assert shown == [0, 1]
    assert (tmp_path / "runs" / "level-1" / "network.json").exists()
