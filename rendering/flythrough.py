"""A camera's flight through a scene: a smooth path, and what is rendered along it."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from mri_n2n.errors import UsageError
from rendering.frames import FrameStore
from rendering.radiance import Planes
from rendering.renderer import Pose, Renderer, seed_of, vector
from rendering.scenes import SceneFile

KEYFRAMES = 6  # of a loop through a scene whose owner gives none


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
    """One frame of a flight: two renders of nine planes `[2 9 h w]`, a reference if there is one, seconds it took."""

    renders: Planes
    reference: Planes | None
    seconds: float


Source = Callable[[int], Shot]
"""What gives the frames of a flight by their number: a renderer, a store, or somebody's own game."""


@dataclass(frozen=True)
class Flight:
    """What is rendered along a path. size: (height, width).

    Every `reference_every`-th frame has a reference of `reference_spp` samples per pixel.
    """

    scene: SceneFile
    poses: tuple[Pose, ...]
    size: tuple[int, int] = (512, 512)
    spp: int = 8
    reference_spp: int = 1024
    reference_every: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("spp", "reference_spp", "reference_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} is at least 1, got {getattr(self, name)}.")

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
        flight = self._flight
        if self._renderer is None:
            self._renderer = Renderer(flight.scene.path, flight.size, self._variant)
        began, pose = time.monotonic(), flight.poses[frame]
        address = (flight.seed, flight.scene.name, "flight", frame)
        both = [self._renderer.frame(pose, flight.spp, seed_of(*address, replicate)) for replicate in range(2)]
        renders = np.stack([np.concatenate([one.colour, one.albedo, one.normal]) for one in both])
        seconds, reference = time.monotonic() - began, None
        if frame % flight.reference_every == 0:
            reference, _ = self._renderer.colour(pose, flight.reference_spp, seed_of(*address, "reference"))
        return Shot(renders, reference, seconds)


def stored(store: FrameStore) -> Source:
    """The source that reads a flight which was rendered before."""
    arrays = [store.array(name) for name in ("colour", "albedo", "normal")]
    references = store.array("reference") if store.layout.reference else None

    def shot(frame: int) -> Shot:
        began = time.monotonic()
        renders = np.concatenate([array[frame, :2] for array in arrays], axis=1).astype(np.float32)
        reference = None if references is None else references[frame].astype(np.float32)
        return Shot(renders, reference, time.monotonic() - began)

    return shot
