"""A camera's flight through a scene: a smooth path, and what is rendered along it."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from mri_n2n.errors import UsageError
from rendering.frames import PLANES, FrameStore
from rendering.radiance import Planes
from rendering.renderer import Pose, Renderer, seeds_of, vector
from rendering.scenes import SceneFile


def camera_path(keyframes: Sequence[Pose], frames: int, *, closed: bool) -> list[Pose]:
    """`frames` poses along a cubic spline through the keyframes, evenly in time; a closed path ends before its start.

    Raises `UsageError` for fewer than two keyframes.
    """
    if len(keyframes) < 2:
        raise UsageError(f"a flight needs two keyframes at least, got {len(keyframes)}. Add some.")
    stops = np.array([(pose.origin, pose.target, pose.up) for pose in keyframes])
    if closed:
        stops = np.concatenate([stops, stops[:1]])
    path = CubicSpline(np.linspace(0, 1, len(stops)), stops, bc_type="periodic" if closed else "natural")
    times = np.linspace(0, 1, frames, endpoint=not closed)
    return [Pose(*map(vector, places)) for places in path(times)]


@dataclass(frozen=True)
class Shot:
    """One frame of a flight: two renders of nine planes `[2 9 h w]`, and the seconds that they took.

    reference: what results are scored against, if anything; clean: the target of clean targets, another render.
    """

    renders: Planes
    seconds: float
    reference: Planes | None = None
    clean: Planes | None = None


Source = Callable[[int], Shot]
"""What gives the frames of a flight by their number: a renderer, a store, or somebody's own game."""


@dataclass(frozen=True)
class FlightRequest:
    """What is rendered along a path. size: (height, width); spp, reference_spp, clean_spp: samples per pixel.

    Every `reference_every`-th frame has a reference; with clean_spp every frame a clean target.
    """

    size: tuple[int, int] = (512, 512)
    spp: int = 8
    reference_spp: int = 1024
    reference_every: int = 25
    clean_spp: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("spp", "reference_spp", "reference_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} is at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Flight:
    """A scene, the way of a camera through it, and what is rendered along it."""

    scene: SceneFile
    poses: tuple[Pose, ...]
    request: FlightRequest

    @property
    def fingerprint(self) -> str:
        """What decides every pixel, as a hash."""
        about = asdict(self) | {"scene": [self.scene.name, self.scene.sha256]}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class FlightRenderer:
    """The source that renders a flight. It loads the scene when first called, and stays in the thread that called."""

    def __init__(self, flight: Flight, variant: str) -> None:
        self._flight, self._variant = flight, variant
        self._renderer: Renderer | None = None

    def __call__(self, frame: int) -> Shot:
        """Render a frame: its noise depends on the flight's seed, the scene, and the frame's number alone."""
        request = self._flight.request
        if self._renderer is None:
            self._renderer = Renderer(self._flight.scene.path, request.size, self._variant)
        renderer, pose = self._renderer, self._flight.poses[frame]
        *seeds, to_score, to_learn = seeds_of(4, request.seed, self._flight.scene.name, "flight", frame)
        began = time.monotonic()
        both = [renderer.frame(pose, request.spp, seed) for seed in seeds]
        renders = np.stack([np.concatenate([one.colour, one.albedo, one.normal]) for one in both])
        seconds, reference, clean = time.monotonic() - began, None, None
        if frame % request.reference_every == 0:
            reference, _ = renderer.colour(pose, request.reference_spp, to_score)
        if request.clean_spp:
            clean, _ = renderer.colour(pose, request.clean_spp, to_learn)
        return Shot(renders, seconds, reference, clean)


def stored(store: FrameStore, references: FrameStore | None = None, every: int = 1) -> Source:
    """The source that reads a flight which was rendered before, with the store's references as clean targets.

    references: another store, of every `every`-th frame, whose references are scored against.
    """
    arrays = [store.array(name) for name in PLANES]
    clean = store.array("reference") if store.layout.reference else None
    scored = None if references is None else references.array("reference")

    def shot(frame: int) -> Shot:
        began = time.monotonic()
        renders = np.concatenate([array[frame, :2] for array in arrays], axis=1).astype(np.float32)
        seconds, rest = time.monotonic() - began, frame % every
        reference = None if scored is None or rest else scored[frame // every].astype(np.float32)
        return Shot(renders, seconds, reference, None if clean is None else clean[frame].astype(np.float32))

    return shot
