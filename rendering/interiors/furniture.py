"""Furniture: pieces of meshes and their materials' roles. Each stands on the floor at the origin, its back to -z."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rendering.interiors.materials import PICTURES
from rendering.interiors.meshes import Mesh, ball, box, cushion, cylinder, flat, joined, lathe, leaf, moved, turned
from rendering.interiors.textures import Generator

Parts = list[tuple[str, Mesh]]

BULB = 0.055  # a bulb's radius


@dataclass(frozen=True)
class Bulb:
    """A luminous ball. strength: its radiance, before all of a scene's are scaled."""

    centre: tuple[float, float, float]
    radius: float
    strength: float


@dataclass(frozen=True)
class Piece:
    """A thing. width (x) and depth (z) of its footprint; height of what would hide a window; its lights, if it has."""

    parts: Parts
    width: float
    depth: float
    height: float = 0.5
    bulbs: Sequence[Bulb] = ()


def placed(piece: Piece, x: float, z: float, degrees: float = 0.0, y: float = 0.0) -> Piece:
    """The same, turned about its own upright axis and moved."""
    parts = [(role, moved(turned(mesh, degrees), x, y, z)) for role, mesh in piece.parts]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    bulbs = [
        replace(bulb, centre=(cosine * a + sine * c + x, b + y, cosine * c - sine * a + z))
        for bulb in piece.bulbs
        for a, b, c in [bulb.centre]
    ]
    return replace(piece, parts=parts, bulbs=bulbs)


def _legs(role: str, width: float, depth: float, height: float, thick: float, *, round_: bool) -> Parts:
    corners = [(x * (width / 2 - thick), z * (depth / 2 - thick)) for x in (-1, 1) for z in (-1, 1)]
    if round_:
        return [(role, cylinder(thick / 2, height, x, 0, z, 12)) for x, z in corners]
    return [(role, box(thick, height, thick, x, 0, z)) for x, z in corners]


def table(generator: Generator, width: float, depth: float, height: float) -> Piece:
    """Round or rectangular, on legs or a foot; of wood, lacquer or glass."""
    wood = str(generator.choice(["wood", "board", "lacquer"]))
    if abs(width - depth) < 0.2 and generator.uniform() < 0.7:
        radius, metal = width / 2, str(generator.choice(["steel", "chrome", "brass", wood]))
        top = str(generator.choice([wood, wood, "glass"]))
        foot = [(0.3 * width, 0), (0.3 * width, 0.02), (0.04, 0.05), (0.035, height - 0.03)]
        return Piece(
            [(top, cylinder(radius, 0.03, 0, height - 0.03, 0, 40)), (metal, lathe(foot, smooth=False))], width, width
        )
    metal = str(generator.choice([wood, wood, "steel", "black"]))
    parts: Parts = [(wood, box(width, 0.04, depth, 0, height - 0.04, 0))]
    parts += _legs(metal, width, depth, height - 0.04, 0.05, round_=metal != wood)
    if metal == wood:
        rail = box(width - 0.12, 0.07, 0.02, 0, height - 0.11)
        parts += [(wood, moved(rail, z=side * (depth / 2 - 0.06))) for side in (-1, 1)]
    return Piece(parts, width, depth)


def chair(generator: Generator) -> Piece:
    """With legs, a seat and a back of slats or cloth. It looks along +z."""
    wood = str(generator.choice(["wood", "board", "black"]))
    parts = _legs(wood, 0.44, 0.42, 0.44, 0.04, round_=generator.uniform() < 0.5)
    soft = generator.uniform() < 0.5
    parts += [("cloth2", cushion(0.46, 0.09, 0.46, 0, 0.41))] if soft else [(wood, box(0.45, 0.03, 0.44, 0, 0.44))]
    posts = [(wood, box(0.035, 0.48, 0.035, side * 0.2, 0.44, -0.2)) for side in (-1, 1)]
    if soft:
        back: Parts = [("cloth2", moved(turned(cushion(0.42, 0.36, 0.06), -8, "x"), 0, 0.56, -0.2))]
    else:
        back = [(wood, box(0.4, 0.06, 0.02, 0, 0.56 + 0.13 * place, -0.2)) for place in range(3)]
    return Piece(parts + posts + back, 0.5, 0.5)


