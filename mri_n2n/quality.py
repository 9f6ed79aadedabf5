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


@dataclass
class Residual:
    """How far images are from the samples that they were made of, all images together.

    Where the acquired samples are put back it is rounding; else something is wrong with the physics.
    """

    missed: float = 0.0
    acquired: float = 0.0

    def add(self, images: Float[Tensor, "b c h w"], measurement: Measurement) -> None:
        """Some more images, and their samples."""
        weights = measurement.multiplicity * measurement.mask
        weights[:, 0, 0] = 0  # DC is most of the energy
        difference = to_kspace(from_channels(images)) - measurement.samples
        self.missed += float((weights * difference.abs().square()).sum())
        self.acquired += float((weights * measurement.samples.abs().square()).sum())

    @property
    def share(self) -> float | None:
        """The root mean square of the differences as a share of the samples', DC aside; None without samples."""
        return math.sqrt(self.missed / self.acquired) if self.acquired > 0 else None


@torch.inference_mode()
def held_out_psnr(
    network: nn.Module, predict: Predict[Any], parts: Iterable[tuple[Measurement, Sequence[str]]], coils: int = 1
) -> float | None:
    """The PSNR in dB that `held_out_errors` estimate, of all parts together; None where nothing was held out.

    parts: measurements, and the identities of their images. Of several coils the errors of an image add up, which is
    the most that they come to in the root sum of squares: so the figure does not grow with the number of coils, among
    which the signal is divided.
    """
    errors = [held_out_errors(network, predict, measurement, identities) for measurement, identities in parts]
    return decibels(coils * float(torch.cat(errors).mean()))


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


def decibels(error: float) -> float | None:
    """A mean squared error as PSNR (white is 1); None where nothing was held out."""
    return -10 * math.log10(error) if error > 0 else None


def outlier(value: float, known: Sequence[float]) -> bool | None:
    """Whether a study's PSNR is below the lower 99.5 % prediction limit (Student's) of the known ones.

    None with fewer than five known.
    """
    if len(known) < ENOUGH:
        return None
    count = len(known)
    reach = float(stdtrit(count - 1, 1 - RARE)) * float(np.std(known, ddof=1)) * math.sqrt(1 + 1 / count)
    return value < float(np.mean(known)) - reach


def _generator(identity: str) -> Generator:
    return RandomStreams(0).at(f"held out/{identity}", 0)
