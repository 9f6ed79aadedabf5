"""What rooms are for, and what then stands in them."""

from collections.abc import Callable

import numpy as np

from rendering.interiors.furniture import (
    Piece,
    bed,
    books,
    cabinet,
    chair,
    lamp,
    pendant,
    picture,
    plant,
    screen,
    shelf,
    sofa,
    table,
    vase,
)  # fmt: skip
from rendering.interiors.meshes import ball, box, cushion, cylinder, flat, joined, lathe, moved, turned
from rendering.interiors.rooms import WALLS, Plan
from rendering.interiors.textures import Generator

BRIGHT = 60.0  # radiance of a lamp's bulb
CAMERA_SIDE = ("back", "left", "right")


def furnish(generator: Generator, plan: Plan, theme: str) -> None:
    """Fill a room: the theme's own things, then plants, pictures and lamps where there is place."""
    THEMES[theme](generator, plan)
    if generator.uniform() < 0.8:
        _corner(generator, plan, plant(generator, generator.uniform(0.8, 1.7)))
    _corner(generator, plan, lamp(generator, generator.uniform(1.35, 1.7), BRIGHT))
    for _ in range(12):
        piece = picture(generator)
        wall = str(generator.choice(CAMERA_SIDE))
        reach = plan.room.length(wall) / 2
        plan.on_wall(piece, wall, generator.uniform(-reach, reach), 1.0, 2.15, generator.uniform(1.5, 1.62))


def hang(generator: Generator, plan: Plan, least: int) -> None:
    """Pendants from the ceiling, until there are that many lamps."""
    kind, missing = int(generator.integers(1 << 30)), least - len(plan.bulbs)
    for place in range(missing):
        piece = pendant(_again(kind), generator.uniform(0.25, 0.5), BRIGHT)
        z = ((place + 0.5) / missing - 0.6) * plan.room.depth * 0.8
        plan.put(piece, generator.uniform(-0.25, 0.25) * plan.room.width, z, 0, plan.room.height)


def living(generator: Generator, plan: Plan) -> None:
    """A sofa with a low table before it, armchairs, a sideboard with a screen, shelves."""
    wall = str(generator.choice(CAMERA_SIDE))
    seat = sofa(generator, int(generator.integers(2, 4)))
    at = plan.against(generator, seat, (wall,)) or plan.against(generator, seat)
    if at:
        x, z = plan.room.spot(*at, 1.35)
        low = table(generator, *((0.8, 0.8) if generator.uniform() < 0.5 else (1.1, 0.55)), 0.42)
        if plan.stand(low, x, z, WALLS[at[0]]):
            _upon(generator, plan, x, z, 0.42, 0.2, 3)
        _rug(generator, plan, x, z, WALLS[at[0]])
    board = cabinet(generator, generator.uniform(1.2, 1.8), generator.uniform(0.45, 0.7), 0.4)
    at = plan.against(generator, board)
    if at:
        x, z = plan.room.spot(*at, 0.2)
        plan.put(screen(generator, generator.uniform(0.7, 1.1)), x, z, WALLS[at[0]], board.height)
    plan.against(generator, shelf(generator, generator.uniform(0.8, 1.5), generator.uniform(1.4, 2.1)))
    for _ in range(int(generator.integers(1, 3))):
        _free(generator, plan, sofa(generator, 1))
    if generator.uniform() < 0.5:
        plan.against(generator, shelf(generator, 0.9, generator.uniform(0.8, 1.3)))


