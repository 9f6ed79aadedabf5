"""What an interior's things are made of: Mitsuba's diffuse, plastic, metal and glass, drawn in colours that agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rendering.interiors import textures
from rendering.interiors.textures import Colour, Generator, Picture

# Of walls, an accent, three cloths: as a screen shows them.
PALETTES: Sequence[Sequence[Colour]] = (
    ((0.90, 0.87, 0.81), (0.35, 0.47, 0.45), (0.72, 0.42, 0.28), (0.86, 0.79, 0.66), (0.30, 0.38, 0.48)),
    ((0.93, 0.93, 0.92), (0.23, 0.33, 0.50), (0.80, 0.69, 0.37), (0.55, 0.60, 0.66), (0.85, 0.85, 0.86)),
    ((0.86, 0.83, 0.88), (0.49, 0.35, 0.49), (0.45, 0.55, 0.42), (0.75, 0.62, 0.70), (0.93, 0.90, 0.84)),
    ((0.82, 0.88, 0.84), (0.64, 0.30, 0.24), (0.28, 0.44, 0.39), (0.90, 0.84, 0.73), (0.77, 0.55, 0.33)),
    ((0.94, 0.91, 0.84), (0.83, 0.64, 0.36), (0.42, 0.28, 0.22), (0.63, 0.70, 0.58), (0.88, 0.52, 0.38)),
    ((0.80, 0.85, 0.90), (0.90, 0.89, 0.85), (0.23, 0.27, 0.33), (0.70, 0.26, 0.28), (0.60, 0.68, 0.76)),
    ((0.88, 0.85, 0.80), (0.26, 0.29, 0.29), (0.55, 0.58, 0.50), (0.80, 0.45, 0.34), (0.93, 0.88, 0.78)),
    ((0.95, 0.88, 0.84), (0.58, 0.69, 0.73), (0.34, 0.53, 0.55), (0.92, 0.68, 0.58), (0.79, 0.77, 0.70)),
)
WOODS: Sequence[Colour] = (
    (0.72, 0.53, 0.34), (0.50, 0.32, 0.19), (0.82, 0.67, 0.48), (0.33, 0.20, 0.13), (0.62, 0.38, 0.22),
    (0.66, 0.60, 0.52),
)  # fmt: skip
METALS = ("Ag", "Al", "Cr", "Cu", "Au")
WHITE: Colour = (0.93, 0.93, 0.91)
PICTURES = 4


@dataclass(frozen=True)
class Material:
    """A BSDF as Mitsuba's XML, and the textures that it names, by file."""

    text: str
    pictures: Mapping[str, Picture] = field(default_factory=dict)


def draw_materials(generator: Generator, *, tiled: bool) -> dict[str, Material]:
    """One of each role that furniture and rooms name. tiled: a kitchen's or bath's floor and walls."""
    walls, accent, *cloths = PALETTES[int(generator.integers(len(PALETTES)))]
    pale, dark = (WOODS[place] for place in generator.permutation(len(WOODS))[:2])
    metals = generator.permutation(len(METALS))
    one, two, three = cloths
    materials = {
        "wall": _painted(generator, "wall", walls),
        "accent": _accent(generator, accent, walls, tiled=tiled),
        "ceiling": _diffuse(_rgb(WHITE)),
        "floor": _floor(generator, dark, one, tiled=tiled),
        "trim": _coated(_rgb(WHITE), 0.15),
        "wood": _wooden(generator, "wood", pale),
        "board": _wooden(generator, "board", dark),
        "lacquer": _plastic(_rgb(accent if generator.uniform() < 0.5 else WHITE)),
        "black": _coated(_rgb((0.12, 0.12, 0.13)), 0.1),
        "cloth": _woven(generator, "cloth", one, two),
        "cloth2": _woven(generator, "cloth2", two, three),
        "cloth3": _patterned(generator, "cloth3", three, two),
        "linen": _diffuse(_rgb((0.90, 0.89, 0.86))),
        "curtain": _woven(generator, "curtain", cloths[generator.integers(3)], WHITE),
        "rug": _textured("rug", textures.rug(generator, [one, two, three, accent]), (1, 1)),
        "books": _textured("books", textures.swatches(generator, [one, two, three, accent, pale, dark]), (1, 1)),
        "steel": _metal(METALS[metals[0] % 3], float(generator.uniform(0.12, 0.35))),
        "brass": _metal(METALS[metals[1]], float(generator.choice([0.05, 0.15, 0.3]))),
        "chrome": _metal(METALS[metals[2] % 3], 0.0),
        "mirror": _metal("Ag", 0.0),
        "glass": _glass("dielectric"),
        "frosted": _glass("roughdielectric", float(generator.uniform(0.1, 0.3))),
        "ceramic": _plastic(_rgb(cloths[generator.integers(3)])),
        "ceramic2": _coated(_rgb(accent if generator.uniform() < 0.5 else WHITE), 0.2),
        "leaf": _coated(_rgb((0.20, float(generator.uniform(0.34, 0.48)), 0.16)), 0.25),
        "shade": _diffuse(_rgb((0.92, 0.87, 0.76))),
    }
    for place in range(PICTURES):
        materials[f"picture{place}"] = _textured(f"picture{place}", textures.painting(generator), (1, 1))
    return materials


