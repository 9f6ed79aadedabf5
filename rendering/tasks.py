"""What is drawn for a network that denoises renderings: two renders of one view, on one exposure."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d

from mri_n2n.training.task import Batch, TrainingPair, network_output
from rendering.radiance import GAMMA

Targets = Literal["noisy", "clean"]
Scale = Literal["linear", "tone-mapped"]
Output = Literal["logarithm", "linear", "tone-mapped"]

COLOUR, ALBEDO, NORMAL = slice(0, 3), slice(3, 6), slice(6, 9)  # of a render's nine planes
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear red, green and blue (Rec. 709)
GREY = 0.18  # where an exposure puts the geometric mean of the luminance
BLOCK = 8  # pixels a side whose mean luminance counts: single pixels are noise, and the logarithm of noise is biased
DARKEST = 1e-3  # of the mean luminance: what is darker decides an exposure as if it were this bright
BLACK = 1e-12  # a luminance that no image with light in it has
LARGEST = math.log(65504)  # the largest logarithm of radiance: what half precision holds

Render = Float[Tensor, "b 9 h w"]
Radiance = Float[Tensor, "b 3 h w"]
Exposure = Float[Tensor, " b"]


def tone_mapped(radiance: Tensor) -> Tensor:
    """T(v) = (v / (1 + v))^(1/2.2), in [0, 1); what is below 0 counts as 0."""
    positive = radiance.clamp(min=0.0)
    return (positive / (1.0 + positive)) ** (1.0 / GAMMA)


def linear(toned: Tensor) -> Tensor:
    """The radiance that has this tone: T's inverse, of values clamped to [0, 1)."""
    share = toned.clamp(0.0, 0.9999) ** GAMMA
    return share / (1.0 - share)


def exposure_of(colour: Radiance) -> Exposure:
    """The factor that brings an image to middle grey. Only ever of an input: a target's would know its noise."""
    luminance = (colour * colour.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)
    side = min(BLOCK, *luminance.shape[-2:])
    floor = DARKEST * luminance.mean(dim=(1, 2, 3), keepdim=True).clamp(min=BLACK)
    mean = torch.maximum(avg_pool2d(luminance, side), floor).log().mean(dim=(1, 2, 3)).exp()
    return GREY / mean


@dataclass(frozen=True)
class Encoding:
    """How a render is put to the network, and what its output means.

    input: the scale of its colour. output: "logarithm" (of radiance), "linear" (radiance, as in the paper), or
    "tone-mapped", with targets alike, whose mean is not the clean value. exposed: whether radiance is first scaled to
    middle grey, by the input.
    """

    input: Scale = "tone-mapped"
    output: Output = "logarithm"
    exposed: bool = True

    def exposure(self, render: Render) -> Exposure:
        """The factor that this render's radiance, and its target's, is multiplied by."""
        return exposure_of(render[:, COLOUR]) if self.exposed else torch.ones_like(render[:, 0, 0, 0])

    def encoded(self, render: Render, exposure: Exposure) -> Render:
        """What the network sees: colour in the scale of the input, albedo and normals as they are."""
        colour = render[:, COLOUR] * exposure[:, None, None, None]
        shown = tone_mapped(colour) if self.input == "tone-mapped" else colour
        return torch.cat([shown, render[:, ALBEDO], render[:, NORMAL]], dim=1)

    def wanted(self, radiance: Radiance, exposure: Exposure) -> Radiance:
        """What a prediction is compared with."""
        exposed = radiance * exposure[:, None, None, None]
        return tone_mapped(exposed) if self.output == "tone-mapped" else exposed

    def radiance(self, output: Radiance, exposure: Exposure) -> Radiance:
        """The radiance that the network's output means, not below 0."""
        if self.output == "tone-mapped":
            scaled = linear(output)
        else:
            scaled = radiance_of_logarithm(output) if self.output == "logarithm" else output.clamp(min=0.0)
        return scaled / exposure[:, None, None, None]


def radiance_of_logarithm(output: Radiance) -> Radiance:
    """The exponential of a network's output, as far as half precision holds it."""
    return output.clamp(max=LARGEST).exp()


def radiance_predicted(network: nn.Module, pair: TrainingPair) -> Radiance:
    """The prediction of a network that gives the logarithm of radiance."""
    return radiance_of_logarithm(network_output(network, pair))


@dataclass(frozen=True)
class TwoRenders:
    """Picks two renders of each view, in either order, and mirrors and turns them together.

    "noisy" targets: the radiance of the second render. "clean" targets: the reference, which the batch then holds as
    its last one.
    """

    encoding: Encoding = Encoding()
    targets: Targets = "noisy"

    def __call__(self, batch: Batch, generator: Generator) -> TrainingPair:
        """Draw the pair. The batch holds the renders `[s 9 h w]` of each row, in linear radiance."""
        renders = batch.images.float()
        noisy = renders.shape[1] - (self.targets == "clean")
        count, device = len(renders), renders.device
        chosen = torch.rand((count, noisy), generator=generator, device=device).argsort(dim=1)
        which = torch.arange(count, device=device)
        first = renders[which, chosen[:, 0]]
        second = renders[:, -1] if self.targets == "clean" else renders[which, chosen[:, 1]]
        flips = torch.rand((3, count), generator=generator, device=device) < 0.5
        first, second = turned(first, flips), turned(second, flips)
        exposure = self.encoding.exposure(first)
        target = self.encoding.wanted(second[:, COLOUR], exposure)
        return TrainingPair(self.encoding.encoded(first, exposure), target)


def turned(render: Render, flips: Bool[Tensor, "3 b"]) -> Render:
    """Each square render mirrored left to right, upside down and along its diagonal, where asked for.

    All of a square's eight turns are made of these. The scene is turned with its image, and so its normals.
    """
    across, over, along = flips[:, :, None, None, None]
    x, y = ([1.0] * 6 + sign for sign in ([-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]))
    render = torch.where(across, render.flip(-1) * render.new_tensor(x)[:, None, None], render)
    render = torch.where(over, render.flip(-2) * render.new_tensor(y)[:, None, None], render)
    mirrored = torch.cat([render[:, :6], -render[:, 7:8], -render[:, 6:7], render[:, 8:]], dim=1).transpose(-1, -2)
    return torch.where(along, mirrored, render)
