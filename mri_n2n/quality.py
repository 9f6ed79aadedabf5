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

    held_out_psnr: in dB, estimated as in `held_out_errors`; None where nothing was held out. consistency_residual: how
    far the reconstructions are from the samples that they were made of, as a share of these samples' root mean square,
    DC aside: rounding, where the acquired samples are put back. None where there are none.
    """

    held_out_psnr: float | None
    consistency_residual: float | None


@torch.inference_mode()
def quality_of(
    network: nn.Module, predict: Predict[Any], parts: Iterable[tuple[Measurement, Sequence[str]]]
) -> Quality:
    """Of all parts together: measurements, and the identities of their images (see `held_out_split`)."""
    errors, missed, acquired = [], 0.0, 0.0
    for measurement, identities in parts:
        pair = held_out_pair(measurement, identities)
        prediction = predict(network, pair)
        errors.append(held_out_error(prediction, pair))
        off, energy = _residual(prediction, pair.measurement)
        missed, acquired = missed + off, acquired + energy
    residual = math.sqrt(missed / acquired) if acquired > 0 else None
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


def _residual(prediction: Float[Tensor, "b c h w"], measurement: Measurement) -> tuple[float, float]:
    """The energies, without DC, of the difference between images and acquired samples, and of the samples."""
    weights = measurement.multiplicity * measurement.mask
    weights[:, 0, 0] = 0
    difference = to_kspace(from_channels(prediction)) - measurement.samples
    missed, acquired = (float((weights * part.abs().square()).sum()) for part in (difference, measurement.samples))
    return missed, acquired


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