def dining(generator: Generator, plan: Plan) -> None:
    """A laid table with chairs below pendants, a sideboard, a shelf."""
    round_ = generator.uniform() < 0.4
    width, depth = (1.2, 1.2) if round_ else (float(generator.uniform(1.5, 2.0)), 0.9)
    x, z = generator.uniform(-0.3, 0.3), -0.12 * plan.room.depth
    top = table(generator, width, depth, 0.75)
    degrees = 0.0 if round_ or generator.uniform() < 0.6 else 90.0
    plan.stand(top, x, z, degrees)
    if generator.uniform() < 0.6:
        _rug(generator, plan, x, z, degrees, 1.35)
    across, along = (top.depth, top.width) if degrees else (top.width, top.depth)
    seats = [(side * (across / 4), 1, end) for side in (-1, 1) for end in (-1, 1)]
    kind = int(generator.integers(1 << 30))
    if round_:
        seats = [(0.0, 1, 1), (0.0, 1, -1), (0.0, 0, 1), (0.0, 0, -1)]
    elif degrees:
        seats = [(side * (along / 4), 0, end) for side in (-1, 1) for end in (-1, 1)]
    for offset, back, end in seats:
        pulled = generator.uniform(0.1, 0.3)
        spot = (x + offset, z + end * (along / 2 + pulled)) if back else (x + end * (across / 2 + pulled), z + offset)
        turn = (180.0 if end > 0 else 0.0) if back else (-90.0 if end > 0 else 90.0)
        plan.put(chair(_again(kind)), *spot, turn + generator.uniform(-12, 12))
    plan.floor.append((x, z, across / 2 + 0.6, along / 2 + 0.6))
    for side in (-1, 1):
        plate = [(0, 0), (0.07, 0), (0.12, 0.018), (0.115, 0.02), (0.07, 0.006), (0, 0.006)]
        plan.put(Piece([("trim", lathe(plate, sides=32))], 0.2, 0.2), x + side * across / 4, z + along / 4, 0, 0.75)
        glass = [(0, 0), (0.03, 0), (0.036, 0.11), (0.033, 0.11), (0.028, 0.008), (0, 0.008)]
        cup = Piece([("glass", lathe(glass, smooth=False))], 0.1, 0.1)
        plan.put(cup, x + side * across / 4 + 0.16, z + along / 4 - 0.1, 0, 0.75)
    plan.put(vase(generator, generator.uniform(0.18, 0.32)), x, z, 0, 0.75)
    for place in range(1 if round_ else 2):
        offset = 0.0 if round_ else (place - 0.5) * 0.8
        hanging = pendant(_again(kind), plan.room.height - 1.75, BRIGHT * 0.7)
        plan.put(hanging, x + (0 if degrees else offset), z + (offset if degrees else 0), 0, plan.room.height)
    _sideboard(generator, plan)
    plan.against(generator, shelf(generator, generator.uniform(0.7, 1.2), generator.uniform(1.0, 2.0)))


def bedroom(generator: Generator, plan: Plan) -> None:
    """A bed between night tables, a wardrobe, a chest of drawers, an armchair."""
    sleeping = bed(generator)
    at = plan.against(generator, sleeping, ("back",)) or plan.against(generator, sleeping, ("left", "right"))
    if at:
        wall, along = at
        kind = int(generator.integers(1 << 30))
        for side in (-1, 1):
            night = cabinet(_again(kind), 0.42, 0.5, 0.36)
            x, z = plan.room.spot(wall, along + side * (sleeping.width / 2 + 0.27), 0.22)
            if plan.stand(night, x, z, WALLS[wall], gap=0.0):
                plan.walls.append((wall, along + side * (sleeping.width / 2 + 0.27), 0.42, 0, 1.0))
                plan.put(lamp(_again(kind + 1), 0.42, BRIGHT * 0.6), x, z, 0, 0.5)
        _rug(generator, plan, *plan.room.spot(wall, along, 1.9), WALLS[wall])
    plan.against(generator, cabinet(generator, generator.uniform(1.2, 1.8), 2.0, 0.55))
    _sideboard(generator, plan)
    _free(generator, plan, sofa(generator, 1))


def study(generator: Generator, plan: Plan) -> None:
    """A desk with a screen and a lamp, walls of books, an armchair to read in."""
    desk = table(generator, generator.uniform(1.3, 1.7), 0.7, 0.74)
    at = plan.against(generator, desk)
    if at:
        wall, along = at
        x, z = plan.room.spot(wall, along, 0.3)
        plan.put(screen(generator, 0.55), x, z, WALLS[wall] + generator.uniform(-15, 15), 0.74)
        plan.put(lamp(generator, 0.45, BRIGHT * 0.6), *plan.room.spot(wall, along + 0.5, 0.25), WALLS[wall], 0.74)
        pile = joined(moved(box(0.2, 0.03, 0.26), 0, 0.03 * place) for place in range(4))
        plan.put(Piece([("cloth3", pile)], 0.2, 0.3), *plan.room.spot(wall, along - 0.5, 0.35), 12, 0.74)
        plan.put(chair(generator), *plan.room.spot(wall, along, 0.95), WALLS[wall] + 180 + generator.uniform(-30, 30))
        plan.floor.append((*plan.room.spot(wall, along, 1.0), 0.4, 0.4))
    for _ in range(3):
        plan.against(generator, shelf(generator, generator.uniform(0.9, 1.7), generator.uniform(1.6, 2.2)))
    _free(generator, plan, sofa(generator, 1))
    _rug(generator, plan, 0, -0.1 * plan.room.depth, 0)
    globe = [("steel", cylinder(0.14, 0.03)), ("steel", cylinder(0.015, 0.6)), ("picture0", ball(0.2, 0, 0.8))]
    _free(generator, plan, Piece([*globe], 0.5, 0.5))