def sofa(generator: Generator, seats: int) -> Piece:
    """Or an armchair, with one seat."""
    cloth, other = str(generator.choice(["cloth", "cloth2", "linen"])), "cloth3"
    wide, arm = 0.68 * seats, 0.16
    width = wide + 2 * arm
    parts: Parts = [(cloth, cushion(width, 0.3, 0.9, 0, 0.1)), (cloth, cushion(width, 0.5, 0.26, 0, 0.32, -0.32))]
    parts += [(cloth, cushion(arm + 0.06, 0.5, 0.88, side * (width - arm) / 2, 0.1)) for side in (-1, 1)]
    for seat in range(seats):
        x = (seat - (seats - 1) / 2) * 0.68
        parts.append((cloth, cushion(0.66, 0.16, 0.66, x, 0.34, 0.1)))
        parts.append((cloth, moved(turned(cushion(0.62, 0.4, 0.16), -12, "x"), x, 0.46, -0.2)))
        if generator.uniform() < 0.6:
            tilt = turned(turned(cushion(0.4, 0.38, 0.13), -24, "x"), generator.uniform(-25, 25))
            parts.append((other, moved(tilt, x + generator.uniform(-0.12, 0.12), 0.5, 0)))
    parts += _legs("board", width - 0.1, 0.8, 0.12, 0.05, round_=True)
    return Piece(parts, width, 0.95, 0.85)


def bed(generator: Generator) -> Piece:
    """For two, with its head to the wall."""
    wood, width, length = str(generator.choice(["wood", "board", "cloth"])), float(generator.choice([1.4, 1.7])), 2.05
    parts: Parts = [
        (wood, box(width + 0.08, 0.28, length, 0, 0.06, 0)),
        (wood, box(width + 0.12, generator.uniform(0.8, 1.15), 0.07, 0, 0, -length / 2 - 0.02)),
        ("linen", cushion(width, 0.24, length - 0.04, 0, 0.28)),
        (str(generator.choice(["cloth2", "cloth3"])), cushion(width + 0.1, 0.22, 1.25, 0, 0.37, 0.36)),
        ("cloth", cushion(width + 0.12, 0.2, 0.5, 0, 0.41, 0.6)),
    ]
    for side in (-1, 1):
        pillow = turned(turned(cushion(0.6, 0.4, 0.17), -50, "x"), generator.uniform(-8, 8))
        parts.append((str(generator.choice(["linen", "cloth3"])), moved(pillow, side * width / 4, 0.5, -0.72)))
    return Piece(parts, width + 0.15, length + 0.1, 0.9)


def books(generator: Generator, width: float, height: float) -> list[Mesh]:
    """In a row from x = 0, standing on y = 0, some of them leaning."""
    row: list[Mesh] = []
    x = 0.0
    while True:
        thick, high = generator.uniform(0.02, 0.055), height * generator.uniform(0.6, 0.95)
        if x + thick > width:
            return row
        book = box(thick, high, generator.uniform(0.13, 0.19))
        cell = generator.integers(8, size=2)
        book = replace(book, uv=(cell + 0.15 + 0.7 * (book.uv / max(0.2, high)).clip(0, 1)) / 8)
        if generator.uniform() < 0.1:
            book = moved(turned(book, 8, "z"), 0.02)
            x += 0.03
        row.append(moved(book, x + thick / 2))
        x += thick + 0.002


