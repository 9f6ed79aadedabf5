"""Meshes of simple bodies, in metres, y up: boxes, turned bodies, cushions, cloth and leaves."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Mesh:
    """Triangles: vertices and their normals `[n 3]`, texture coordinates in metres `[n 2]`, faces `[m 3]`."""

    vertices: Array
    normals: Array
    uv: Array
    faces: Array


def joined(meshes: Iterable[Mesh]) -> Mesh:
    """Several as one."""
    parts = list(meshes)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uv for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
    )


def moved(mesh: Mesh, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """The same elsewhere."""
    return replace(mesh, vertices=mesh.vertices + np.array([x, y, z]))


def turned(mesh: Mesh, degrees: float, axis: str = "y") -> Mesh:
    """The same, turned about an axis through the origin, counterclockwise for who looks against that axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return replace(mesh, vertices=mesh.vertices @ matrix.T, normals=mesh.normals @ matrix.T)


def box(width: float, height: float, depth: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """A box that stands on height y, centred at x and z. On each face u runs along the longer side."""
    size = np.array([width, height, depth])
    vertices, normals, uv = [], [], []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        others.sort(key=lambda other: -size[other])
        for sign in (-1.0, 1.0):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, others] = [[-1, -1], [1, -1], [1, 1], [-1, 1]]
            vertices.append(corners * size / 2)
            normals.append(np.tile(sign * np.eye(3)[axis], (4, 1)))
            uv.append((corners[:, others] + 1) * size[others] / 2)
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * place for place in range(6)])
    mesh = Mesh(np.concatenate(vertices), np.concatenate(normals), np.concatenate(uv), faces)
    return moved(_wound(mesh), x, y + height / 2, z)


def flat(width: float, height: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """An upright rectangle that looks along +z, its lower edge at y; its texture covers it once."""
    corners = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 1, 0], [-0.5, 1, 0]])
    uv = corners[:, :2] + [0.5, 0]
    mesh = Mesh(corners * [width, height, 0], np.tile([0.0, 0, 1], (4, 1)), uv, np.array([[0, 1, 2], [0, 2, 3]]))
    return moved(mesh, x, y, z)


def lathe(profile: Sequence[tuple[float, float]], *, sides: int = 24, smooth: bool = True) -> Mesh:
    """A body of revolution about y: (radius, height) from the bottom up its outside.

    smooth: rounded along the profile, too; else each of its segments is a cone of its own.
    """
    points = np.array(profile, dtype=float)
    pieces = [points] if smooth else [points[place : place + 2] for place in range(len(points) - 1)]
    return joined(_revolved(piece, sides) for piece in pieces)


