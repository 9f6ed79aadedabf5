"""Interiors, drawn from a seed: a room, what is in it, its light and its camera, as a scene of Mitsuba 3."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rendering.interiors.furniture import Parts
from rendering.interiors.lights import DAYLIGHT, LAMPS, SETUPS, Ball, Board, Light, ceiling, daylight, of
from rendering.interiors.materials import Material, draw_materials
from rendering.interiors.meshes import ball, joined, write_ply
from rendering.interiors.rooms import WALLS, Opening, Plan, Room, build_shell, draw_window, dress_window
from rendering.interiors.textures import Colour, Generator, Picture
from rendering.interiors.themes import THEMES, furnish, hang
from rendering.scenes import USUAL

SPLITS = ("training", "validation")
DEPTH = 7  # of paths, at most


@dataclass(frozen=True)
class Interior:
    """A scene before it is written. glow: radiance of lampshades, if they are lit. Its camera looks from origin to
    target and sees `field_of_view` degrees across."""

    theme: str
    setup: str
    parts: Parts
    materials: dict[str, Material]
    lights: Sequence[Light]
    glow: Colour | None
    origin: tuple[float, float, float]
    target: tuple[float, float, float]
    field_of_view: float


def draw_interior(seed: int, split: str, number: int) -> Interior:
    """The interior of that address: the same whatever else is drawn, and no other's."""
    place = SPLITS.index(split)
    generator = np.random.default_rng([seed, place, number])
    index = number + int(np.random.default_rng([seed, place]).integers(1000))
    theme, setup = list(THEMES)[index % len(THEMES)], SETUPS[index % len(SETUPS)]
    room = Room(*(float(generator.uniform(*span)) for span in ((3.6, 5.4), (2.4, 2.9), (4.2, 6.0))))
    materials = draw_materials(generator, tiled=theme == "kitchen")
    plan = Plan(room)
    x, z = float(generator.uniform(-0.3, 0.3)) * room.width, room.depth / 2 - 0.35
    plan.floor.append((x, z, 0.7, 1.1))
    openings, lights = _windows(generator, plan, setup, x)
    plan.parts += build_shell(room, openings, str(generator.choice([*WALLS, "none"])))
    furnish(generator, plan, theme)
    lit, glow = setup in LAMPS, None
    if lit:
        hang(generator, plan, 3 if setup == "lamps" else 1)
        lamps, glow = of(plan.bulbs, generator)
        lights += lamps
    elif setup not in DAYLIGHT:
        parts, above = ceiling(generator, room, setup)
        plan.parts += parts
        lights += above
    if not lit:
        plan.parts += [("shade", ball(bulb.radius, *bulb.centre)) for bulb in plan.bulbs]
    origin = (x, float(generator.uniform(1.25, 1.7)), z)
    target = (-0.35 * x + float(generator.uniform(-0.5, 0.5)), float(generator.uniform(0.85, 1.1)), -0.2 * room.depth)
    return Interior(theme, setup, plan.parts, materials, lights, glow, origin, target, float(generator.uniform(60, 75)))


def _windows(generator: Generator, plan: Plan, setup: str, camera: float) -> tuple[list[Opening], list[Light]]:
    """One or two, where there is daylight, and two with a sun; else none, or one at dusk. camera: its x."""
    day = setup in DAYLIGHT
    more = generator.uniform() < 0.4
    number = 2 if setup == "sun" else int(day) + int(more)
    openings, lights = [], []
    for place, wall in enumerate(generator.permutation(["back", "left", "right"]).tolist()[:number]):
        opening = draw_window(generator, plan.room, wall)
        side = {"left": -1, "right": 1, "back": 1 if camera > opening.along else -1}[wall]
        sunny = side if setup == "sun" and place == 0 else 0
        lights += daylight(generator, plan.room, opening, 6.0 if day else 0.4, sunny)
        plan.put(dress_window(generator, opening), *plan.room.spot(wall, opening.along, 0), WALLS[wall])
        plan.walls.append((wall, opening.along, opening.width + 0.9, opening.sill - 0.05, opening.top + 0.2))
        openings.append(opening)
    return openings, lights


def write_interior(interior: Interior, folder: Path, factor: float) -> None:
    """Write scene.xml with its meshes and textures into an existing folder; its lights' radiance times a factor."""
    roles = sorted({role for role, _ in interior.parts})
    lines = [_camera(interior)]
    for role in roles:
        material = interior.materials[role]
        for name, picture in material.pictures.items():
            pixels = (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name)
        write_ply(joined(mesh for own, mesh in interior.parts if own == role), folder / f"{role}.ply")
        text = material.text + (_emitter(interior.glow, factor) if role == "shade" and interior.glow else "")
        lines.append(f'  <shape type="ply"><string name="filename" value="{role}.ply"/>{text}</shape>')
    for place, light in enumerate(interior.lights):
        if isinstance(light, Board) and light.picture is not None:
            _write_pfm(light.picture * factor, folder / f"light{place}.pfm")
        lines.append("  " + _light(light, place, factor))
    text = '<scene version="3.0.0">\n' + "\n".join(lines) + "\n</scene>\n"
    (folder / USUAL).write_text(text)


def _camera(interior: Interior) -> str:
    origin, target = (", ".join(f"{value:.4f}" for value in point) for point in (interior.origin, interior.target))
    return f"""\
  <integrator type="path"><integer name="max_depth" value="{DEPTH}"/></integrator>
  <sensor type="perspective">
    <float name="fov" value="{interior.field_of_view:.3f}"/><string name="fov_axis" value="x"/>
    <float name="near_clip" value="0.01"/><float name="far_clip" value="100"/>
    <transform name="to_world"><lookat origin="{origin}" target="{target}" up="0, 1, 0"/></transform>
    <film type="hdrfilm"><integer name="width" value="640"/><integer name="height" value="480"/></film>
  </sensor>"""


def _light(light: Light, place: int, factor: float) -> str:
    emitter = _emitter(light.radiance, factor)
    if isinstance(light, Ball):
        x, y, z = light.centre
        shape = f'<point name="center" x="{x:.4f}" y="{y:.4f}" z="{z:.4f}"/>'
        shape += f'<float name="radius" value="{light.radius:.4f}"/>'
        return f'<shape type="sphere">{shape}{emitter}</shape>'
    if light.picture is not None:
        emitter = (
            '<emitter type="area"><texture name="radiance" type="bitmap">'
            f'<string name="filename" value="light{place}.pfm"/><boolean name="raw" value="true"/></texture></emitter>'
        )
    matrix = " ".join(f"{value:.5f}" for value in light.matrix.ravel())
    to_world = f'<transform name="to_world"><matrix value="{matrix}"/></transform>'
    return f'<shape type="rectangle">{to_world}{emitter}</shape>'


def _emitter(radiance: Colour, factor: float) -> str:
    text = ", ".join(f"{value * factor:.4g}" for value in radiance)
    return f'<emitter type="area"><rgb name="radiance" value="{text}"/></emitter>'


def _write_pfm(picture: Picture, path: Path) -> None:
    """Linear radiance in 32 bits, which PNG has not. The lowest row last: a rectangle's v runs down its picture."""
    height, width = picture.shape[:2]
    path.write_bytes(f"PF\n{width} {height}\n-1.0\n".encode() + picture.astype("<f4").tobytes())
