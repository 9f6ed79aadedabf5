"""A path tracer, Mitsuba 3, behind one function: a camera's pose, samples per pixel and a seed give a frame."""

import hashlib
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mri_n2n.child_process import signals_held
from mri_n2n.errors import UsageError
from rendering.radiance import Planes

with signals_held():  # Mitsuba takes Ctrl-C while it is loaded for a broken installation
    import drjit as dr
    import mitsuba as mi

Vector = tuple[float, float, float]

VARIANTS = ("cuda_ad_rgb", "llvm_ad_rgb", "scalar_rgb")  # the fastest first
PATIENCE = 120.0  # seconds in which a variant has rendered something tiny, or is given up
AT_ONCE = 64  # samples per pixel of one pass: memory stays small, and Ctrl-C is heard between passes
LOOK, LOOK_SPP = 40, 16  # the longer side in pixels, and samples per pixel
PROBE = """
import sys
import mitsuba as mi
import numpy as np
mi.set_variant(sys.argv[1])
scene = mi.load_dict({
    "type": "scene", "integrator": {"type": "path"},
    "light": {"type": "constant"}, "ball": {"type": "sphere", "center": [0, 0, 9]},
    "sensor": {"type": "perspective", "film": {"type": "hdrfilm", "width": 4, "height": 4}},
})
assert np.array(mi.render(scene, spp=1)).mean() > 0
"""


def vector(values: Any) -> Vector:
    """Three numbers of any array. Raises `ValueError` for others, or for what is not finite."""
    first, second, third = (float(value) for value in values)
    if not all(map(math.isfinite, (first, second, third))):
        raise ValueError("a point or direction is not of finite numbers")
    return first, second, third


@dataclass(frozen=True)
class Pose:
    """Where a camera is, what it looks at, and what is up; in the scene's units."""

    origin: Vector
    target: Vector
    up: Vector = (0.0, 1.0, 0.0)


def axes(pose: Pose) -> Planes:
    """A camera's axes in the world's, as the rows of a rotation: to the right of the image, up, and backwards."""
    backward = np.subtract(pose.origin, pose.target)
    backward = backward / np.linalg.norm(backward)
    right = np.cross(pose.up, backward)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(backward, right), backward])


@dataclass(frozen=True)
class Frame:
    """A rendered view: linear radiance, albedo in [0, 1] and shading normals in [-1, 1], each `[3 h w]`, float32.

    Normals face the camera, in its axes: x to the right of the image, y up, z towards the camera.
    replaced: pixels of the three at which samples were no finite numbers and are left out (0 if all were).
    """

    colour: Planes
    albedo: Planes
    normal: Planes
    replaced: int


@dataclass(frozen=True)
class Look:
    """A coarse frame to judge a view by. depth: distance to what is seen, `[h w]`, 0 where there is nothing."""

    frame: Frame
    depth: Planes


@cache
def chosen_variant(wanted: str = "auto") -> str:
    """The first of Mitsuba's variants that renders here, or the one that is wanted. Raises `UsageError` if none does.

    Tried in a process of its own: with some versions of LLVM the first rendering aborts the process.
    """
    if wanted != "auto" and wanted not in VARIANTS:
        raise UsageError(f"--variant is auto, {', '.join(VARIANTS)}; got {wanted}.")
    for variant in VARIANTS if wanted == "auto" else (wanted,):
        if _renders(variant):
            return variant
    raise UsageError(f"Mitsuba's {wanted} variant does not render here. Choose another --variant, or auto.")