def _revolved(points: Array, sides: int) -> Mesh:
    tangents = np.gradient(points, axis=0)
    outward = np.stack([tangents[:, 1], -tangents[:, 0]], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    angles = np.linspace(0, 2 * math.pi, sides + 1)
    cosine, sine = np.cos(angles)[None], np.sin(angles)[None]
    radius, height = points[:, :1], points[:, 1:] + 0 * cosine
    vertices = np.stack([radius * cosine, height, radius * sine], axis=-1)
    normals = np.stack([outward[:, :1] * cosine, outward[:, 1:] + 0 * cosine, outward[:, :1] * sine], axis=-1)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    uv = np.stack([angles[None] * max(points[:, 0].max(), 0.05) + 0 * radius, along[:, None] + 0 * cosine], axis=-1)
    return _grid(vertices, normals, uv)


def cylinder(radius: float, height: float, x: float = 0.0, y: float = 0.0, z: float = 0.0, sides: int = 20) -> Mesh:
    """A closed one that stands on height y."""
    return moved(lathe([(0, 0), (radius, 0), (radius, height), (0, height)], sides=sides, smooth=False), x, y, z)


def ball(radius: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """A sphere about a point."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, 17)
    profile = [(max(radius * math.cos(angle), 0.0), radius * math.sin(angle)) for angle in angles]
    return moved(lathe(profile, sides=28), x, y, z)


def cushion(width: float, height: float, depth: float, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """A box with round edges (a superellipsoid) that stands on height y."""
    round_ = 0.35
    latitude, longitude = np.meshgrid(
        np.linspace(-math.pi / 2, math.pi / 2, 15), np.linspace(0, 2 * math.pi, 25), indexing="ij"
    )

    def power(value: Array, exponent: float) -> Array:
        return np.asarray(np.sign(value) * np.abs(value) ** exponent)

    def body(exponent: float) -> Array:
        level = power(np.cos(latitude), exponent)
        return np.stack(
            [
                level * power(np.cos(longitude), exponent),
                power(np.sin(latitude), exponent),
                level * power(np.sin(longitude), exponent),
            ],
            axis=-1,
        )

    half = np.array([width, height, depth]) / 2
    vertices, normals = body(round_) * half, body(2 - round_) / half
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    return moved(_grid(vertices, normals, vertices[..., [0, 2]] + 1.0), x, y + height / 2, z)


def curtain(width: float, height: float, folds: int, amplitude: float = 0.04) -> Mesh:
    """Cloth that hangs in folds, centred at x = 0, from y = 0 up."""
    across = np.linspace(0, 1, 8 * folds + 1)
    phase = 2 * math.pi * folds * across
    wave, slope = amplitude * np.sin(phase), amplitude * np.cos(phase) * 2 * math.pi * folds / width
    low = np.stack([(across - 0.5) * width, 0 * across, wave], axis=-1)
    normal = np.stack([-slope, 0 * across, 1 + 0 * across], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    uv = np.stack([across * width, 0 * across], axis=-1)
    high, top = low + np.array([0, height, 0]), uv + np.array([0, height])
    return _grid(np.stack([low, high]), np.stack([normal, normal]), np.stack([uv, top]))


def leaf(length: float, width: float, rise: float, droop: float, degrees: float) -> Mesh:
    """A blade that starts at the origin, rises, and bends down towards its tip."""
    along = np.linspace(0, 1, 7)
    half = width / 2 * np.sin(math.pi * (0.12 + 0.88 * along)) ** 0.8
    out, up = length * along, rise * along - droop * along**2
    spine = np.stack([out, up, 0 * along], axis=-1)
    side = np.stack([0 * along, 0.25 * half, half], axis=-1)
    tangent = np.gradient(spine, axis=0)
    normal = np.cross(np.array([0.0, 0, 1]), tangent)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    vertices = np.stack([spine - side * [1, -1, 1], spine, spine + side])
    uv = np.stack([np.stack([along, along * 0 + place], axis=-1) for place in (0.0, 0.5, 1.0)])
    return turned(_grid(vertices, np.stack([normal] * 3), uv), degrees)


def _grid(vertices: Array, normals: Array, uv: Array) -> Mesh:
    rows, columns = vertices.shape[:2]
    place = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = place[:-1, :-1], place[:-1, 1:], place[1:, 1:], place[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return _wound(Mesh(vertices.reshape(-1, 3), normals.reshape(-1, 3), uv.reshape(-1, 2), faces))


def _wound(mesh: Mesh) -> Mesh:
    """Without triangles that have no area, and with the others' order by their normals: glass knows its inside."""
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    agrees = np.einsum("ij,ij->i", normal, mesh.normals[mesh.faces].sum(axis=1)) >= 0
    faces = np.where(agrees[:, None], mesh.faces, mesh.faces[:, ::-1])
    return replace(mesh, faces=faces[np.linalg.norm(normal, axis=1) > 1e-10])


def write_ply(mesh: Mesh, path: Path) -> None:
    """As binary PLY, with normals and texture coordinates."""
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(mesh.vertices)}\n"
        + "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz", "u", "v"))
        + f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    downwards = np.array([0.0, 1.0]) + mesh.uv * [1.0, -1.0]  # Mitsuba's v runs down a picture
    rows = np.concatenate([mesh.vertices, mesh.normals, downwards], axis=1).astype("<f4")
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    path.write_bytes(header.encode() + rows.tobytes() + faces.tobytes())