def kitchen(generator: Generator, plan: Plan) -> None:
    """Units below a worktop with pots, cupboards above, and a small table."""
    kind, room = int(generator.integers(1 << 30)), plan.room
    windowed = [wall for wall, *_ in plan.walls]
    walls = [wall for wall in CAMERA_SIDE if wall not in windowed] or ["back"]
    for wall in (str(generator.choice(walls)),):
        length = room.length(wall) * (1.0 if wall == "back" else 0.62)
        along = {"back": 0.0, "left": 1.0, "right": -1.0}[wall] * (room.length(wall) - length) / 2
        x, z = room.spot(wall, along, 0.32)
        unit = cabinet(_again(kind), length - 0.02, 0.88, 0.58)
        slab = ("board" if generator.uniform() < 0.5 else "ceramic2", box(length - 0.01, 0.04, 0.66, 0, 0.881, 0.02))
        plan.stand(Piece([*unit.parts, slab], length, 0.64), x, z, WALLS[wall], gap=0.0)
        plan.walls.append((wall, along, length, 0.0, 1.0))
        for place in range(int(length / 0.55)):
            spot = room.spot(wall, along + (place + 0.5) * 0.55 - length / 2, generator.uniform(0.2, 0.45))
            thing = _pot(generator) if generator.uniform() < 0.5 else vase(generator, generator.uniform(0.15, 0.3))
            if generator.uniform() < 0.75:
                plan.put(thing, *spot, generator.uniform(0, 360), 0.92)
        wide = 0.45 * length
        upper = cabinet(_again(kind), wide, 0.65, 0.33)
        body = [(role, moved(mesh, 0, 0, 0.17)) for role, mesh in upper.parts if role != "black"]
        plan.on_wall(Piece(body, wide, 0.3), wall, along - length * 0.24, 1.4, 2.1, 1.4)
        board = Piece([("wood", box(length * 0.4, 0.03, 0.22, 0, 0, 0.12))], length * 0.4, 0.2)
        if plan.on_wall(board, wall, along + length * 0.25, 1.4, 2.0, 1.55):
            for place in range(4):
                offset = length * (0.25 + 0.09 * (place - 1.5))
                plan.put(
                    vase(generator, generator.uniform(0.12, 0.25)), *room.spot(wall, along + offset, 0.12), 0, 1.58
                )
    x, z = generator.uniform(-0.4, 0.4), generator.uniform(-0.6, 0.1)
    top = table(generator, 0.9, 0.9, 0.75)
    if plan.stand(top, x, z):
        _upon(generator, plan, x, z, 0.75, 0.25, 4)
        for turn in (0.0, 90.0, -90.0, 180.0):
            spot = {0.0: (0, -0.62), 90.0: (-0.62, 0), -90.0: (0.62, 0), 180.0: (0, 0.62)}[turn]
            plan.put(chair(_again(kind)), x + spot[0], z + spot[1], turn + generator.uniform(-15, 15))
        plan.floor.append((x, z, 1.0, 1.0))
        plan.put(pendant(generator, room.height - 1.8, BRIGHT), x, z, 0, room.height)
    plan.against(generator, cabinet(generator, 0.7, 1.9, 0.6))


def hall(generator: Generator, plan: Plan) -> None:
    """Columns, pedestals with balls and vases, a bench, a mirror: a gallery."""
    top = plan.room.height
    for side in (-1, 1):
        for place in range(2):
            column = [(0, 0), (0.22, 0), (0.22, 0.12), (0.15, 0.18), (0.13, top - 0.12), (0.22, top)]
            x, z = side * plan.room.width * 0.3, -plan.room.depth * (0.08 + 0.27 * place)
            plan.stand(Piece([("trim", lathe(column, smooth=False))], 0.45, 0.45), x, z)
    for _ in range(5):
        high, wide = generator.uniform(0.5, 1.1), generator.uniform(0.3, 0.45)
        thing = vase(generator, generator.uniform(0.35, 0.6))
        body = [(str(generator.choice(["board", "trim", "lacquer"])), box(wide, high, wide))]
        shown = [(role, moved(turned(mesh, 0), 0, high + 0.001, 0)) for role, mesh in thing.parts]
        _free(generator, plan, Piece([*body, *shown], max(wide, thing.width), max(wide, thing.depth)))
    _free(
        generator,
        plan,
        Piece([("board", box(1.2, 0.36, 0.45)), ("cloth2", cushion(1.2, 0.1, 0.45, 0, 0.36))], 1.25, 0.5),
    )
    _sideboard(generator, plan)
    _rug(generator, plan, 0, 0, 90, 1.2)


