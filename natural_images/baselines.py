"""The classical baselines of §3.1 and §3.2: each turns noisy images into denoised ones without having been trained."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.training.seeding import RandomStreams
from natural_images.image_files import BadImage

Array = NDArray[np.float64]  # an image [c h w] in [0, 1], or counts
Colours = Literal["opponent", "separate"]

SMALLEST = 16  # pixels; on images of one 8×8 block the package crashes
TABULATED = 100.0  # mean counts; above it the inverse's asymptote is exact to 2e-6
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, -1 / 2], [1 / 4, -1 / 2, 1 / 4]])  # brightness, two colours


@runtime_checkable
class Baseline(Protocol):
    """Denoises images in [-0.5, 0.5] whose noise was never clipped; the result is not clipped either."""

    def __call__(self, noisy: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]: ...


@dataclass(frozen=True)
class BlockMatching:
    """BM3D (Dabov et al. 2007), by the package of its authors, for white Gaussian noise that is never clipped.

    sigma: the noise's standard deviation in 8-bit units (25 means 25/255). colours: "opponent" is CBM3D, which filters
    brightness and two colour differences and matches blocks on brightness; "separate" treats R, G and B as three grey
    images (about 2 dB worse). On the CPU, in one thread, so that results repeat.
    """

    sigma: float
    colours: Colours = "opponent"

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma)
        _check_installed()

    def __call__(self, noisy: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The denoised images; grey or RGB, at least 16 pixels high and wide."""
        return _each(noisy, lambda image: _block_matching(image, self.sigma / 255, self.colours))


