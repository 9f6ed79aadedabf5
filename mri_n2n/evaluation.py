"""Scoring reconstructions on held-out subjects: slice by slice."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Inexact
from torch import Generator, Tensor, nn
from tqdm import tqdm

from mri_n2n.baselines import TotalVariation
from mri_n2n.data.manifest import StoredVolume
from mri_n2n.data.selection import evenly_spread
from mri_n2n.data.slices import PreparedData
from mri_n2n.environment import slices_at_once
from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import Measurement, zero_filled
from mri_n2n.kspace.channels import as_channels, from_channels, magnitude
from mri_n2n.measured_kspace import MeasuredKspace
from mri_n2n.progress import bar
from mri_n2n.quality import SLICES, held_out_error, held_out_psnr
from mri_n2n.recipes import MRI, Domain, Recipe
from mri_n2n.run_files import SIMULATED
from mri_n2n.scores import METRICS, Score
from mri_n2n.task import UndersampledPair, Undersampling, evaluation_generator
from mri_n2n.training.task import TrainingPair, network_output
from mri_n2n.training.world import ALONE, World

MEASURED = "raw k-space, undersampled afterwards; magnitudes of single coils; not for diagnostic use"
HELD_OUT = "no reference: PSNR is estimated from samples that were held out; not for diagnostic use"
REPEATED = "scored against the second noisy scan, whose noise every score contains; not for diagnostic use"
INPUT = "zero-filled 1/p"
ZERO_FILLED = "zero-filled"
CLASSICAL = "total variation"
PLAIN = "network"
CONSISTENT = "network with replacement"
TERMS = {  # of reports, for who has not read how this works
    INPUT: "The acquired samples, each divided by its probability of being acquired; the others are zero. On average "
    "this is right, but it is noisy: what the network is given.",
    ZERO_FILLED: "The acquired samples as they are, the others zero: what a scanner would show without reconstruction.",
    CLASSICAL: "Reconstruction without a network: the smoothest image by its total variation that fits the samples.",
    PLAIN: "What the network makes of its input, before the acquired frequencies, brightness among them, are put back.",
    CONSISTENT: "The network's image with the acquired samples put back: the reconstruction.",
    "PSNR, dB": "Peak signal-to-noise ratio against the reference: higher is better, 1 dB is 21 % less squared error.",
    "SSIM": "Structural similarity to the reference: 1 is equal.",
    "NMSE": "Squared error as a share of the reference's squared intensities: 0 is equal.",
}
FIRST_SCAN = "first scan"
Method = Callable[[Any], Inexact[Tensor, "b h w"]]
"""From a pair to images, real or complex."""


@runtime_checkable
class Evaluable(Protocol):
    """A corruption that can also draw pairs that are the same on every machine: one CPU generator per image."""

    def evaluation_pair(self, images: Float[Tensor, "b s h w"], generators: Sequence[Generator]) -> TrainingPair: ...

    def check_data(self, kind: str, size: tuple[int, int]) -> None: ...


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


def methods_for(
    recipe: Recipe[Any], network: nn.Module, *, classical: TotalVariation | None = None
) -> dict[str, Method]:
    """What to compare.

    The naive reconstructions, the network without and with replacement, and for real images the classical one if given.
    """
    network = OncePerImage(network)
    if recipe.task.predict is network_output:
        return {
            FIRST_SCAN: lambda pair: from_channels(pair.input),
            PLAIN: lambda pair: from_channels(network_output(network, pair)),
        }
    methods: dict[str, Method] = {
        INPUT: lambda pair: from_channels(pair.input),
        ZERO_FILLED: lambda pair: zero_filled(pair.measurement),
    }
    corruption = recipe.task.corruption
    if isinstance(corruption, MeasuredKspace) and not corruption.fully_sampled:
        # Scored on samples that the input lacks: what an image says of the others does not count.
        return {
            ZERO_FILLED: methods[ZERO_FILLED],
            CONSISTENT: lambda pair: from_channels(recipe.task.predict(network, pair)),
        }
    if classical is not None and isinstance(corruption, Undersampling):
        methods[CLASSICAL] = lambda pair: classical(pair.measurement)
    methods[PLAIN] = lambda pair: from_channels(network_output(network, pair))
    methods[CONSISTENT] = lambda pair: from_channels(recipe.task.predict(network, pair))
    return methods


@torch.inference_mode()
def evaluate(
    data: PreparedData,
    corruption: Evaluable,
    methods: Mapping[str, Method],
    device: torch.device,
    *,
    places: Sequence[tuple[StoredVolume, int]] | None = None,
    batch_size: int | None = None,
    quiet: bool = False,
    world: World = ALONE,
) -> list[Score]:
    """Score every method on every validation slice, or on `places` (a volume and a position among its slices).

    The processes of `world` share the work, in the batches that one would have made, and all get the scores.
    """
    corruption.check_data(data.manifest.kind, data.manifest.size)
    places = validation_places(data) if places is None else places
    size = batch_size or slices_at_once(device)
    batches = [places[start : start + size] for start in range(0, len(places), size)]
    progress: tqdm[None] = bar((), total=len(batches), description="evaluating", unit="batch", shown=not quiet)

    def score(batch: Sequence[tuple[StoredVolume, int]]) -> list[Score]:
        pair = pair_at(data, corruption, batch, device)
        results = [_scored(name, method(pair), pair, batch) for name, method in methods.items()]
        progress.update(1)
        return list(chain.from_iterable(results))

    with progress:
        return list(chain.from_iterable(world.mapped(score, batches)))


def held_out_psnr_by_subject(
    data: PreparedData, recipe: Recipe[Any], network: nn.Module, device: torch.device
) -> dict[str, float | None]:
    """The held-out PSNR of each validation subject, without a look at the references; none for real pairs."""
    corruption = recipe.task.corruption
    if not isinstance(corruption, Undersampling | MeasuredKspace):
        return {}
    size = slices_at_once(device)

    def of(volume: StoredVolume) -> float | None:
        distinct = list(dict.fromkeys(volume.slices))
        chosen = {distinct[place] for place in evenly_spread(len(distinct), SLICES)}
        positions = [position for position, place in enumerate(volume.slices) if place in chosen]  # every coil of it
        coils = len(positions) // len(chosen)
        return held_out_psnr(network, recipe.task.predict, parts(volume, positions), coils)

    def parts(volume: StoredVolume, positions: list[int]) -> Iterator[tuple[Measurement, list[str]]]:
        for start in range(0, len(positions), size):
            some = positions[start : start + size]
            images, generators = _drawn_from(data, [(volume, position) for position in some], device)
            yield corruption.measured(images, generators), [volume.identity(position) for position in some]

    return {volume.subject: of(volume) for volume in data.manifest.split("validation")}


def validation_places(data: PreparedData, at_most: int | None = None) -> list[tuple[StoredVolume, int]]:
    """The validation slices, or `at_most` of them evenly spread over all."""
    places = [
        (volume, position) for volume in data.manifest.split("validation") for position in range(len(volume.slices))
    ]
    return places if at_most is None else [places[place] for place in evenly_spread(len(places), at_most)]


def pair_at(
    data: PreparedData, corruption: Evaluable, places: Sequence[tuple[StoredVolume, int]], device: torch.device
) -> TrainingPair:
    """The evaluation pair of some slices. Its randomness depends on the slices' identities alone, on every device."""
    return corruption.evaluation_pair(*_drawn_from(data, places, device))