def _painted(generator: Generator, name: str, colour: Colour) -> Material:
    if generator.uniform() < 0.5:
        return _diffuse(_rgb(colour))
    return _textured(name, textures.plaster(generator, colour, 0.03), (0.5, 0.5))


def _accent(generator: Generator, colour: Colour, walls: Colour, *, tiled: bool) -> Material:
    if tiled:
        picture = textures.tiles(generator, colour, walls if generator.uniform() < 0.5 else colour, (0.8, 0.8, 0.78))
        return _coated(_bitmap("accent", (1.6, 1.6)), 0.08, {"accent.png": picture})
    kind = generator.integers(4)
    if kind == 0:
        return _textured("accent", textures.bricks(generator, (0.66, 0.40, 0.32), (0.75, 0.72, 0.68)), (1.2, 1.6))
    if kind == 1:
        return _textured("accent", textures.stripes(generator, colour, walls), (0.8, 1))
    return _textured("accent", textures.plaster(generator, colour), (0.6, 0.6))


def _floor(generator: Generator, wood: Colour, cloth: Colour, *, tiled: bool) -> Material:
    kind = 2 if tiled else generator.integers(5)
    if kind in (0, 1, 3):
        picture = textures.planks(generator, wood)
        return _coated(_bitmap("floor", (0.55, 0.9)), float(generator.uniform(0.12, 0.35)), {"floor.png": picture})
    if kind == 2:
        pale: Colour = (0.86, 0.84, 0.79)
        other = pale if generator.uniform() < 0.5 else (0.30, 0.31, 0.33)
        picture = textures.tiles(generator, pale, other, (0.55, 0.54, 0.5))
        inner = _coated(_bitmap("floor", (0.7, 0.7)), float(generator.uniform(0.04, 0.15)), {"floor.png": picture})
        return inner if generator.uniform() < 0.7 else _plastic(_bitmap("floor", (0.7, 0.7)), {"floor.png": picture})
    return _textured("floor", textures.weave(generator, cloth, WHITE), (1.5, 1.5))


def _wooden(generator: Generator, name: str, colour: Colour) -> Material:
    picture = textures.grain(generator, colour)
    if generator.uniform() < 0.3:
        return _textured(name, picture, (0.7, 2))
    return _coated(_bitmap(name, (0.7, 2)), float(generator.uniform(0.08, 0.3)), {f"{name}.png": picture})


def _woven(generator: Generator, name: str, colour: Colour, other: Colour) -> Material:
    return _textured(name, textures.weave(generator, colour, other), (3, 3))


def _patterned(generator: Generator, name: str, colour: Colour, other: Colour) -> Material:
    if generator.uniform() < 0.4:
        return _woven(generator, name, colour, other)
    return _textured(name, textures.stripes(generator, colour, other), (2.5, 2.5))


def _textured(name: str, picture: Picture, repeats: tuple[float, float]) -> Material:
    return _diffuse(_bitmap(name, repeats), {f"{name}.png": picture})


def _rgb(colour: Colour) -> str:
    linear = np.asarray(colour) ** 2.2
    return '<rgb name="NAME" value="' + ", ".join(f"{value:.4f}" for value in linear) + '"/>'


def _bitmap(name: str, repeats: tuple[float, float]) -> str:
    return (
        f'<texture name="NAME" type="bitmap"><string name="filename" value="{name}.png"/>'
        f'<transform name="to_uv"><scale x="{repeats[0]:g}" y="{repeats[1]:g}"/></transform></texture>'
    )


def _twosided(text: str, pictures: Mapping[str, Picture] | None = None) -> Material:
    return Material(f'<bsdf type="twosided">{text}</bsdf>', pictures or {})


def _diffuse(colour: str, pictures: Mapping[str, Picture] | None = None) -> Material:
    return _twosided(f'<bsdf type="diffuse">{colour.replace("NAME", "reflectance")}</bsdf>', pictures)


def _coated(colour: str, alpha: float, pictures: Mapping[str, Picture] | None = None) -> Material:
    text = colour.replace("NAME", "diffuse_reflectance")
    return _twosided(f'<bsdf type="roughplastic"><float name="alpha" value="{alpha:.3f}"/>{text}</bsdf>', pictures)


def _plastic(colour: str, pictures: Mapping[str, Picture] | None = None) -> Material:
    return _twosided(f'<bsdf type="plastic">{colour.replace("NAME", "diffuse_reflectance")}</bsdf>', pictures)


def _metal(name: str, alpha: float) -> Material:
    """alpha: its roughness; 0 for a mirror."""
    kind = "roughconductor" if alpha > 0 else "conductor"
    roughness = f'<float name="alpha" value="{alpha:.3f}"/>' if alpha > 0 else ""
    return _twosided(f'<bsdf type="{kind}"><string name="material" value="{name}"/>{roughness}</bsdf>')


def _glass(kind: str, alpha: float = 0.0) -> Material:
    roughness = f'<float name="alpha" value="{alpha:.3f}"/>' if alpha > 0 else ""
    return Material(f'<bsdf type="{kind}">{roughness}</bsdf>')
