"""False-alarm rates: each statistical threshold is exceeded by a right program with probability below 1e-6.

Six standard errors over at least 400 independent images are exceeded with probability 4e-9.
"""

import math
import time
from dataclasses import fields

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import kstest
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mri_n2n.errors import UsageError
from natural_images import overlays
from natural_images.noise import Realisation
from natural_images.overlays import CHARACTERS, FONT_SIZES, Glyphs, TextOverlay, rendered_glyphs

FALSE_ALARM = 1e-6
CPU = torch.device("cpu")


def overlaid(
    clean: torch.Tensor, level: float, generator: torch.Generator | int, overlay: TextOverlay | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The image with text, and where the text lies, [b h w]."""
    if isinstance(generator, int):
        generator = torch.Generator(clean.device).manual_seed(generator)
    levels = torch.full((len(clean),), level, device=clean.device)
    realisation: Realisation = (overlay or TextOverlay())(clean, levels, generator)
    assert realisation.corrupted is not None
    return realisation.image, realisation.corrupted[:, 0]


def far(*shape: int) -> torch.Tensor:
    """Images in [1, 2), far from the colours of text, so that every replaced pixel shows."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(99)) + 1


def standard_score(samples: torch.Tensor) -> float:
    """The mean over independent images, in standard errors."""
    return float(samples.double().mean() / samples.double().std() * math.sqrt(len(samples)))


@pytest.mark.parametrize(("height", "width", "count"), [(64, 64, 400), (256, 256, 60), (512, 768, 12)])
@pytest.mark.parametrize("level", [0.05, 0.25, 0.5])
def test_the_level_is_covered(level: float, height: int, width: int, count: int) -> None:
    """By every image to within one letter, and on average.

    The first has no false alarms as long as the strings suffice; of 49,000 images at level 0.5 none fell short. One
    image of 64 × 64 deviates by 0.016, so the threshold of the mean is six of its standard errors, or more.
    """
    _, text = overlaid(torch.zeros(count, 1, height, width), level, 1)
    share = text.double().mean((1, 2))
    assert (share - level).abs().max() < rendered_glyphs(CPU).ink.max() / (height * width)
    assert share.mean() == pytest.approx(level, abs=0.005)


@pytest.mark.parametrize("level", [0.1, 0.25, 0.5])
def test_tiny_images_are_covered_on_average(level: float) -> None:
    """Where letters are larger than the image, the level is met in expectation alone."""
    share = overlaid(torch.zeros(1500, 1, 8, 8), level, 2)[1].double().mean((1, 2))
    assert abs(standard_score(share - level)) < 6


def test_every_image_has_its_own_level() -> None:
    levels = torch.linspace(0, 0.5, 11)
    corrupted = TextOverlay()(torch.zeros(11, 3, 256, 256), levels, torch.Generator()).corrupted
    assert corrupted is not None
    assert torch.allclose(corrupted.float().mean((1, 2, 3)), levels, atol=0.009)


def test_high_levels() -> None:
    """0.95 is reached when asked for at the start; a level that was not foreseen gets all the strings there are."""
    clean = torch.zeros(20, 1, 128, 128)
    assert overlaid(clean, 0.95, 3, TextOverlay(high=0.95))[1].float().mean() == pytest.approx(0.95, abs=0.01)
    assert 0.5 < overlaid(clean, 0.95, 3)[1].float().mean() < 0.95


@pytest.mark.parametrize("shape", [(5, 3, 37, 129), (5, 1, 64, 64), (50, 3, 8, 8), (50, 1, 1, 1), (2, 4, 5, 200)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_only_text_changes(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Uncovered pixels are the clean ones to the last bit, covered ones have a colour of the range in all channels."""
    clean = far(*shape).to(dtype)
    image, text = overlaid(clean, 0.4, 4)
    assert image.dtype == dtype
    assert torch.equal(image.movedim(1, -1)[~text], clean.movedim(1, -1)[~text])
    assert image.movedim(1, -1)[text].abs().max() <= 0.5
    assert text.any()


def test_level_zero_covers_nothing() -> None:
    clean = far(20, 3, 64, 64)
    image, text = overlaid(clean, 0.0, 5)
    assert torch.equal(image, clean)
    assert not text.any()


def test_the_generator_decides() -> None:
    clean = far(4, 3, 64, 64)
    generator = torch.Generator().manual_seed(6)
    first, second = overlaid(clean, 0.25, generator)[0], overlaid(clean, 0.25, generator)[0]
    assert torch.equal(first, overlaid(clean, 0.25, 6)[0])
    assert not torch.equal(first, second)
    assert not torch.equal(first, overlaid(clean, 0.25, 7)[0])


def test_overlays_are_independent() -> None:
    """Of a pair, of two generators and of two images of a batch: the masks overlap as often as chance has it."""
    clean, generator = torch.zeros(500, 1, 64, 64), torch.Generator().manual_seed(8)
    input_text, target_text = (overlaid(clean, 0.25, generator)[1].float() for _ in range(2))
    other = overlaid(clean, 0.25, 9)[1].float()
    for a, b in ((input_text, target_text), (input_text, other), (input_text, input_text.roll(1, 0))):
        covariance = (a * b).mean((1, 2)) - a.mean((1, 2)) * b.mean((1, 2))
        assert abs(standard_score(covariance)) < 6


def test_both_sides_are_covered_alike() -> None:
    text = overlaid(torch.zeros(1000, 1, 64, 64), 0.25, 10)[1].float()
    assert abs(standard_score(text[:, :, :8].mean((1, 2)) - text[:, :, -8:].mean((1, 2)))) < 6
    assert abs(standard_score(text[:, :8].mean((1, 2)) - text[:, -8:].mean((1, 2)))) < 6
    border = torch.cat((text[:, :, :4], text[:, :, -4:]), 2).mean()
    assert border == pytest.approx(0.25, abs=0.04)  # six standard errors; letters cut by the border are no exception


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_uniform(channels: int) -> None:
    """At one pixel of each image, so that the colours are independent; channels are independent too."""
    image, text = overlaid(far(2000, channels, 8, 8), 0.5, 11)
    colours = image[:, :, 4, 4][text[:, 4, 4]]
    assert len(colours) > 800
    for colour in colours.T:
        assert kstest(colour.numpy(), "uniform", (-0.5, 1)).pvalue > FALSE_ALARM / channels
    for i in range(channels):
        for j in range(i):
            assert abs(standard_score(colours[:, i] * colours[:, j])) < 6


def test_strings_vary() -> None:
    """In number at one level, in colour within an image; a string is not a single dot."""
    image, text = overlaid(torch.full((10, 1, 256, 256), 2.0), 0.1, 12)
    numbers = [len(values.unique()) for values in (image[i, 0][text[i]] for i in range(10))]
    assert min(numbers) > 1
    assert len(set(numbers)) > 3
    assert max(numbers) < 0.1 * 256 * 256 / 60  # letters of 12 pixels have 20 of ink, strings three letters or more


@pytest.mark.parametrize("size", FONT_SIZES)
def test_letters_are_those_of_the_font(size: int) -> None:
    """Written by Pillow at one baseline, a pixel is ink where it is at least half covered."""
    glyphs, font = rendered_glyphs(CPU), ImageFont.load_default(size)
    place = FONT_SIZES.index(size)
    baselines = set()
    for number, character in enumerate("AHxz17"):
        glyph = place * len(CHARACTERS) + CHARACTERS.index(character)
        which = slice(int(glyphs.start[glyph]), int(glyphs.start[glyph] + glyphs.ink[glyph]))
        picture = Image.new("L", (100, 100))
        ImageDraw.Draw(picture).text((20, 60), character, fill=255, font=font, anchor="ls")
        opacity = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(100, 100)
        expected = (opacity >= 128).nonzero()
        shift = expected[0] - torch.stack((glyphs.rows, glyphs.columns), 1)[which][0]
        assert torch.equal(expected, torch.stack((glyphs.rows, glyphs.columns), 1)[which] + shift), number
        assert glyphs.rows[which].max() < glyphs.height[place]
        assert glyphs.columns[which].max() < glyphs.width[glyph]
        baselines.add(int(shift[0]))
    assert len(baselines) == 1


def test_the_host_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without contents raise where a program wants to know a value or a size that depends on one."""
    overlays._budget(64, 64, 0.5)  # host work, remembered for each image size
    real, mode = rendered_glyphs(CPU), FakeTensorMode()
    parts = {part.name: getattr(real, part.name) for part in fields(real)}
    tensors = {name: mode.from_tensor(part) for name, part in parts.items() if isinstance(part, torch.Tensor)}
    empty = Glyphs(**{**parts, **tensors})
    monkeypatch.setattr(overlays, "rendered_glyphs", lambda device: empty)
    with mode:
        image, text = overlaid(torch.zeros(2, 3, 64, 64), 0.25, torch.Generator())
        assert image.shape == (2, 3, 64, 64)
        with pytest.raises(DataDependentOutputException):
            bool(text.any())


@pytest.mark.cuda
def test_the_host_never_waits_for_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    clean = torch.zeros(4, 3, 256, 256, device="cuda")
    generator = torch.Generator("cuda").manual_seed(13)
    levels = torch.linspace(0.1, 0.4, 4, device="cuda")
    TextOverlay()(clean, levels, generator)  # the letters are rendered and moved
    torch.cuda.set_sync_debug_mode("error")
    try:
        realisation = TextOverlay()(clean, levels, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert realisation.corrupted is not None
    assert torch.allclose(realisation.corrupted.float().mean((1, 2, 3)), levels, atol=0.009)


def test_speed() -> None:
    """The fastest of ten batches of four crops, in time of one core: 7 ms when idle; the bound is generous."""
    clean, seconds, threads = torch.zeros(4, 3, 256, 256), [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in range(10):
            begin = time.process_time()
            overlaid(clean, 0.25, seed)
            seconds.append(time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    assert min(seconds) < 0.1


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.4, 0.3), (0.0, 1.0), (0.0, float("nan"))])
def test_impossible_levels(low: float, high: float) -> None:
    with pytest.raises(UsageError, match="low to high"):
        TextOverlay(low, high)
