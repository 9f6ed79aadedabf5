"""Light set-ups of interiors: daylight and sun through windows, ceiling panels, spots, strips, lamps, and mixtures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rendering.interiors.furniture import Bulb, Parts
from rendering.interiors.meshes import box, cylinder
from rendering.interiors.rooms import THICK, WALLS, Opening, Room
from rendering.interiors.textures import Colour, Generator, Picture, outside

SETUPS = ("window", "sun", "panels", "lamps", "mixed", "spots", "strips")
DAYLIGHT = ("window", "sun", "mixed")
LAMPS = ("lamps", "mixed")

SHADE = 3.0  # radiance of a lit lampshade, beside bulbs

WARM: Colour = (1.0, 0.72, 0.44)
NEUTRAL: Colour = (1.0, 0.90, 0.78)
COOL: Colour = (0.86, 0.93, 1.0)


@dataclass(frozen=True)
class Ball:
    """A luminous sphere of one radiance."""

    centre: tuple[float, float, float]
    radius: float
    radiance: Colour


@dataclass(frozen=True)
class Board:
    """A luminous rectangle. matrix: of [-1, 1]² to the world, `[4 4]`; picture: linear, instead of one radiance."""

    matrix: Picture
    radiance: Colour
    picture: Picture | None = None


Light = Ball | Board


def of(bulbs: Sequence[Bulb], generator: Generator) -> tuple[list[Light], Colour]:
    """Bulbs as lights, all of one warm colour; and how lampshades shine with them."""
    tint = WARM if generator.uniform() < 0.7 else NEUTRAL
    return [Ball(bulb.centre, bulb.radius, _times(tint, bulb.strength)) for bulb in bulbs], _times(tint, SHADE)


def daylight(generator: Generator, room: Room, opening: Opening, strength: float, sunny: int) -> list[Light]:
    """The bright outside of a window: a picture beyond it. sunny: -1 or 1 for a sun from that side, 0 for none.

    The picture then leaves the sun's way free, and what one sees past it is dark.
    """
    away = 0.9 if sunny else 0.35
    half, reach = opening.width / 2, 2.4 if sunny else 0.9
    left, right = -half - reach, half + reach
    if sunny > 0:
        right = half + 0.05
    elif sunny < 0:
        left = -half - 0.05
    low, high = opening.sill - reach / 2, opening.top + (0.15 if sunny else 0.5)
    picture = outside(generator) ** 2.2 * strength
    if generator.uniform() < 0.5:
        picture = picture.mean(axis=(0, 1)) * 0.4 + picture * 0.6  # haze
    matrix = _to_world(room, opening, (left + right) / 2, (low + high) / 2, -THICK - away)
    size = np.diag([(right - left) / 2, (high - low) / 2, 1.0, 1.0])
    lights: list[Light] = [Board(matrix @ size, (strength,) * 3, picture)]
    if sunny:
        azimuth, height = math.radians(generator.uniform(45, 58)), math.radians(generator.uniform(24, 40))
        toward = np.array([sunny * math.sin(azimuth), math.tan(height), -math.cos(azimuth)])
        toward *= 25 / np.linalg.norm(toward)
        middle = _to_world(room, opening, 0, (opening.sill + opening.top) / 2, 0)
        centre = middle @ [*toward, 1.0]
        radius = 25 * math.tan(math.radians(generator.uniform(0.5, 1.6)))
        power = 3 * strength * (25 / radius) ** 2 / math.pi
        lights.append(Ball((centre[0], centre[1], centre[2]), radius, _times((1.0, 0.86, 0.66), power)))
    return lights


def ceiling(generator: Generator, room: Room, setup: str) -> tuple[Parts, list[Light]]:
    """Panels, spots or strips below the ceiling: their cases and lights."""
    tint = (WARM, NEUTRAL, COOL)[generator.integers(3)]
    y = room.height
    parts: Parts = []
    lights: list[Light] = []
    if setup == "panels":
        columns, rows = (int(generator.integers(1, 3)) for _ in range(2))
        wide, deep = generator.uniform(0.4, 1.0), generator.uniform(0.4, 1.0)
        strength = 9 / (columns * rows * wide * deep)
    elif setup == "spots":
        columns, rows = (int(generator.integers(2, 4)) for _ in range(2))
        wide = deep = generator.uniform(0.05, 0.09)
        strength = 5 / (columns * rows * wide * deep)
    else:
        columns, rows = int(generator.integers(2, 4)), 1
        wide, deep = 0.04, 0.7 * room.depth
        strength = 6 / (columns * wide * deep)
    for column in range(columns):
        for row in range(rows):
            x = ((column + 0.5) / columns - 0.5) * room.width * 0.9
            z = ((row + 0.5) / rows - 0.5) * room.depth * 0.85
            if setup == "spots":
                parts.append(("steel", cylinder(wide, 0.03, x, y - 0.0301, z)))
            else:
                parts.append(("trim", box(wide + 0.04, 0.04, deep + 0.04, x, y - 0.0402, z)))
            down = np.eye(4)
            down[:3, 0], down[:3, 1], down[:3, 2] = (wide / 2, 0, 0), (0, 0, deep / 2), (0, -1, 0)
            down[:3, 3] = (x, y - (0.033 if setup == "spots" else 0.043), z)
            lights.append(Board(down, _times(tint, strength)))
    return parts, lights


def _to_world(room: Room, opening: Opening, x: float, y: float, z: float) -> Picture:
    """Of a window's own axes, about a point of the wall below its middle, to the room's; x, y, z in its own."""
    matrix = np.eye(4)
    angle = math.radians(WALLS[opening.wall])
    matrix[0, 0] = matrix[2, 2] = math.cos(angle)
    matrix[0, 2], matrix[2, 0] = math.sin(angle), -math.sin(angle)
    wall_x, wall_z = room.spot(opening.wall, opening.along, 0)
    matrix[:3, 3] = np.array([wall_x, 0, wall_z]) + matrix[:3, :3] @ [x, y, z]
    return matrix


def _times(colour: Colour, strength: float) -> Colour:
    red, green, blue = (float(value * strength) for value in colour)
    return red, green, blue
