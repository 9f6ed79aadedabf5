"""How good a reconstruction is where nobody knows the truth: its error on samples that were held out of its input."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import stdtrit
from torch import Generator, Tensor, nn

from mri_n2n.kspace.acquisition import Measurement, density_compensated_adjoint, split
from mri_n2n.kspace.channels import as_channels, from_channels
from mri_n2n.kspace.fourier import to_kspace
from mri_n2n.kspace.sampling import uniform_numbers
from mri_n2n.task import HorvitzThompson, UndersampledPair
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Predict

QUALITY = "quality.json"  # in a run's evaluation: the validation subjects' figures
SLICES = 8  # of a volume, evenly spread
RARE = 0.005  # how often a value is called an outlier that was drawn like the known ones
ENOUGH = 5  # subjects that an outlier is told from


@dataclass(frozen=True)
class Quality:
    """What is known of some images without a reference.

    held_out_psnr: in dB, estimated as in `held_out_errors`; None where nothing was held out. consistency_residual: what
    the network's own images, before the acquired samples are put back, leave unexplained of these, as a share of their
    root mean square, DC aside; None where there are none.
    """

    held_out_psnr: float | None
    consistency_residual: float | None


class OncePerImage(nn.Module):
    """A network that knows its last answer: methods that ask it about the same tensor in turn cost one pass.

    The tensor is told by its identity, and neither it nor the weights may change in between.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._image: Tensor | None = None
        self._output: Tensor | None = None

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m h w"]:
        """The network's output."""
        if self._output is None or image is not self._image:
            self._image, self._output = image, self._network(image)
        return self._output


@torch.inference_mode()
def quality_of(
    network: nn.Module, predict: Predict[Any], parts: Iterable[tuple[Measurement, Sequence[str]]]
) -> Quality:
    """Of all parts together: measurements, and the identities of their images (see `held_out_split`)."""
    errors, unexplained, acquired = [], 0.0, 0.0
    for measurement, identities in parts:
        pair, once = held_out_pair(measurement, identities), OncePerImage(network)
        errors.append(held_out_error(predict(once, pair), pair))
        left, energy = _residual(once(pair.input), pair.measurement)
        unexplained, acquired = unexplained + left, acquired + energy
    residual = math.sqrt(unexplained / acquired) if acquired > 0 else None
    return Quality(decibels(float(torch.cat(errors).mean())), residual)


@torch.inference_mode()
def held_out_errors(
    network: nn.Module, predict: Predict[Any], measurement: Measurement, identities: Sequence[str]
) -> Float[Tensor, " b"]:
    """For each image an unbiased estimate of the mean squared error of a reconstruction from about half the samples.

    The measurement is split in two; the network sees the one, and its error on the samples of the other, each weighted
    by 1/p, is what all frequencies together would show. Thermal noise in the samples counts as error. identities: of
    the images, which decide how they are split.
    """
    pair = held_out_pair(measurement, identities)
    return held_out_error(predict(network, pair), pair)


def held_out_pair(measurement: Measurement, identities: Sequence[str]) -> UndersampledPair:
    """One half of each measurement to see, and the other one to be scored on."""
    first, second = held_out_split(measurement, identities)
    image = as_channels(density_compensated_adjoint(first))
    return UndersampledPair(image, image, first, second)


def held_out_split(measurement: Measurement, identities: Sequence[str]) -> tuple[Measurement, Measurement]:
    """Each measurement in two, as its identity decides: the same on every machine."""
    numbers = [uniform_numbers(measurement.grid, 1, _generator(name), real=measurement.real) for name in identities]
    return split(measurement, torch.cat(numbers).to(measurement.samples.device))


def held_out_error(prediction: Float[Tensor, "b c h w"], pair: UndersampledPair) -> Float[Tensor, " b"]:
    """The mean squared error of each image, estimated from the target's samples that are not in the input."""
    return HorvitzThompson(cap=math.inf)(prediction, pair, progress=0.0)


def _residual(output: Float[Tensor, "b c h w"], measurement: Measurement) -> tuple[float, float]:
    """The energies of what the images leave unexplained of the samples, and of the samples, without DC."""
    weights = measurement.multiplicity * measurement.mask
    weights[:, 0, 0] = 0
    left = to_kspace(from_channels(output.float())) - measurement.samples
    unexplained, acquired = (float((weights * part.abs().square()).sum()) for part in (left, measurement.samples))
    return unexplained, acquired


def decibels(error: float) -> float | None:
    """A mean squared error as PSNR (white is 1); None where nothing was held out."""
    return -10 * math.log10(error) if error > 0 else None


def outlier(value: float, known: Sequence[float]) -> bool | None:
    """Whether a study's figure is below the lower 99.5 % prediction limit (Student's) of the known ones.

    None with fewer than five known.
    """
    if len(known) < ENOUGH:
        return None
    count = len(known)
    reach = float(stdtrit(count - 1, 1 - RARE)) * float(np.std(known, ddof=1)) * math.sqrt(1 + 1 / count)
    return value < float(np.mean(known)) - reach


def unlike(quality: Quality, known: Sequence[Quality]) -> bool | None:
    """Whether a study is an outlier: its PSNR lower, or its residual higher, than those of the known ones.

    None where nothing can be said.
    """
    said = []
    for figure in (lambda one: one.held_out_psnr, _negative):
        own, others = figure(quality), [value for value in map(figure, known) if value is not None]
        if own is not None:
            said.append(outlier(own, others))
    return None if all(one is None for one in said) else any(said)


def _negative(quality: Quality) -> float | None:
    return None if quality.consistency_residual is None else -quality.consistency_residual


def _generator(identity: str) -> Generator:
    return RandomStreams(0).at(f"held out/{identity}", 0)