def _renders(variant: str) -> bool:
    try:
        command = [sys.executable, "-c", PROBE, variant]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def seed_of(*address: object) -> int:
    """A seed of 32 bits for one rendering, the same for the same address: (seed, scene, view, replicate)."""
    digest = hashlib.blake2b("/".join(map(str, address)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def use_threads(number: int) -> None:
    """Have the renderers of this process use so many threads; all cores unless told."""
    dr.set_thread_count(number)


def seeds_of(number: int, *address: object) -> list[int]:
    """Seeds of renders of one view, in a row: of all 32 bits some variants use no more than frames leave them.

    `scalar_rgb` multiplies a seed by the number of pixels, so seeds that differ by a multiple of 2³² / pixels are one.
    """
    first = seed_of(*address)
    return [(first + place) % 2**32 for place in range(number)]


def version() -> str:
    """Which renderer this is."""
    return f"Mitsuba {mi.__version__}"


class Renderer:
    """One scene, loaded once. Only camera, seed and samples change between frames, so that nothing is compiled anew.

    size: (height, width) in pixels. Keep one alive at a time: together, scenes are compiled into one large program.
    """

    def __init__(self, path: Path, size: tuple[int, int], variant: str) -> None:
        """Raise `UsageError` for a scene that cannot be loaded, that has no camera or perspective, or no light."""
        self.path, self.size = path, size
        with _telling(path):
            mi.set_variant(variant)
            mi.set_log_level(mi.LogLevel.Error)
            # Not optimized: meshes would be merged in an order that differs from process to process, and the noise too.
            self._scene = mi.load_file(str(path), optimize=False)
            if not isinstance(self._scene, mi.Scene):
                raise UsageError(f"{path} holds no <scene>. Name the file of a whole scene.")
            sensors = self._scene.sensors()
            if not sensors:
                raise UsageError(f"{path} has no camera. Add a <sensor type='perspective'>.")
            if not self._scene.emitters():
                raise UsageError(f"{path} has no light: all of it would be black. Add an <emitter>.")
            parameters = mi.traverse(sensors[0])
            if "x_fov" not in parameters:
                raise UsageError(f"{path}: its camera is no perspective one. Make it <sensor type='perspective'>.")
            self._half_width = math.tan(math.radians(float(np.ravel(np.array(parameters["x_fov"]))[0])) / 2)
            width, height = sensors[0].film().crop_size()
            self._aspect = float(width) / float(height)
            self._clip = (sensors[0].near_clip(), sensors[0].far_clip())
            matrix = np.array(sensors[0].world_transform().matrix, dtype=float).reshape(4, 4)
            self._features = mi.load_dict({"type": "aov", "aovs": "albedo:albedo,normal:sh_normal,depth:depth"})
            self._integrator = self._scene.integrator() or mi.load_dict({"type": "path"})
            forward, up = (matrix[:3, axis] / np.linalg.norm(matrix[:3, axis]) for axis in (2, 1))
            self.pose = Pose(vector(matrix[:3, 3]), vector(matrix[:3, 3] + forward), vector(up))

    @property
    def field_of_view(self) -> float:
        """Across a frame, in degrees: the scene's own, or what of it a frame of this shape can show."""
        aspect = self.size[1] / self.size[0]
        return 2 * math.degrees(math.atan(self._half_width * min(1.0, aspect / self._aspect)))

    def frame(self, pose: Pose, spp: int, seed: int) -> Frame:
        """Render a view with `spp` samples per pixel. Neighbouring pixels are independent (a box filter).

        Albedo and normals are of the same samples; equal arguments give equal bytes.
        """
        return self._look(pose, spp, seed, self.size).frame

    def colour(self, pose: Pose, spp: int, seed: int) -> tuple[Planes, int]:
        """The radiance of a view alone, `[3 h w]`, and how many of its pixels were replaced."""
        return self._rendered(self._integrator, pose, spp, seed, self.size, 3)

    def look(self, pose: Pose, seed: int) -> Look:
        """A coarse frame, with distances."""
        height, width = self.size
        scale = LOOK / max(height, width)
        return self._look(pose, LOOK_SPP, seed, (max(1, round(height * scale)), max(1, round(width * scale))))

    def is_free(self, start: Vector, end: Vector) -> bool:
        """Whether one sees from one point to the other, and a tenth of the way further."""
        way = np.subtract(end, start)
        length = float(np.linalg.norm(way))
        if length == 0.0:
            return True
        ray = mi.Ray3f(mi.Point3f(*start), mi.Vector3f(*(float(part) for part in way / length)))
        dr.make_opaque(ray)  # its numbers are no part of the program, which is then compiled once
        hit = self._scene.ray_intersect(ray)
        return float(np.ravel(np.array(hit.t))[0]) > 1.1 * length

    def _look(self, pose: Pose, spp: int, seed: int, size: tuple[int, int]) -> Look:
        colour, black = self._rendered(self._integrator, pose, spp, seed, size, 3)
        features, blank = self._rendered(self._features, pose, spp, seed, size, 7)
        albedo = np.clip(features[:3], 0.0, 1.0)  # rough metals say up to 5.6
        normal = self._facing(np.einsum("rk,khw->rhw", axes(pose), features[3:6]))
        return Look(Frame(colour, albedo, normal, black + blank), features[6])

    def _facing(self, normal: Planes) -> Planes:
        """Normals in the camera's axes turned towards it: a surface seen from behind has its normal behind it."""
        height, width = normal.shape[1:]
        half = math.tan(math.radians(self.field_of_view) / 2)
        x = half * (2 * (np.arange(width) + 0.5) / width - 1)
        y = half * height / width * (1 - 2 * (np.arange(height) + 0.5) / height)
        away = normal[2] - normal[0] * x - normal[1] * y[:, None] < 0
        return np.clip(np.where(away, -normal, normal), -1.0, 1.0).astype(np.float32)

    def _rendered(
        self, integrator: Any, pose: Pose, spp: int, seed: int, size: tuple[int, int], channels: int
    ) -> tuple[Planes, int]:
        """The mean of all passes, and at how many pixels one was no finite number.

        There the mean is that of the others, or 0 if there are none.
        """
        total, samples_of = np.zeros((channels, *size), np.float64), np.zeros(size)
        broken = np.zeros(size, bool)
        passes = [min(AT_ONCE, spp - begun) for begun in range(0, spp, AT_ONCE)]
        with _telling(self.path):
            sensor = self._sensor(pose, size)
            for place, samples in enumerate(passes):
                own = seed if place == 0 else seed_of(seed, "pass", place)
                # A copy: the array aliases the renderer's memory.
                image = np.array(integrator.render(self._scene, sensor, seed=own, spp=samples))
                if image.shape != (*size, channels):
                    raise UsageError(
                        f"{self.path}: its integrator gives {image.shape[-1]} channels, expected {channels}. "
                        "Make it <integrator type='path'>."
                    )
                whole = np.isfinite(image).all(axis=-1)
                broken |= ~whole
                total += np.moveaxis(np.where(whole[..., None], image, 0.0), -1, 0) * samples
                samples_of += whole * samples
        return (total / np.maximum(samples_of, 1)).astype(np.float32), int(broken.sum())

    def _sensor(self, pose: Pose, size: tuple[int, int]) -> Any:
        return mi.load_dict(
            {
                "type": "perspective",
                "fov": self.field_of_view,
                "fov_axis": "x",
                "near_clip": self._clip[0],
                "far_clip": self._clip[1],
                "to_world": mi.ScalarTransform4f().look_at(list(pose.origin), list(pose.target), list(pose.up)),
                "sampler": {"type": "independent"},
                "film": {
                    "type": "hdrfilm",
                    "height": size[0],
                    "width": size[1],
                    "pixel_format": "rgb",
                    "component_format": "float32",
                    "rfilter": {"type": "box"},
                },
            }
        )


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn what Mitsuba raises into one line."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, AttributeError, ImportError, SystemError) as error:
        if _is_interrupt(error):
            raise KeyboardInterrupt from error
        text = re.sub(r"\[[\w.]+:\d+\] ", "", " ".join(str(error).split())).replace(f"While loading {path} ", "")
        raise UsageError(f"{path} cannot be rendered: {text[:300]}") from error


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: Mitsuba hands on what it meets in a callback as an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