def _drawn_from(
    data: PreparedData, places: Sequence[tuple[StoredVolume, int]], device: torch.device
) -> tuple[Float[Tensor, "b s h w"], list[Generator]]:
    images = data.images([volume.rows[position] for volume, position in places]).to(device)
    return images, [evaluation_generator(volume.identity(position)) for volume, position in places]


def has_reference(pair: TrainingPair) -> bool:
    """Whether the target is to be compared with, or else nothing but samples that were held out."""
    return not isinstance(pair, UndersampledPair) or pair.target_measurement is None


def _measured(images: Inexact[Tensor, "b h w"], pair: TrainingPair) -> dict[str, list[float]]:
    if isinstance(pair, UndersampledPair) and not has_reference(pair):
        errors = held_out_error(as_channels(images.to(pair.input.device)), pair)
        return {"psnr": (-10 * torch.log10(errors.double())).tolist()}
    reference = magnitude(from_channels(pair.target))
    return {name: metric(magnitude(images).to(reference), reference).tolist() for name, metric in METRICS.items()}


def _scored(
    method: str, images: Inexact[Tensor, "b h w"], pair: TrainingPair, places: Sequence[tuple[StoredVolume, int]]
) -> list[Score]:
    values = _measured(images, pair)
    scores = []
    for index, (volume, position) in enumerate(places):
        of_slice = {name: column[index] for name, column in values.items()}
        for name, value in of_slice.items():
            if not math.isfinite(value):
                where = f"subject {volume.subject}, slice {volume.slices[position]}"
                raise UsageError(
                    f"{name} of {method!r} is {value} on {where}. Look at that slice, or prepare the data without it; "
                    "if it comes while training, try a lower --learning-rate."
                )
        row = volume.rows[position]
        scores.append(Score(volume.subject, row, volume.slices[position], method, **of_slice))
    return scores


def evaluable(recipe: Recipe[Any]) -> Evaluable:
    """The recipe's corruption, as one that can draw evaluation pairs."""
    corruption = recipe.task.corruption
    if not isinstance(corruption, Evaluable):
        raise UsageError(f"{type(corruption).__name__} has no evaluation_pair: this recipe cannot be evaluated.")
    return corruption


def label_in(domain: Domain, recipe: Recipe[Any]) -> str:
    """The honest label of a run that was not evaluated yet."""
    return label_for(recipe) if domain.name == MRI.name else domain.caution


def label_for(recipe: Recipe[Any], *, simulated: bool = False) -> str:
    """The honest label of any figure made with this recipe; simulated: whether raw k-space of the data was."""
    corruption = recipe.task.corruption
    if isinstance(corruption, MeasuredKspace):
        label = MEASURED if corruption.fully_sampled else HELD_OUT
        return f"SIMULATED k-space; {label}" if simulated else label
    return REPEATED if recipe.task.predict is network_output else SIMULATED
