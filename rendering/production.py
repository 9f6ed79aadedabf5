"""Frames of scenes, rendered into a store: what is missing is made, and nothing twice."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri_n2n.durable import alone, check_writable, clear, sha256_of
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar
from rendering.contact_sheet import write_contact_sheet
from rendering.frames import MANIFEST, OWN, FrameStore, Layout
from rendering.renderer import Pose, Renderer, chosen_variant, seed_of, vector
from rendering.scenes import SceneFile, find_scenes
from rendering.views import draw_views, read_views


@dataclass(frozen=True)
class FrameRequest:
    """What is asked for. size: (height, width); spp: samples per pixel, of a reference 0 for none; one seed for all."""

    views: int = 8
    replicates: int = 2
    spp: int = 8
    reference_spp: int = 256
    size: tuple[int, int] = (256, 256)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("views", 1), ("replicates", 1), ("spp", 1), ("reference_spp", 0), ("seed", 0)):
            if getattr(self, name) < least:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is at least {least}, got {getattr(self, name)}.")
        if not all(16 <= side <= 8192 for side in self.size):
            raise UsageError(f"--size is 16 to 8192 pixels a side, got {self.size[1]}x{self.size[0]}.")


def render_frames(
    place: Path,
    output: Path,
    request: FrameRequest,
    *,
    views_file: Path | None = None,
    variant: str = "auto",
    overwrite: bool = False,
) -> FrameStore:
    """Render a scene, or a folder of them, into `output`; interrupted, the same call goes on with the same bytes.

    Every render has a seed of its own, a hash of (seed, scene, view, replicate). Raises `UsageError` for scenes that
    cannot be rendered, and for an output that holds anything else.
    """
    scenes = find_scenes(place)
    if views_file is not None and len(scenes) > 1:
        raise UsageError(f"--views-file is of one scene, but {place} holds {len(scenes)}. Name one.")
    if views_file is not None:
        read_views(views_file, (0.0, 1.0, 0.0))  # before anything is rendered
    check_writable(output)
    asked = {
        "request": asdict(request) | {"size": list(request.size)},
        "scenes": [{"name": scene.name, "sha256": scene.sha256} for scene in scenes],
        "views_file": None if views_file is None else sha256_of(views_file),
        "variant": chosen_variant(variant),
    }
    renderers = _Renderers(request.size, chosen_variant(variant))
    if (output / MANIFEST).exists() and not overwrite:
        _check_same(FrameStore.open(output), asked)
    else:
        clear(output, OWN, overwrite=overwrite, dry_run=True)
        views = {}
        for scene in bar(scenes, description="looking around", unit="scene"):
            renderer = renderers.of(scene)
            if views_file is None:
                drawn = draw_views(renderer, scene.name, request.views, request.seed)
            else:
                drawn = read_views(views_file, renderer.pose.up)
            views[scene.name] = [asdict(view) for view in drawn]
        clear(output, OWN, overwrite=overwrite)
        layout = Layout(sum(map(len, views.values())), request.replicates, request.size, request.reference_spp > 0)
        FrameStore.create(output, asked | {"views": views}, layout)
    with alone(output):
        store = FrameStore.open(output)  # what another process has made until now counts
        _fill(store, scenes, request, renderers)
        write_contact_sheet(store)
    return store


class _Renderers:
    """One renderer at a time: the last one is let go before the next scene is loaded."""

    def __init__(self, size: tuple[int, int], variant: str) -> None:
        self._size, self._variant = size, variant
        self._held: tuple[str, Renderer] | None = None

    def of(self, scene: SceneFile) -> Renderer:
        if self._held is None or self._held[0] != scene.name:
            self._held = None
            gc.collect()  # a scene is part of cycles
            self._held = (scene.name, Renderer(scene.path, self._size, self._variant))
        return self._held[1]


def _check_same(store: FrameStore, asked: Mapping[str, Any]) -> None:
    kept = store.manifest
    for name, value in (asked["request"] | {key: asked[key] for key in asked if key != "request"}).items():
        there = kept["request"].get(name) if name in asked["request"] else kept.get(name)
        if there != value:
            raise UsageError(
                f"{store.directory} holds frames made otherwise ({name.replace('_', '-')}). "
                "Give the options they were made with, choose another place, or add --overwrite."
            )


def _fill(store: FrameStore, scenes: Sequence[SceneFile], request: FrameRequest, renderers: _Renderers) -> None:
    by_name = {scene.name: scene for scene in scenes}
    frames = [
        (by_name[name], view, Pose(*map(vector, (pose["origin"], pose["target"], pose["up"]))))
        for name, poses in store.manifest["views"].items()
        for view, pose in enumerate(poses)
    ]
    missing = [place for place in range(len(frames)) if place not in store.complete]
    progress = bar(
        missing, description="rendering", unit="frame", total=len(frames), initial=len(frames) - len(missing)
    )
    for place in progress:
        scene, view, pose = frames[place]
        renderer = renderers.of(scene)
        made = [
            renderer.frame(pose, request.spp, seed_of(request.seed, scene.name, view, replicate))
            for replicate in range(request.replicates)
        ]
        planes = {
            "colour": np.stack([frame.colour for frame in made]),
            "albedo": np.stack([frame.albedo for frame in made]),
            "normal": np.stack([frame.normal for frame in made]),
        }
        replaced = sum(frame.replaced for frame in made)
        if store.layout.reference:
            seed = seed_of(request.seed, scene.name, view, "reference")
            planes["reference"], gaps = renderer.colour(pose, request.reference_spp, seed)
            replaced += gaps
        store.write(place, planes, replaced)
