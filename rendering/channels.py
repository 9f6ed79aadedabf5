"""Which channels of an image are its colour, albedo and normals: renderers name them each in their own way."""

from collections.abc import Sequence
from dataclasses import dataclass

from mri_n2n.errors import UsageError

# The last part of a layer's name, the most wanted first; lower case, _ for a space. "" is R, G, B without a layer.
# Blender's Noisy Image is what its Combined was before it was denoised.
COLOUR = ("noisy_image", "", "combined", "beauty", "rgba", "rgb", "color", "colour", "image", "<root>")
ALBEDO = ("denoising_albedo", "denoise_albedo", "albedo", "diffuse_albedo")
NORMAL = ("denoising_normal", "denoise_normal", "sh_normal", "ns", "normal", "n")
FORWARD = "denoising_normal"  # Blender's, in axes of its own: see docs/rendering.md
LATE = "composite"  # of Blender: what its compositor made of the render
LISTED = 30  # channels that an error names


@dataclass(frozen=True)
class Place:
    """Where a channel is: the place of its part in the file, the part's name ("" if there is one only), its name."""

    part: int
    part_name: str
    name: str

    @property
    def path(self) -> str:
        """The whole name, the part's included."""
        return f"{self.part_name}.{self.name}" if self.part_name else self.name

    @property
    def layer(self) -> tuple[str, ...]:
        """What the name says before the last dot, dot by dot. A part's name that the channel repeats counts once."""
        own = tuple(_plain(self.name).split("."))[:-1]
        part = tuple(_plain(self.part_name).split(".")) if self.part_name else ()
        return own if own[: len(part)] == part else part + own

    @property
    def component(self) -> str:
        """What it says after it: r, g, b, x, y, z or anything else."""
        return _plain(self.name).split(".")[-1]


@dataclass(frozen=True)
class Found:
    """Three channels each, in the order of red, green, blue or x, y, z. forward: the normals' z looks forward."""

    colour: tuple[Place, ...]
    albedo: tuple[Place, ...] | None
    normal: tuple[Place, ...] | None
    forward: bool

    def places(self) -> list[Place]:
        """All of them."""
        return [place for three in (self.colour, self.albedo, self.normal) if three is not None for place in three]


def find_channels(places: Sequence[Place]) -> Found:
    """The channels of colour, albedo and normals, the latter two `None` where there are none.

    Several layers that would do: first by the order of the names above, then what is not of Blender's compositor, then
    the file's order; albedo and normals of colour's own view layer before others'. Raises `UsageError` for no colour,
    or for a part of three channels.
    """
    colour, _ = _three(places, "colour", COLOUR, ("rgb",), None)
    if colour is None:
        raise _wrong(places, "no colour: channels R, G, B or a layer of them (as Combined, beauty or rgba)")
    above = colour[0].layer[:-1]
    albedo, _ = _three(places, "albedo", ALBEDO, ("rgb",), above)
    normal, name = _three(places, "normals", NORMAL, ("xyz", "rgb"), above)
    return Found(colour, albedo, normal, forward=name == FORWARD)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_")


def _three(
    places: Sequence[Place], what: str, names: Sequence[str], letters: Sequence[str], above: tuple[str, ...] | None
) -> tuple[tuple[Place, ...] | None, str]:
    layers: dict[tuple[str, ...], dict[str, Place]] = {}
    for place in places:
        last = place.layer[-1] if place.layer else ""
        if last in names and place.component in "".join(letters):
            layers.setdefault(place.layer, {}).setdefault(place.component, place)

    def rank(layer: tuple[str, ...]) -> tuple[bool, int, bool]:
        last = layer[-1] if layer else ""
        return above is not None and layer[:-1] != above, names.index(last), layer[:1] == (LATE,)

    wanted = sorted(layers, key=rank)  # stable: else the file's order
    for layer in wanted:
        for three in letters:
            if set(three) <= set(layers[layer]):
                return tuple(layers[layer][letter] for letter in three), layer[-1] if layer else ""
    partly = next((layers[layer] for layer in wanted), None)
    if partly is not None:
        there = ", ".join(place.path for place in partly.values())
        raise _wrong(
            places,
            f"{what} of {there} only, expected three: {' or '.join(', '.join(three.upper()) for three in letters)}",
        )
    return None, ""


def _wrong(places: Sequence[Place], said: str) -> UsageError:
    listed = ", ".join(place.path for place in places[:LISTED])
    more = f" and {len(places) - LISTED} more" if len(places) > LISTED else ""
    return UsageError(f"{said}; it has {listed or 'no channels'}{more}.")
