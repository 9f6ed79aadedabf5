"""Views of a scene: drawn around its own camera, so that the frames of one scene differ; or given in a file."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mri_n2n.durable import read_json
from mri_n2n.errors import UsageError
from rendering.radiance import tone_map
from rendering.renderer import Look, Pose, Renderer, Vector, seed_of, vector

TRIES = 200  # for one view

SEEN = 0.85  # of the pixels in which the scene's own camera sees something
TOO_NEAR = 0.05  # of how far the scene's own camera sees
FLAT, PLAIN = 0.98, 0.03  # a wall: normals that agree so well, and albedo that varies so little
DARK = 0.1  # of the tone-mapped brightness of the scene's own camera


@dataclass(frozen=True)
class Reach:
    """How far views are from the scene's own camera, at most.

    moved: as a share of how far that sees; turned, nodded: as a share of its field of view.
    """

    moved: float = 0.12
    turned: float = 0.4
    nodded: float = 0.15


NEAR = Reach()


def draw_views(renderer: Renderer, scene: str, number: int, seed: int, reach: Reach = NEAR) -> list[Pose]:
    """`number` views: the scene's own camera, then moves and turns of it, the same for the same seed.

    Left out is what looks from inside an object or through a wall, at a blank wall, or into the dark. Raises
    `UsageError` if the scene's own camera sees nothing, or if too few good views are found.
    """
    own = renderer.look(renderer.pose, seed_of(seed, scene, "look"))
    if not own.frame.colour.any() or not own.depth.any():
        raise UsageError(f"{renderer.path}: its camera sees only darkness or nothing. Check its light and camera.")
    sight = sight_of(own)
    views = [renderer.pose]
    while len(views) < number:
        for attempt in range(TRIES):
            generator = np.random.default_rng([seed, seed_of(scene), len(views), attempt])
            pose = _moved(renderer.pose, sight, math.radians(renderer.field_of_view), reach, generator)
            if not renderer.is_free(renderer.pose.origin, pose.origin):
                continue
            if not fault(renderer.look(pose, seed_of(seed, scene, "look")), own):
                views.append(pose)
                break
        else:
            raise UsageError(
                f"{renderer.path}: only {len(views)} good views around its camera, expected {number}. "
                "Ask for fewer by --views, or give them by --views-file."
            )
    return views


def fault(look: Look, own: Look) -> str | None:
    """Why a view is no good beside what the scene's own camera sees, or None."""
    seen = look.depth[look.depth > 0]
    if seen.size < SEEN * np.count_nonzero(own.depth):
        return "too much of nothing"
    if float(np.percentile(seen, 2)) < TOO_NEAR * sight_of(own):
        return "inside an object, or too near to one"
    agreement = float(np.linalg.norm(look.frame.normal.mean(axis=(1, 2))))
    if agreement > FLAT and float(look.frame.albedo.std(axis=(1, 2)).max()) < PLAIN:
        return "a blank wall"
    if float(tone_map(look.frame.colour).mean()) < DARK * float(tone_map(own.frame.colour).mean()):
        return "nearly black"
    return None


def sight_of(look: Look) -> float:
    """How far a view sees: the median distance."""
    return float(np.median(look.depth[look.depth > 0]))


def read_views(path: Path, up: Vector) -> list[Pose]:
    """Views from JSON: a list of {"origin": [x, y, z], "target": [x, y, z], "up": [x, y, z]}; up may be missing."""
    content = read_json(path, "file of views")
    if not isinstance(content, list) or not content:
        raise UsageError(f"{path}: expected a list of views, each with an origin and a target.")
    return [_pose(entry, place, path, up) for place, entry in enumerate(content)]


def _pose(entry: Any, place: int, path: Path, up: Vector) -> Pose:
    try:
        vectors = [[float(value) for value in entry[name]] for name in ("origin", "target")]
        vectors.append([float(value) for value in entry.get("up", up)])
    except (KeyError, TypeError, ValueError, AttributeError):
        vectors = []
    if [len(vector) for vector in vectors] != [3, 3, 3] or not np.isfinite(vectors).all():
        raise UsageError(f"{path}: view {place} has no origin and target of three numbers each.")
    origin, target, upwards = np.array(vectors)
    if (
        np.linalg.norm(np.cross(target - origin, upwards)) < 1e-6 * np.linalg.norm(target - origin)
        or (origin == target).all()
    ):
        raise UsageError(f"{path}: view {place} looks nowhere, or straight up. Mend its target or its up.")
    return Pose(vector(origin), vector(target), vector(upwards))


def _moved(pose: Pose, sight: float, field_of_view: float, reach: Reach, generator: np.random.Generator) -> Pose:
    origin, up = np.array(pose.origin), np.array(pose.up)
    forward = np.array(pose.target) - origin
    side = np.cross(forward, up)
    step = generator.normal(size=3)
    step *= reach.moved * sight * generator.uniform() ** (1 / 3) / np.linalg.norm(step)
    turn, nod = generator.uniform(-1, 1, 2) * (reach.turned, reach.nodded) * field_of_view
    forward = _rotated(_rotated(forward, side / np.linalg.norm(side), nod), up / np.linalg.norm(up), turn)
    origin += step
    return replace(pose, origin=vector(origin), target=vector(origin + forward))


def _rotated(vector: Any, axis: Any, angle: float) -> Any:
    """Rodrigues' rotation about a unit axis."""
    along = axis * np.dot(axis, vector) * (1 - math.cos(angle))
    return vector * math.cos(angle) + np.cross(axis, vector) * math.sin(angle) + along
