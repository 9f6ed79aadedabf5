"""Random text overlays (§3.2, Figure 3): strings of random size, colour and place, also on top of each other."""

import math
import string
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor
from torch.nn.functional import pad

from mri_n2n.errors import UsageError
from natural_images.noise import Images, Levels, Realisation

CHARACTERS = string.ascii_letters + string.digits
FONT_SIZES = tuple(range(12, 49, 4))
"""Pixels per em. They do not follow the image's size, so that crops and whole photographs carry the same text."""
SHORTEST, LONGEST = 3, 12  # characters of a string
LARGEST = 0.95  # level: the ink it takes grows without bound towards 1


@dataclass(frozen=True)
class TextOverlay:
    """Covers pixels with text; the level is the wished covered share of the pixels.

    Font (Pillow's own) and direction are fixed; number, place, length, size, characters and colour of the strings are
    random. Colours are uniform in [-0.5, 0.5], the range of the images.

    The covered share equals the level in expectation and differs from it by less than the ink of one letter, at most
    about 560 pixels or 0.9 % of 256 × 256. There are strings for levels up to `high` (at least TEST_LEVEL); a level
    above it keeps all of them, which covers somewhat more than `high`.
    """

    low: float = 0.0
    high: float = 0.5
    TEST_LEVEL: ClassVar[float] = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= LARGEST:
            wanted = f"text covers a share of the pixels, low to high: give 0 <= low <= high <= {LARGEST}"
            raise UsageError(f"{wanted}, found {self.low:g} to {self.high:g}.")

    def __call__(self, clean: Images, levels: Levels, generator: Generator) -> Realisation:
        """Overlay independent text on each image. Levels and generator are on the images' device."""
        batch, channels, height, width = clean.shape
        strings, ink = _budget(height, width, max(self.high, self.TEST_LEVEL))
        shape = (batch, strings, channels + 5 + LONGEST)
        uniform = torch.rand(shape, generator=generator, device=clean.device)
        rounding = torch.rand(batch, generator=generator, device=clean.device)
        top = _topmost(_layout(uniform[..., channels:], height, width), height, width, ink)
        covered = (top < _kept(top, strings * LONGEST, levels, rounding)[:, None, None])[:, None]
        colours = (uniform[..., :channels] - 0.5).to(clean.dtype).movedim(1, 2)
        of_string = (top // LONGEST).clamp(max=strings - 1).flatten(1)
        text = colours.gather(2, of_string[:, None].expand(-1, channels, -1)).view(clean.shape)
        # A pixel is text or it is not: were the edges of the letters blended, a pixel would hold a mixture with some
        # probability, and no longer its own colour with probability 1 - p, on which the median rests.
        return Realisation(torch.where(covered, text, clean), covered)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Every character at every font size (a glyph), as the list of its inked pixels.

    rows, columns: of all ink, glyph after glyph, counted from the upper left corner of the glyph's cell, which holds
    all its ink. start, ink: where a glyph's pixels begin in that list, and how many they are. width: of the cell.
    height: of all cells of one font size, with the baseline at the same place. largest: the highest and the widest
    cell, known to the host.
    """

    rows: Int[Tensor, " pixels"]
    columns: Int[Tensor, " pixels"]
    start: Int[Tensor, " glyphs"]
    ink: Int[Tensor, " glyphs"]
    width: Int[Tensor, " glyphs"]
    height: Int[Tensor, " sizes"]
    largest: tuple[int, int]


@lru_cache(maxsize=4)
def rendered_glyphs(device: torch.device) -> Glyphs:
    """The glyphs, rendered once for each device."""
    cells = [_cells(size) for size in FONT_SIZES]
    inked = [(opacity >= 128).nonzero() for opacities, _ in cells for opacity in opacities]
    ink = torch.tensor([len(pixels) for pixels in inked])
    width = torch.tensor([cell_width for _, widths in cells for cell_width in widths])
    height = torch.tensor([opacities.shape[1] for opacities, _ in cells])
    rows, columns = torch.cat(inked).T
    largest = int(height.max()), int(width.max())
    rows, columns, ink, width, height = (tensor.to(device) for tensor in (rows, columns, ink, width, height))
    return Glyphs(rows, columns, ink.cumsum(0) - ink, ink, width, height, largest)


def _cells(size: int) -> tuple[UInt8[Tensor, "characters h w"], list[int]]:
    """All characters in one font size, opacities in [0, 255], and the widths of their cells."""
    font = ImageFont.load_default(size)
    boxes = [font.getbbox(character, anchor="ls") for character in CHARACTERS]
    lefts = [min(0, math.floor(box[0])) for box in boxes]  # a letter that begins before its cell is moved into it
    ends = [math.ceil(max(box[2], font.getlength(c))) for c, box in zip(CHARACTERS, boxes, strict=True)]
    widths = [end - left for left, end in zip(lefts, ends, strict=True)]
    above = -math.floor(min(box[1] for box in boxes))
    below = math.ceil(max(box[3] for box in boxes))
    opacities = []
    for character, left in zip(CHARACTERS, lefts, strict=True):
        cell = Image.new("L", (max(widths), above + below))
        ImageDraw.Draw(cell).text((-left, above), character, fill=255, font=font, anchor="ls")
        opacities.append(torch.frombuffer(bytearray(cell.tobytes()), dtype=torch.uint8).view(cell.height, cell.width))
    return torch.stack(opacities), widths


@lru_cache(maxsize=256)
def _budget(height: int, width: int, level: float) -> tuple[int, int]:
    """The strings, and the pixels of ink, that suffice for a level: all a host knows that does not read the levels."""
    glyphs = rendered_glyphs(torch.device("cpu"))
    ink, cell_width = (part.double().view(len(FONT_SIZES), -1).mean(1) for part in (glyphs.ink, glyphs.width))
    length = (SHORTEST + LONGEST) / 2
    places = (height + glyphs.height) * (width + length * cell_width)
    thickness = -math.log1p(-level)  # mean number of strings over a pixel, were each pixel of ink independent
    strings = thickness / float((length * ink / places).mean())
    in_view = float((length * ink * (height + glyphs.height) * (width + cell_width) / places).mean())
    # The margins: strings differ much in ink, and what a few letters cover of a tiny image is a matter of luck.
    return math.ceil(1.3 * strings) + 16, math.ceil(1.1 * strings * in_view) + 12 * int(glyphs.ink.max())


@dataclass(frozen=True, slots=True)
class Layout:
    """Every character of every string: its glyph, its upper left corner, and whether any of its cell is in view."""

    glyph: Int[Tensor, "b strings longest"]
    top: Int[Tensor, "b strings 1"]
    left: Int[Tensor, "b strings longest"]
    in_view: Bool[Tensor, "b strings longest"]


def _layout(uniform: Float[Tensor, "b strings numbers"], height: int, width: int) -> Layout:
    """Size, length, place and characters of the strings, from uniform numbers in [0, 1)."""
    glyphs = rendered_glyphs(uniform.device)
    size = (uniform[..., 0] * len(FONT_SIZES)).long()
    length = SHORTEST + (uniform[..., 1, None] * (LONGEST - SHORTEST + 1)).long()
    glyph = size[..., None] * len(CHARACTERS) + (uniform[..., 5:] * len(CHARACTERS)).long()
    cell_width = glyphs.width[glyph] * (torch.arange(LONGEST, device=uniform.device) < length)
    end = cell_width.cumsum(-1)
    # A string may be kept in part: half of them are written from their end, or the left would be covered more often.
    within = torch.where(uniform[..., 4, None] < 0.5, end - cell_width, end[..., -1:] - end)
    # Every place from which a string reaches the image is equally likely, so that the border is covered like the rest.
    above, beside = glyphs.height[size, None] - 1, end[..., -1:] - 1
    top = (uniform[..., 2, None] * (height + above)).long() - above
    left = (uniform[..., 3, None] * (width + beside)).long() - beside + within
    return Layout(glyph, top, left, (left + cell_width > 0) & (left < width) & (cell_width > 0))


def _topmost(layout: Layout, height: int, width: int, budget: int) -> Int[Tensor, "b h w"]:
    """For each pixel the index of the uppermost character with ink there; the number of characters where none has.

    Earlier characters lie on top: whether the later ones are there or not does not change how the first ones look.
    """
    device, batch = layout.glyph.device, layout.glyph.shape[0]
    glyphs = rendered_glyphs(device)
    above, beside = glyphs.largest
    rows, columns = height + 2 * above, width + 2 * beside  # a canvas on which no letter is cut at the border
    # `budget` pixels are painted in each image, a number the host knows. What is too much is left out; what is too
    # little is filled by one last character, which stands for "none" and paints a corner of the canvas.
    ink = (glyphs.ink[layout.glyph] * layout.in_view).flatten(1)
    end = pad(ink.cumsum(1).clamp(max=budget), (1, 1))
    end[:, -1] = budget
    number = end.shape[1] - 1
    image = torch.arange(batch, device=device)[:, None]
    corner = pad(((layout.top + above) * columns + layout.left + beside).flatten(1), (0, 1)) + image * rows * columns
    start = pad(glyphs.start[layout.glyph].flatten(1), (0, 1), value=len(glyphs.rows)) - end[:, :-1] - image * budget
    places = pad(glyphs.rows * columns + glyphs.columns, (0, budget))

    character = torch.repeat_interleave(end.diff(dim=1).flatten(), output_size=batch * budget)
    pixel = start.flatten()[character] + torch.arange(batch * budget, device=device)
    canvas = torch.full((batch * rows * columns,), batch * number, device=device)
    canvas.scatter_reduce_(0, corner.flatten()[character] + places[pixel], character, "amin")
    top = canvas.view(batch, rows, columns)[:, above : above + height, beside : beside + width]
    return (top - image[:, :, None] * number).clamp(max=number - 1)


def _kept(top: Int[Tensor, "b h w"], characters: int, levels: Levels, rounding: Levels) -> Int[Tensor, " b"]:
    """How many of the first characters to keep so that they cover the levels.

    The last one is kept with the probability that makes the covered share right in expectation, however large the
    letters are against the image. rounding: uniform in [0, 1).
    """
    owner = top.flatten(1)
    own = torch.zeros((len(owner), characters + 1), device=top.device, dtype=torch.long)
    own = own.scatter_add_(1, owner, torch.ones_like(owner))[:, :-1]
    covered = own.cumsum(1)
    wished = levels[:, None] * owner.shape[1]
    whole = (covered <= wished).sum(1, keepdim=True)
    last = whole.clamp(max=characters - 1)
    missing = wished - (covered - own).gather(1, last)
    more = rounding[:, None] * own.gather(1, last) < missing
    return (whole + (more & (whole < characters)))[:, 0]
