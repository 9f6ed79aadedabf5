"""A frame as a job: all that is needed to render it, by whichever process, with the same bytes."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rendering.frames import PLANES
from rendering.radiance import Planes
from rendering.renderer import Pose, Renderer
from rendering.scenes import SceneFile


@dataclass(frozen=True)
class Job:
    """A frame to render. place: in the store; seeds: one for each replicate; reference: (samples, seed) of one."""

    place: int
    scene: SceneFile
    pose: Pose
    spp: int
    seeds: tuple[int, ...]
    reference: tuple[int, int] | None


@dataclass(frozen=True)
class Rendered:
    """What became of a job: the arrays that a store keeps of a frame, and how many pixels were replaced by 0."""

    place: int
    planes: Mapping[str, Planes]
    replaced: int


class Renderers:
    """One renderer at a time: the last one is let go before the next scene is loaded."""

    def __init__(self, size: tuple[int, int], variant: str) -> None:
        self._size, self._variant = size, variant
        self._held: tuple[str, Renderer] | None = None

    def of(self, scene: SceneFile) -> Renderer:
        """The scene's, loaded unless it was the last one asked for."""
        if self._held is None or self._held[0] != scene.name:
            self.let_go()
            self._held = (scene.name, Renderer(scene.path, self._size, self._variant))
        return self._held[1]

    def let_go(self) -> None:
        """Free the memory that a scene takes."""
        self._held = None
        gc.collect()  # a scene is part of cycles

    def rendered(self, job: Job) -> Rendered:
        """Do a job. Raises `UsageError` if its scene cannot be rendered."""
        renderer = self.of(job.scene)
        made = [renderer.frame(job.pose, job.spp, seed) for seed in job.seeds]
        planes = {name: np.stack([getattr(frame, name) for frame in made]) for name in PLANES}
        replaced = sum(frame.replaced for frame in made)
        if job.reference is not None:
            planes["reference"], gaps = renderer.colour(job.pose, *job.reference)
            replaced += gaps
        return Rendered(job.place, planes, replaced)
