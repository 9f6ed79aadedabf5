"""Textures as small pictures `[h w 3]`, in [0, 1] as a screen shows them: wood, tiles, cloth, paintings, skies."""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[Any]
Colour = tuple[float, float, float]
Generator = np.random.Generator

SIDE = 128


def noise(generator: Generator, rows: int, columns: int, side: int = SIDE) -> Picture:
    """Smooth noise of mean 0 and deviation 1 that tiles, with so many cells along each side, `[side side]`."""
    smooth = _cubic(rows, side) @ generator.normal(size=(rows, columns)) @ _cubic(columns, side).T
    return np.asarray((smooth - smooth.mean()) / smooth.std())


@cache
def _cubic(cells: int, side: int) -> Picture:
    """Catmull and Rom's interpolation of values on a circle, `[side cells]`."""
    cell, t = np.divmod(np.arange(side) * cells / side, 1.0)
    weights = np.zeros((side, cells))
    taps = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
    for offset, tap in enumerate(taps):
        np.add.at(weights, (np.arange(side), (cell.astype(int) + offset - 1) % cells), tap / 2)
    return weights


def grain(generator: Generator, colour: Colour) -> Picture:
    """Wood, its fibres along u."""
    rings = noise(generator, 8, 2) + 0.5 * noise(generator, 16, 2)
    fibres = 0.5 * np.sin(5 * rings) + 0.4 * noise(generator, 64, 4) + 0.25 * noise(generator, 128, 16)
    return _shaded(colour, 1 + 0.12 * fibres)


def planks(generator: Generator, colour: Colour) -> Picture:
    """A floor of eight boards, their joints darker."""
    boards, side = 8, 2 * SIDE
    width = side // boards
    picture = np.zeros((side, side, 3))
    for board in range(boards):
        wood = np.tile(grain(generator, colour), (1, 2, 1))[generator.integers(64) :][:width]
        wood = wood * (1 + 0.1 * generator.normal())
        joint = int(generator.integers(side))
        wood[0] *= 0.45
        wood[:, joint] *= 0.45
        picture[board * width : (board + 1) * width] = wood
    return picture.clip(0, 1)


def tiles(generator: Generator, colour: Colour, other: Colour, joint: Colour) -> Picture:
    """Four by four tiles of two colours, each a little different."""
    side = SIDE // 4
    picture = np.empty((SIDE, SIDE, 3))
    for row in range(4):
        for column in range(4):
            tile = np.array(other if (row + column) % 2 else colour) * (1 + 0.05 * generator.normal())
            picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    picture *= 1 + 0.03 * noise(generator, 16, 16)[..., None]
    picture[::side] = picture[:, ::side] = joint
    return picture.clip(0, 1)