def shelf(generator: Generator, width: float, height: float) -> Piece:
    """Open boards with books, vases and balls on them."""
    wood, depth = str(generator.choice(["wood", "board", "trim"])), 0.3
    parts: Parts = [(wood, box(0.03, height, depth, side * width / 2)) for side in (-1, 1)]
    parts.append((wood, box(width, height, 0.015, 0, 0, -depth / 2)))
    shelves = max(2, round(height / 0.36))
    gap = (height - 0.03) / shelves
    parts += [(wood, box(width, 0.025, depth, 0, gap * place)) for place in range(shelves + 1)]
    for place in range(shelves):
        level = gap * place + 0.026
        kind, left = generator.uniform(), -width / 2 + 0.04
        share = 1.0 if kind < 0.4 else generator.uniform(0.35, 0.65)
        row = books(generator, (width - 0.08) * share, gap - 0.05)
        if row and kind < 0.9:
            parts.append(("books", moved(joined(row), left, level, 0.02)))
        if share < 1:
            thing = vase(generator, gap * generator.uniform(0.5, 0.8))
            parts += placed(thing, width / 2 * generator.uniform(0.45, 0.75), 0.02, 0, level).parts
    return Piece(parts, width + 0.04, depth + 0.02, height)


def cabinet(generator: Generator, width: float, height: float, depth: float) -> Piece:
    """With doors or drawers and their knobs; a wardrobe, when it is high."""
    body, front = str(generator.choice(["wood", "board", "trim"])), str(generator.choice(["lacquer", "wood", "trim"]))
    metal = str(generator.choice(["steel", "brass", "chrome"]))
    parts: Parts = [
        ("black", box(width - 0.06, 0.06, depth - 0.06)),
        (body, box(width, height - 0.06, depth, 0, 0.06)),
    ]
    columns = max(1, round(width / 0.5))
    rows = 1 if height > 1.2 or generator.uniform() < 0.4 else 3
    wide, high = width / columns, (height - 0.1) / rows
    for column in range(columns):
        x = (column + 0.5) * wide - width / 2
        for row in range(rows):
            y = 0.08 + row * high
            parts.append((front, box(wide - 0.012, high - 0.012, 0.02, x, y, depth / 2 + 0.01)))
            if rows == 1:
                side = x + (0.5 - column % 2) * (wide - 0.1)
                parts.append((metal, box(0.015, 0.16, 0.025, side, y + high / 2 - 0.08, depth / 2 + 0.035)))
            else:
                parts.append((metal, ball(0.016, x, y + high / 2, depth / 2 + 0.035)))
    return Piece(parts, width, depth + 0.05, height)


def vase(generator: Generator, height: float) -> Piece:
    """Turned, or a ball or a bowl: of glass, metal or ceramic."""
    role = str(generator.choice(["ceramic", "ceramic2", "glass", "brass", "chrome", "frosted", "steel"]))
    kind = generator.uniform()
    if kind < 0.2:
        return Piece([(role, ball(height / 2, 0, height / 2))], height, height)
    if kind < 0.4:
        outer = [(0.3, 0), (0.32, 0.03), (0.6, 0.15), (0.9, 0.45), (1.0, 0.6)]
        inner = [(0.96, 0.6), (0.84, 0.45), (0.5, 0.18), (0.0, 0.08)]
    else:
        belly, neck = generator.uniform(0.22, 0.4), generator.uniform(0.07, 0.2)
        level = np.linspace(0, 1, 11)
        bulge = np.exp(-(((level - generator.uniform(0.25, 0.6)) / 0.28) ** 2))
        radius = neck + (belly - neck) * bulge + 0.06 * (level > 0.93)
        outer = list(zip(radius.tolist(), level.tolist(), strict=True))
        inner = [(max(r - 0.03, 0.01), y) for r, y in reversed(outer[1:])] + [(0.0, 0.09)]
    shape = [(r * height, y * height) for r, y in [(0.0, 0.0), *outer, *inner]]
    return Piece([(role, lathe(shape))], 0.8 * height, 0.8 * height)


