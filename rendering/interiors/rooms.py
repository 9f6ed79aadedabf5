"""A room: walls with openings, windows, and a plan of what stands where, so that nothing stands in another thing."""

from dataclasses import dataclass, field, replace

from rendering.interiors.furniture import Bulb, Parts, Piece, placed
from rendering.interiors.meshes import box, curtain, cylinder, moved, turned
from rendering.interiors.textures import Generator

WALLS = {"back": 0.0, "left": 90.0, "right": -90.0, "front": 180.0}  # how a thing is turned that has its back to it
THICK = 0.22
NEAR = 1.5  # metres before the camera that stay free


@dataclass(frozen=True)
class Room:
    """width (x), height (y) and depth (z) in metres; the middle of its floor is the origin, the camera at +z."""

    width: float
    height: float
    depth: float

    def length(self, wall: str) -> float:
        """Of a wall, from corner to corner."""
        return self.depth if wall in ("left", "right") else self.width

    def spot(self, wall: str, along: float, off: float) -> tuple[float, float]:
        """x and z of a point `along` from a wall's middle (to the right for who faces it) and `off` it."""
        x, z = self.width / 2 - off, self.depth / 2 - off
        return {"back": (along, -z), "left": (-x, -along), "right": (x, along), "front": (-along, z)}[wall]


@dataclass(frozen=True)
class Opening:
    """A window in a wall: its middle along it, its width, the heights of its sill and its top."""

    wall: str
    along: float
    width: float
    sill: float
    top: float


@dataclass
class Plan:
    """What stands where. floor: taken rectangles (x, z, half width, half depth); walls: taken ones, by wall."""

    room: Room
    parts: Parts = field(default_factory=list)
    bulbs: list[Bulb] = field(default_factory=list)
    floor: list[tuple[float, float, float, float]] = field(default_factory=list)
    walls: list[tuple[str, float, float, float, float]] = field(default_factory=list)

    def put(self, piece: Piece, x: float, z: float, degrees: float = 0.0, y: float = 0.0) -> None:
        """Place a piece, whatever is there."""
        there = placed(piece, x, z, degrees, y)
        self.parts += there.parts
        self.bulbs += there.bulbs

    def stand(self, piece: Piece, x: float, z: float, degrees: float = 0.0, *, gap: float = 0.06) -> bool:
        """Place a piece on the floor, if it is free there."""
        across = abs(degrees) % 180 == 90
        half = [(piece.depth if across else piece.width) / 2, (piece.width if across else piece.depth) / 2]
        inside = abs(x) + half[0] <= self.room.width / 2 and abs(z) + half[1] <= self.room.depth / 2
        if not inside or not self._free(x, z, half[0] + gap, half[1] + gap):
            return False
        self.floor.append((x, z, half[0], half[1]))
        self.put(piece, x, z, degrees)
        return True

    def against(
        self, generator: Generator, piece: Piece, walls: tuple[str, ...] = ("back", "left", "right")
    ) -> tuple[str, float] | None:
        """Place a piece with its back to one of the walls, and before no window that it would hide: where it came."""
        for wall in generator.permutation(walls).tolist() * 6:
            reach = (self.room.length(wall) - piece.width) / 2 - 0.04
            if reach <= 0:
                continue
            along = float(generator.uniform(-reach, reach))
            if not self._wall_free(wall, along, piece.width, 0, piece.height):
                continue
            x, z = self.room.spot(wall, along, piece.depth / 2 + 0.02)
            if z + piece.width / 2 > self.room.depth / 2 - NEAR and wall != "back":
                continue
            if self.stand(piece, x, z, WALLS[wall]):
                self.walls.append((wall, along, piece.width, 0, piece.height))
                return wall, along
        return None

    def on_wall(self, piece: Piece, wall: str, along: float, low: float, high: float, y: float) -> bool:
        """Hang a piece on a wall at height y, if the wall is free there from low to high."""
        if abs(along) > (self.room.length(wall) - piece.width) / 2 - 0.08:
            return False
        if not self._wall_free(wall, along, piece.width + 0.1, low, high):
            return False
        self.walls.append((wall, along, piece.width, low, high))
        self.put(piece, *self.room.spot(wall, along, 0), WALLS[wall], y)
        return True

    def _free(self, x: float, z: float, width: float, depth: float) -> bool:
        return all(abs(x - a) >= width + w or abs(z - b) >= depth + d for a, b, w, d in self.floor)

    def _wall_free(self, wall: str, along: float, width: float, low: float, high: float) -> bool:
        return all(
            wall != other or abs(along - middle) >= (width + wide) / 2 or high <= bottom or low >= top
            for other, middle, wide, bottom, top in self.walls
        )


