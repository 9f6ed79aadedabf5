"""Runs of online training: what a run remembers of its flight."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mri_n2n.errors import UsageError
from mri_n2n.recipes import Recipe
from mri_n2n.run_directory import Run, create_run
from rendering.flythrough import KEYFRAMES, Flight, camera_path
from rendering.jobs import Renderers
from rendering.recipes import RENDERINGS
from rendering.renderer import Pose, vector
from rendering.scenes import find_scenes
from rendering.views import draw_views, read_views

PARTS = ("render", "wait", "train", "denoise")


def planned_flight(
    scene: Path,
    keyframes: Path | None,
    frames: int,
    size: tuple[int, int],
    crop: int,
    samples: tuple[int, int, int],
    seed: int,
    variant: str,
) -> Flight:
    """A flight through a scene, along keyframes or in a loop through views that are drawn around its camera.

    size: (height, width); samples: per pixel of a render, of a reference, and frames from reference to reference.
    """
    found = find_scenes(scene)
    if len(found) > 1:
        raise UsageError(f"{scene} holds {len(found)} scenes, a flight goes through one. Name its scene.xml.")
    if crop > min(size):
        raise UsageError(f"crops of {crop} pixels do not fit into frames of {size[1]}×{size[0]}: lower --crop.")
    renderers = Renderers(size, variant)
    renderer = renderers.of(found[0])
    if keyframes is None:
        stops = draw_views(renderer, found[0].name, KEYFRAMES, seed)
    else:
        stops = read_views(keyframes, renderer.pose.up)
    del renderer
    renderers.let_go()
    poses = camera_path(stops, frames, closed=keyframes is None)
    return Flight(found[0], tuple(poses), size, *samples, seed)


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
    about = asdict(flight)
    del about["scene"]
    about |= {"path": str(flight.scene.path.resolve()), "scene": flight.scene.name, "variant": variant}
    return create_run(
        directory, recipe, about | {"fingerprint": flight.fingerprint}, device, RENDERINGS, overwrite=overwrite
    )


def begun_flight(run: Run, scene: Path | None) -> tuple[Flight, str]:
    """The flight of a run, and the renderer's variant. scene: where it lies now, if not where it lay."""
    data = run.data
    if "poses" not in data:
        raise UsageError(f"{run.directory} is no flight. Go on with it by: mri-n2n render train --resume.")
    found = find_scenes(scene or Path(data["path"]))[0]
    poses = tuple(Pose(*(vector(pose[name]) for name in ("origin", "target", "up"))) for pose in data["poses"])
    samples = (data[name] for name in ("spp", "reference_spp", "reference_every", "seed"))
    flight = Flight(found, poses, tuple(data["size"]), *samples)
    run.check_data(flight.fingerprint)
    return flight, data["variant"]


def mean_seconds(run: Run) -> str:
    """What a frame took on average, in words: its parts, and the whole as a person waited for it."""
    parts = {
        name: [value for _, value in run.metric(f"seconds/{name}")] for name in ("render", "wait", "train", "denoise")
    }
    mean = {name: sum(values) / max(1, len(values)) for name, values in parts.items()}
    whole = mean["wait"] + mean["train"] + mean["denoise"]
    return (
        f"Per frame {whole:.2f} s: waited {mean['wait']:.2f} s for its two renders (which took {mean['render']:.2f} s, "
        f"beside the training of the frame before), training {mean['train']:.2f} s, denoising {mean['denoise']:.2f} s."
    )