def bricks(generator: Generator, colour: Colour, joint: Colour) -> Picture:
    """Courses of bricks in a running bond."""
    rows, columns, side = 8, 4, SIDE
    height, width = side // rows, side // columns
    picture = np.empty((side, side, 3))
    for row in range(rows):
        shades = 1 + 0.14 * generator.normal(size=columns)
        line = np.repeat(shades, width)[:, None] * np.array(colour)
        line[::width] = joint
        picture[row * height : (row + 1) * height] = np.roll(line, width // 2 * (row % 2), axis=0)
        picture[row * height] = joint
    return (picture * (1 + 0.07 * noise(generator, 64, 64)[..., None])).clip(0, 1)


def stripes(generator: Generator, colour: Colour, other: Colour) -> Picture:
    """Upright stripes of several widths."""
    edges = np.sort(generator.choice(np.arange(4, SIDE - 4, 4), 7, replace=False))
    which = np.searchsorted(edges, np.arange(SIDE), side="right") % 2
    line = np.where(which[:, None], np.array(colour), np.array(other))
    return np.broadcast_to(line[None], (SIDE, SIDE, 3)).copy()


def plaster(generator: Generator, colour: Colour, strength: float = 0.05) -> Picture:
    """Uneven paint."""
    return _shaded(colour, 1 + strength * (noise(generator, 6, 6) + 0.6 * noise(generator, 24, 24)))


def weave(generator: Generator, colour: Colour, other: Colour) -> Picture:
    """Cloth of two threads."""
    row, column = np.indices((SIDE, SIDE))
    thread = ((row // 2 + column // 2) % 2)[..., None]
    cloth = np.where(thread, np.array(colour), 0.75 * np.array(colour) + 0.25 * np.array(other))
    return (cloth * (1 + 0.07 * noise(generator, 32, 32)[..., None])).clip(0, 1)


def rug(generator: Generator, colours: list[Colour]) -> Picture:
    """A pattern with a border, alike to the left and right; covers a rug once."""
    half = generator.integers(len(colours), size=(16, 16))
    half = np.where(generator.uniform(size=half.shape) < 0.5, half, int(generator.integers(len(colours))))
    cells = np.concatenate([half, half[:, ::-1]], axis=1)
    cells = np.concatenate([cells, cells[::-1]], axis=0)
    for ring in range(3):
        inside = slice(ring, 32 - ring)
        frame = np.ones((32, 32), bool)
        frame[:ring] = frame[32 - ring :] = frame[:, :ring] = frame[:, 32 - ring :] = False
        frame[ring + 1 : 31 - ring, ring + 1 : 31 - ring] = False
        cells[inside][:, inside][frame[inside][:, inside]] = ring % len(colours)
    picture = np.array(colours)[np.kron(cells, np.ones((4, 4), int))]
    return (picture * (1 + 0.06 * noise(generator, 64, 64)[..., None])).clip(0, 1)


def painting(generator: Generator) -> Picture:
    """A landscape, coloured fields, rings or clouds of colour."""
    kind = generator.integers(4)
    colours = generator.uniform(0.08, 0.95, (6, 3))
    colours = colours.mean(axis=1, keepdims=True) * 0.5 + colours * 0.5
    row, column = np.indices((SIDE, SIDE)) / SIDE
    if kind == 0:
        picture = _sky(generator, SIDE)
        for layer in range(3):
            ridge = 0.45 + 0.15 * layer + 0.06 * noise(generator, 4, 5)[0]
            picture = np.where((row > ridge[None])[..., None], colours[layer] * (0.4 + 0.3 * layer), picture)
    elif kind == 1:
        picture = np.broadcast_to(colours[0], (SIDE, SIDE, 3)).copy()
        for _ in range(9):
            top, left = generator.integers(0, 100, 2)
            high, wide = generator.integers(10, 70, 2)
            picture[top : top + high, left : left + wide] = colours[generator.integers(6)]
    elif kind == 2:
        y, x = generator.uniform(0.3, 0.7, 2)
        ring = (np.hypot(row - y, column - x) * generator.uniform(6, 14)).astype(int)
        picture = colours[ring % 6]
    else:
        clouds = np.stack([noise(generator, 5, 5) for _ in range(3)], axis=-1)
        picture = colours[0] + 0.14 * clouds
    return np.asarray(picture).clip(0.02, 0.98)


def swatches(generator: Generator, colours: list[Colour]) -> Picture:
    """Eight by eight cells of one colour each: spines of books."""
    chosen = np.array(colours)[generator.integers(len(colours), size=(8, 8))]
    cells = (chosen * generator.uniform(0.5, 1.2, (8, 8, 1))).clip(0.02, 0.95)
    picture = np.kron(cells, np.ones((8, 8, 1)))
    picture[1::8] = 0.75 * picture[1::8] + 0.2  # a title's band
    return picture


def outside(generator: Generator) -> Picture:
    """What a window looks out to: a sky with clouds above hills or roofs, `[64 64 3]`."""
    picture = _sky(generator, 64)
    row, column = np.indices((64, 64)) / 64
    if generator.uniform() < 0.5:
        ridge = 0.62 + 0.05 * noise(generator, 4, 5, 64)[0]
        land = np.array([0.25, 0.36, 0.17]) * (1 + 0.15 * noise(generator, 16, 16, 64)[..., None])
    else:
        ridge = np.repeat(generator.uniform(0.45, 0.7, 8), 8)
        windows = ((column * 32).astype(int) % 2) * ((row * 24).astype(int) % 2)
        land = np.repeat(generator.uniform(0.3, 0.6, (8, 3)), 8, axis=0)[None] * (1 - 0.5 * windows[..., None])
    return np.asarray(np.where((row > ridge[None])[..., None], land, picture)).clip(0.02, 1)


def _sky(generator: Generator, side: int) -> Picture:
    row = np.linspace(0, 1, side)[:, None, None]
    blue, pale = np.array([0.42, 0.62, 0.9]), np.array([0.92, 0.92, 0.88])
    clouds = noise(generator, 6, 3, side) + 0.5 * noise(generator, 12, 6, side)
    cover = (1 / (1 + np.exp(-3 * (clouds - generator.uniform(-1, 1)))))[..., None]
    sky = blue + (pale - blue) * row ** math.sqrt(2)
    return np.asarray(sky + (0.97 - sky) * 0.8 * cover)


def _shaded(colour: Colour, shade: Picture) -> Picture:
    return np.asarray((np.array(colour) * shade[..., None]).clip(0.01, 0.99))