def draw_window(generator: Generator, room: Room, wall: str) -> Opening:
    """A window or, more rarely, a glass door down to the floor."""
    width = min(float(generator.uniform(1.0, 2.2)), room.length(wall) - 1.2)
    reach = (room.length(wall) - width) / 2 - 0.4
    along = float(generator.uniform(-reach, reach))
    if wall == "left":  # in the half that the camera sees
        along = abs(along)
    elif wall == "right":
        along = -abs(along)
    sill = 0.08 if generator.uniform() < 0.25 else float(generator.uniform(0.75, 1.0))
    return Opening(wall, along, width, sill, min(room.height - 0.25, float(generator.uniform(2.0, 2.4))))


def build_shell(room: Room, openings: list[Opening], accent: str) -> Parts:
    """Floor, ceiling, walls about their openings, and skirting. accent: the wall that is made otherwise."""
    wide, deep = room.width + 2 * THICK, room.depth + 2 * THICK
    floor, ceiling = box(wide, THICK, deep, 0, -THICK), box(wide, THICK, deep, 0, room.height)
    parts: Parts = [("floor", replace(floor, uv=floor.vertices[:, [0, 2]])), ("ceiling", ceiling)]
    for wall, degrees in WALLS.items():
        half, high = room.length(wall) / 2, room.height
        blocks = [(-half - THICK, half + THICK, 0.0, high)]
        boards = [(-half, half)]
        for opening in openings:
            if opening.wall == wall:
                left, right = opening.along - opening.width / 2, opening.along + opening.width / 2
                blocks = [(-half - THICK, left, 0, high), (right, half + THICK, 0, high)]
                blocks += [(left, right, 0, opening.sill), (left, right, opening.top, high)]
                if opening.sill < 0.1:
                    boards = [(-half, left), (right, half)]
        meshes = []
        for start, end, low, top in blocks:
            block = box(end - start, top - low, THICK, (start + end) / 2, low, -THICK / 2)
            meshes.append(("accent" if wall == accent else "wall", replace(block, uv=block.vertices[:, :2])))
        meshes += [("trim", box(end - start, 0.09, 0.015, (start + end) / 2, 0, 0.0076)) for start, end in boards]
        x, z = room.spot(wall, 0, 0)
        parts += [(role, moved(turned(mesh, degrees), x, 0, z)) for role, mesh in meshes]
    return parts


def dress_window(generator: Generator, opening: Opening) -> Piece:
    """A frame with bars, a sill, and perhaps curtains or a blind; its origin is on the wall, below its middle."""
    width, sill, top = opening.width, opening.sill, opening.top
    height, bar, back = top - sill, 0.06, -0.13
    role = str(generator.choice(["trim", "trim", "black", "wood"]))
    parts: Parts = [(role, box(width, bar, 0.07, 0, y, back)) for y in (sill, top - bar)]
    upright = int(generator.integers(2, 5))
    for place in range(upright):
        x = (place / (upright - 1) - 0.5) * (width - bar)
        parts.append((role, box(bar, height - 2 * bar, 0.06, x, sill + bar, back)))
    if generator.uniform() < 0.5:
        parts.append((role, box(width - 2 * bar, 0.04, 0.05, 0, sill + height * 0.62, back)))
    if sill > 0.3:
        parts.append((role, box(width + 0.12, 0.03, 0.2, 0, sill - 0.0301, 0.02)))
    kind = generator.uniform()
    if kind < 0.6:
        rod = turned(moved(cylinder(0.012, width + 1.0), 0, -(width + 1.0) / 2), 90, "z")
        parts.append(("brass", moved(rod, 0, top + 0.12, 0.1)))
        low = 0.03 if generator.uniform() < 0.6 else max(sill - 0.2, 0.03)
        for side in (-1, 1):
            cloth = curtain(0.42, top + 0.11 - low, int(generator.integers(4, 7)), 0.035)
            parts.append(("curtain", moved(cloth, side * (width / 2 + 0.18), low, 0.1)))
    elif kind < 0.75:
        slats = int(height * generator.uniform(0.3, 0.7) / 0.06)
        for slat in range(slats):
            tilted = turned(box(width - 0.04, 0.003, 0.05), 35, "x")
            parts.append(("trim", moved(tilted, 0, top - 0.08 - 0.06 * slat, -0.04)))
    return Piece(parts, width + 0.9, 0.2)