def plant(generator: Generator, height: float) -> Piece:
    """Blades in a pot."""
    pot = height * generator.uniform(0.22, 0.32)
    role = str(generator.choice(["ceramic", "ceramic2", "brass"]))
    profile = [(0, 0), (0.36 * pot, 0), (0.5 * pot, pot), (0.44 * pot, pot), (0.42 * pot, 0.85 * pot), (0, 0.85 * pot)]
    parts: Parts = [(role, lathe(profile, smooth=False))]
    for number in range(int(generator.integers(14, 24))):
        length = height * generator.uniform(0.15, 0.4)
        rise = (height - pot) * generator.uniform(0.6, 1.3)
        blade = leaf(length, 0.1 * height, rise, rise * generator.uniform(0.1, 0.6), 137.5 * number)
        parts.append(("leaf", moved(blade, 0, 0.85 * pot)))
    return Piece(parts, 0.5 * height, 0.5 * height, height)


def picture(generator: Generator) -> Piece:
    """In a frame, its back at z = 0, its middle at the origin; some are mirrors."""
    width, height = generator.uniform(0.4, 1.0, 2)
    role = "mirror" if generator.uniform() < 0.15 else f"picture{generator.integers(PICTURES)}"
    frame = str(generator.choice(["board", "black", "brass", "trim"]))
    parts: Parts = [(frame, box(width + 0.08, height + 0.08, 0.03, 0, -height / 2 - 0.04, 0.018))]
    parts.append((role, flat(width, height, 0, -height / 2, 0.036)))
    return Piece(parts, width + 0.1, 0.04)


def screen(generator: Generator, width: float) -> Piece:
    """Of a computer or television, on a foot; it is off, and mirrors the room."""
    height = 0.58 * width
    parts: Parts = [("black", box(width, height, 0.03, 0, 0.1)), ("steel", box(0.05, 0.12, 0.03, 0, 0, -0.01))]
    parts.append(("steel", box(0.4 * width, 0.012, 0.18)))
    if generator.uniform() < 0.4:
        parts.append(("mirror", flat(width - 0.04, height - 0.04, 0, 0.12, 0.017)))
    return Piece(parts, width, 0.2)


def lamp(generator: Generator, height: float, strength: float) -> Piece:
    """On a foot: a shade about a bulb, or a bare globe."""
    metal = str(generator.choice(["brass", "steel", "black", "chrome"]))
    size = 0.11 + 0.07 * height
    wide, top = 0.7 * size, height - size
    foot = [(0.0, 0.0), (wide, 0.0), (wide, 0.02), (0.012, 0.04), (0.012, top), (0.0, top)]
    parts: Parts = [(metal, lathe(foot, smooth=False))]
    bulb = BULB
    if generator.uniform() < 0.3:
        bulb = size * 0.7
    else:
        narrow = size * generator.uniform(0.55, 0.95)
        parts.append(("shade", lathe([(size, height - 1.3 * size), (narrow, height + 0.2 * size)], smooth=False)))
    light = Bulb((0, height - 0.5 * size, 0), bulb, strength * (BULB / bulb) ** 2)
    return Piece(parts, 2 * size, 2 * size, height, [light])


def pendant(generator: Generator, drop: float, strength: float) -> Piece:
    """Hangs from y = 0 down: a cone, a bowl or a globe."""
    metal = str(generator.choice(["black", "brass", "lacquer", "steel"]))
    parts: Parts = [("black", cylinder(0.006, drop, 0, -drop)), ("black", cylinder(0.05, 0.03, 0, -0.03))]
    if generator.uniform() < 0.5:
        globe = generator.uniform(0.1, 0.16)
        return Piece(parts, 0.4, 0.4, 0, [Bulb((0, -drop - globe, 0), globe, strength * (BULB / globe) ** 2)])
    wide = generator.uniform(0.14, 0.24)
    shade = [(wide, -drop - 0.2), (wide * generator.uniform(0.5, 0.95), -drop - 0.1), (0.03, -drop)]
    parts.append((metal, lathe(shade, smooth=False)))
    return Piece(parts, 0.4, 0.4, 0, [Bulb((0, -drop - 0.18, 0), BULB, strength)])