@dataclass(frozen=True)
class VarianceStabilised:
    """BM3D between the Anscombe transform and its exact unbiased inverse (Mäkitalo & Foi 2011), for Poisson noise.

    rate: the expected count λ of a white pixel; the noisy image is Poisson(λ x)/λ - 0.5 of x in [0, 1]. colours: as in
    `BlockMatching`.
    """

    rate: float
    colours: Colours = "opponent"

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)
        _check_installed()

    def __call__(self, noisy: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The denoised images; grey or RGB, at least 16 pixels high and wide."""
        return _each(noisy, self._denoised)

    def _denoised(self, image: Array) -> Array:
        black, white = anscombe(np.array([0.0, self.rate]))
        span = white - black  # BM3D's thresholds expect images in [0, 1]
        stabilised = (anscombe(self.rate * image) - black) / span
        denoised = _block_matching(stabilised, 1 / span, self.colours)
        return exact_unbiased_inverse(denoised * span + black) / self.rate


@dataclass(frozen=True)
class MedianFilter:
    """The median of a square window around each pixel, per channel; images are mirrored at their borders.

    size: the window's odd width in pixels.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise UsageError(f"the median's window must be odd and at least 1, got {self.size}. Use {self.size + 1}.")

    def __call__(self, noisy: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The filtered images."""
        from scipy.ndimage import median_filter

        filtered = median_filter(noisy.cpu().numpy(), size=(1, 1, self.size, self.size), mode="reflect")
        return torch.from_numpy(filtered).to(noisy.device)


@dataclass(frozen=True)
class DeepImagePrior:
    """A random network fitted to the valid pixels of one image (Ulyanov et al. 2018), for Bernoulli noise.

    Our U-Net instead of the original's network: the mean squared error over the valid pixels is minimised by Adam, from
    a fixed noise image to which fresh noise of standard deviation `perturbation` is added in each step. The result is
    the exponential average of the outputs with weight 1 - `smoothing`; valid pixels are not copied back.
    """

    steps: int = 5000
    learning_rate: float = 1e-3
    input_channels: int = 32
    width: int = 48
    perturbation: float = 0.03
    smoothing: float = 0.99
    seed: int = 0

    def __call__(self, noisy: Float[Tensor, "b c h w"], *, valid: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """One fit per image, on the device of `noisy`, from the same start; what lies off `valid` is never seen."""
        with torch.inference_mode(False), torch.enable_grad():
            return torch.cat([self._fit(noisy[[row]], valid[[row]]) for row in range(len(noisy))])

    def _fit(self, image: Tensor, valid: Tensor) -> Tensor:
        streams = RandomStreams(self.seed, image.device)
        _, channels, height, width = image.shape
        count = channels * valid.sum()
        if not bool(count):
            raise BadImage("the deep image prior found an image without a valid pixel. Use a smaller share p.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = UNetSpec(self.input_channels, channels, self.width, padding=0.0).build().to(image.device)
        shape = (1, self.input_channels, height, width)
        fixed = 0.1 * torch.rand(shape, generator=streams.at("fixed input", 0), device=image.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        average, weight = torch.zeros_like(image), 0.0
        for step in range(self.steps):
            fresh = torch.randn(shape, generator=streams.at("perturbation", step), device=image.device)
            output: Tensor = network(fixed + self.perturbation * fresh)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward((valid * (output - image)).square().sum() / count)
            optimiser.step()
            average = self.smoothing * average + (1 - self.smoothing) * output.detach()
            weight = self.smoothing * weight + 1 - self.smoothing
        return average / weight  # without this the average would start at grey


def anscombe(counts: Array) -> Array:
    """2√(x + 3/8): Poisson counts with a variance near 1, whatever their mean. Negative counts are taken as 0."""
    return np.asarray(2 * np.sqrt(np.maximum(counts, 0) + 3 / 8))


def exact_unbiased_inverse(stabilised: Array) -> Array:
    """The mean count m ≥ 0 whose transformed counts have this mean: the inverse of m ↦ E[2√(X + 3/8)], X ~ Poisson(m).

    From a table below m = 100, from its asymptote d²/4 - 1/8 above; 0 below the transform of 0.
    """
    transformed, means = _expected_transform()
    inside = np.interp(stabilised, transformed, means)
    return np.asarray(np.where(stabilised > transformed[-1], np.square(stabilised) / 4 - 1 / 8, inside))


@cache
def _expected_transform() -> tuple[Array, Array]:
    """E[2√(X + 3/8)] and the means m it belongs to, so close that linear interpolation errs by less than 1e-5."""
    from scipy.stats import poisson

    means = np.square(np.linspace(0, np.sqrt(TABULATED), 2000))
    counts = np.arange(3 * TABULATED)
    return poisson.pmf(counts, means[:, None]) @ anscombe(counts), means


def _block_matching(image: Array, sigma: float, colours: Colours) -> Array:
    """BM3D with the package's standard profile, on an image [c h w] in about [0, 1] with noise of deviation `sigma`."""
    import bm3d

    channels, *size = image.shape
    if channels not in (1, 3) or min(size) < SMALLEST:
        found = f"{channels} of {size[0]}×{size[1]}"
        raise BadImage(f"BM3D needs 1 or 3 channels of at least {SMALLEST}×{SMALLEST} pixels, got {found}.")
    profile: Any = bm3d.BM3DProfile()
    profile.num_threads = 1  # the order of its sums, and so the last bits, would depend on more
    if channels == 1 or colours == "separate":
        return np.stack([np.asarray(bm3d.bm3d(channel, sigma, profile)) for channel in image])
    # The package's own colour version divides each channel by its range, which is 0 for flat images.
    deviations = sigma * np.linalg.norm(OPPONENT, axis=1)
    filtered = bm3d.bm3d(np.moveaxis(np.tensordot(OPPONENT, image, 1), 0, -1), list(deviations), profile)
    return np.asarray(np.tensordot(np.linalg.inv(OPPONENT), np.moveaxis(filtered, -1, 0), 1))


def _each(noisy: Float[Tensor, "b c h w"], denoised: Callable[[Array], Array]) -> Float[Tensor, "b c h w"]:
    """Apply a function of one image [c h w] in [0, 1], on the CPU in double precision."""
    images = noisy.double().cpu().numpy() + 0.5
    results = np.stack([denoised(image) for image in images]) - 0.5
    return torch.from_numpy(results).to(noisy)


def _check_installed() -> None:
    """Before the first image, and before any training that comes first."""
    if find_spec("bm3d") is None:
        raise UsageError("BM3D is not installed. Run: pip install 'mri-n2n[baselines]'")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise UsageError(f"{name} must be a number above 0, got {value:g}.")