THEMES: dict[str, Callable[[Generator, Plan], None]] = {
    "living": living, "dining": dining, "bedroom": bedroom, "study": study, "kitchen": kitchen, "hall": hall,
}  # fmt: skip


def _again(kind: int) -> Generator:
    """For things that are alike."""
    return np.random.default_rng(kind)


def _free(generator: Generator, plan: Plan, piece: Piece) -> bool:
    """Somewhere in the far two thirds of the room, turned towards its middle."""
    for _ in range(25):
        x = generator.uniform(-0.5, 0.5) * (plan.room.width - piece.width)
        z = generator.uniform(-0.5, 0.1) * (plan.room.depth - piece.depth)
        turn = 90.0 if x < 0 else -90.0
        if plan.stand(piece, x, z, turn, gap=0.15):
            return True
    return False


def _corner(generator: Generator, plan: Plan, piece: Piece) -> bool:
    for side in generator.permutation([-1, 1]).tolist():
        for z in (-plan.room.depth / 2 + piece.depth / 2 + 0.1, *generator.uniform(-0.4, 0.15, 8) * plan.room.depth):
            x = side * (plan.room.width / 2 - piece.width / 2 - 0.08)
            if plan.stand(piece, x, float(z), gap=0.0):
                return True
    return False


def _rug(generator: Generator, plan: Plan, x: float, z: float, degrees: float, scale: float = 1.0) -> None:
    width, depth = 2.0 * scale, 1.4 * scale
    across = abs(degrees) % 180 == 90
    half = ((depth if across else width) / 2, (width if across else depth) / 2)
    x = min(max(x, half[0] + 0.1 - plan.room.width / 2), plan.room.width / 2 - half[0] - 0.1)
    if generator.uniform() < 0.85:
        lying = moved(turned(flat(width, depth), -90, "x"), 0, 0.008, depth / 2)
        plan.put(Piece([("rug", lying)], width, depth), x, z, degrees)


def _sideboard(generator: Generator, plan: Plan) -> None:
    board = cabinet(generator, generator.uniform(0.9, 1.6), generator.uniform(0.7, 0.9), 0.42)
    at = plan.against(generator, board)
    if at:
        x, z = plan.room.spot(*at, 0.22)
        _upon(generator, plan, x, z, board.height, 0.3 * board.width, 3, WALLS[at[0]])


def _upon(
    generator: Generator, plan: Plan, x: float, z: float, y: float, reach: float, number: int, degrees: float = 0.0
) -> None:
    """Things in a row upon something: vases, plants, books, a lamp."""
    for place in range(number):
        offset = reach * (2 * place / max(1, number - 1) - 1)
        spot = (x, z - offset) if abs(degrees) == 90 else (x + offset, z)
        kind = generator.uniform()
        if kind < 0.55:
            thing = vase(generator, generator.uniform(0.14, 0.34))
        elif kind < 0.7:
            thing = plant(generator, generator.uniform(0.25, 0.4))
        elif kind < 0.85:
            thing = Piece([("books", moved(joined(books(generator, 0.2, 0.28)), -0.1))], 0.2, 0.2)
        else:
            thing = lamp(generator, 0.4, BRIGHT * 0.5)
        plan.put(thing, *spot, degrees, y)


def _pot(generator: Generator) -> Piece:
    radius, height = generator.uniform(0.08, 0.13), generator.uniform(0.1, 0.2)
    metal = str(generator.choice(["steel", "chrome", "brass"]))
    profile = [(0, 0), (radius, 0), (radius, height), (0.94 * radius, height), (0.94 * radius, 0.01), (0, 0.01)]
    handle = moved(turned(cylinder(0.01, 0.16), 90, "z"), 0.0, 0.8 * height)
    return Piece([(metal, lathe(profile, smooth=False)), ("black", moved(handle, -radius))], 0.3, 0.3)
