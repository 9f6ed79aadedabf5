"""Frames by several processes: the bytes of one, whatever is stopped or dies, and nobody left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from mri_n2n.errors import INTERRUPTED, UsageError
from rendering.frames import FrameStore
from rendering.jobs import Job
from rendering.processes import next_job, rendered_by_processes
from rendering.production import FrameRequest, render_frames
from rendering.renderer import Pose
from rendering.scenes import SceneFile

SCALAR = "scalar_rgb"
REFERENCE_SPP = 1024  # so that there is time to stop them before all is done


def job(place: int, scene: str, folder: Path = Path()) -> Job:
    camera = Pose((0.0, 1.0, 5.0), (0.0, 1.0, 0.0))
    return Job(place, SceneFile(scene, folder / scene / "scene.xml", ""), camera, 1, (1, 2), None)


def at_work(parent: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def test_a_process_keeps_to_its_scene_then_takes_a_new_one_then_helps() -> None:
    left = [job(place, scene) for place, scene in enumerate(("a", "a", "b", "c", "c", "c"))]
    assert next_job(left, "b", {"a"}).place == 2
    assert next_job(left, None, {"a", "c"}).place == 2, "one that nobody has"
    assert next_job(left, "d", {"a", "b", "c"}).place == 3, "where most is left"
    assert next_job(left[:1], "b", {"a"}).place == 0
    assert next_job([], "a", set()) is None


def stopped(
    how: str, command: list[str], environment: dict[str, str], out: Path, done: int
) -> tuple[subprocess.Popen[str], list[psutil.Process], str]:
    """A rendering that was stopped while two processes were at work on it, or that ended before; and what it said."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    parent, end = psutil.Process(process.pid), time.monotonic() + 60
    children: list[psutil.Process] = []
    while process.poll() is None:
        assert time.monotonic() < end
        children = at_work(parent)
        if len(children) == 2 and (out / "complete.json").exists() and len(FrameStore.open(out).complete) > done:
            break
        time.sleep(0.005)
    with suppress(ProcessLookupError, psutil.NoSuchProcess, IndexError):
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of them
        elif how == "a process dies":
            children[0].kill()
        else:
            process.kill()
    return process, children, process.communicate(timeout=30)[1]


def test_whatever_stops_them_the_bytes_are_those_of_one_process(room: Path, tmp_path: Path) -> None:
    shutil.copytree(room.parent, tmp_path / "scenes" / "hall")
    shutil.copytree(room.parent, tmp_path / "scenes" / "room")
    request = FrameRequest(views=4, replicates=1, spp=32, reference_spp=REFERENCE_SPP, size=(32, 40))
    whole = render_frames(tmp_path / "scenes", tmp_path / "whole", request, variant=SCALAR)
    out = tmp_path / "frames"
    command = [sys.executable, "-m", "pipelines", "render", "frames", tmp_path / "scenes", out, "--processes", 2]
    command += [
        "--views",
        4,
        "--replicates",
        1,
        "--spp",
        32,
        "--reference-spp",
        REFERENCE_SPP,
        "--size",
        "40x32",
        "--variant",
        SCALAR,
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = 0
    for how in ("Ctrl-C", "a process dies", "SIGKILL"):
        for _ in range(6):  # it may have rendered all of it before it is stopped
            process, children, errors = stopped(how, [*map(str, command)], environment, out, done)
            if process.returncode != 0:
                break
            shutil.rmtree(out)
            done = 0
        assert psutil.wait_procs(children, timeout=10)[1] == [], how
        assert "Traceback" not in errors
        if how == "Ctrl-C":
            assert process.returncode == INTERRUPTED
            assert "The same command goes on" in errors
        elif how == "a process dies":
            assert process.returncode == 2
            assert "scene.xml: the process that rendered it ended (code -9)" in errors
        done = len(FrameStore.open(out).complete)
        assert done > 0
    assert done < 8, "it was stopped before it was done"
    render_frames(tmp_path / "scenes", out, request, variant=SCALAR, processes=2)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in whole.directory.iterdir()
    }


def test_what_is_wrong_with_a_scene_is_told_and_ends_all(room: Path, tmp_path: Path) -> None:
    room.with_name("broken").mkdir()
    room.with_name("broken").joinpath("scene.xml").write_text("<scene version='3.0.0'/>")
    jobs = [job(0, "broken", room.parent), job(1, ".", room.parent), job(2, ".", room.parent)]
    with pytest.raises(UsageError, match=r"broken.scene\.xml has no camera"):
        list(rendered_by_processes(jobs, 2, (16, 16), SCALAR))
    assert at_work(psutil.Process()) == []
    with pytest.raises(UsageError, match="--processes"):
        render_frames(room, tmp_path / "frames", FrameRequest(), processes=0)
