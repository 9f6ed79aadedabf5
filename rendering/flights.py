"""Runs of online training: a flight is planned, and a run remembers it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mri_n2n.errors import UsageError
from mri_n2n.recipes import Recipe
from mri_n2n.run_directory import Run, create_run
from rendering.flythrough import Flight, FlightRequest, camera_path
from rendering.jobs import Renderers
from rendering.recipes import RENDERINGS
from rendering.renderer import Pose, Renderer, seed_of, vector
from rendering.scenes import SceneFile, find_scenes
from rendering.views import Reach, draw_views, fault, read_views

PARTS = ("render", "wait", "train", "denoise")
KEYFRAMES = 5  # of a loop through a scene whose owner gives none
FAR = Reach(moved=0.4, turned=0.7, nodded=0.15)
LOOPS = 20  # tried
LOOKED_AT = 24  # frames of a loop that are looked at: none may be as a drawn view may not


def planned_flight(scene: Path, keyframes: Path | None, frames: int, request: FlightRequest, variant: str) -> Flight:
    """A flight through a scene, along keyframes or in a loop through views that are drawn around its camera.

    A loop goes through nothing, and never looks at a blank wall or into the dark. Raises `UsageError` if none is found.
    """
    found = find_scenes(scene)
    if len(found) > 1:
        raise UsageError(f"{scene} holds {len(found)} scenes, a flight goes through one. Name its scene.xml.")
    renderers = Renderers(request.size, variant)
    renderer = renderers.of(found[0])
    if keyframes is None:
        poses = _loop(renderer, found[0], frames, request.seed)
    else:
        poses = camera_path(read_views(keyframes, renderer.pose.up), frames, closed=False)
    del renderer
    renderers.let_go()
    return Flight(found[0], tuple(poses), request)


def _loop(renderer: Renderer, scene: SceneFile, frames: int, seed: int) -> list[Pose]:
    for attempt in range(LOOPS):
        stops = draw_views(renderer, scene.name, KEYFRAMES, seed_of(seed, "loop", attempt), FAR)
        poses = camera_path(stops, frames, closed=True)
        if _is_clear(renderer, camera_path(stops, LOOKED_AT, closed=True)):
            return poses
    raise UsageError(f"{scene.path}: no free way around its camera was found. Give one by --keyframes.")


def _is_clear(renderer: Renderer, poses: Sequence[Pose]) -> bool:
    own = renderer.look(renderer.pose, 0)
    ways = zip(poses, [*poses[1:], poses[0]], strict=True)
    if not all(renderer.is_free(start.origin, end.origin) for start, end in ways):
        return False
    return not any(fault(renderer.look(pose, 0), own) for pose in poses)


def create_flight_run(
    directory: Path,
    recipe: Recipe[Any],
    flight: Flight,
    variant: str,
    device: torch.device,
    *,
    overwrite: bool = False,
) -> Run:
    """A new run that remembers the whole flight."""
    about = {
        "path": str(flight.scene.path.resolve()),
        "fingerprint": flight.fingerprint,
        "scene": flight.scene.name,
        "scenes": [flight.scene.sha256],
        "variant": variant,
        "request": asdict(flight.request),
        "poses": [asdict(pose) for pose in flight.poses],
    }
    return create_run(directory, recipe, about, device, RENDERINGS, overwrite=overwrite)


def begun_flight(run: Run, scene: Path | None) -> tuple[Flight, str]:
    """The flight of a run, and the renderer's variant. scene: where it lies now, if not where it lay."""
    data = run.data
    if "poses" not in data:
        raise UsageError(f"{run.directory} is no flight of `render flythrough`: go on with it by what began it.")
    found = find_scenes(scene or Path(data["path"]))[0]
    poses = tuple(Pose(*(vector(pose[name]) for name in ("origin", "target", "up"))) for pose in data["poses"])
    request = FlightRequest(**data["request"] | {"size": tuple(data["request"]["size"])})
    flight = Flight(found, poses, request)
    run.check_data(flight.fingerprint)
    return flight, data["variant"]


def mean_seconds(run: Run) -> str:
    """What a frame took on average, in words: its parts, and the whole as a person waited for it."""
    parts = {name: [value for _, value in run.metric(f"seconds/{name}")] for name in PARTS}
    mean = {name: sum(values) / max(1, len(values)) for name, values in parts.items()}
    whole = mean["wait"] + mean["train"] + mean["denoise"]
    return (
        f"Per frame {whole:.2f} s: waited {mean['wait']:.2f} s for its two renders (which took {mean['render']:.2f} s, "
        f"beside the training of the frame before), training {mean['train']:.2f} s, denoising {mean['denoise']:.2f} s."
    )
