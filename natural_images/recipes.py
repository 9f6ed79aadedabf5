"""Recipes for photographs: which noise goes with which loss, and their names on the command line."""

from typing import Any, Literal

from mri_n2n.errors import UsageError
from mri_n2n.recipes import Domain
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.task import Loss, Task, TrainingPair, network_output
from natural_images.crops import Crops
from natural_images.losses import AbsoluteError, AnnealedL0, MaskedSquaredError
from natural_images.noise import Bernoulli, BrownGaussian, Gaussian, Impulses, NoiseModel, Poisson, SaltAndPepper
from natural_images.overlays import TextOverlay
from natural_images.tasks import CorruptedPair, StoredRealisations, SyntheticNoise, Targets

NoiseName = Literal["gaussian", "brown", "poisson", "bernoulli", "text", "impulses", "salt-and-pepper"]
LossName = Literal["l2", "l1", "l0"]

NOISES: dict[NoiseName, type[Any]] = {
    "gaussian": Gaussian,
    "brown": BrownGaussian,
    "poisson": Poisson,
    "bernoulli": Bernoulli,
    "text": TextOverlay,
    "impulses": Impulses,
    "salt-and-pepper": SaltAndPepper,
}
LOSSES: dict[LossName, type[Any]] = {"l2": SquaredError, "l1": AbsoluteError, "l0": AnnealedL0}
UNBIASED: dict[type[Any], LossName] = {TextOverlay: "l1", SaltAndPepper: "l1", Impulses: "l0"}
"""The loss whose statistic of the noise is the clean value, where that is not the mean."""
ONE_LEVEL = (TextOverlay, Impulses, SaltAndPepper)

PHOTOGRAPHS = Domain(
    "photographs",
    "mri-n2n photos",
    (
        *NOISES.values(),
        *LOSSES.values(),
        MaskedSquaredError,
        SyntheticNoise,
        StoredRealisations,
        Crops,
        network_output,
    ),
    examined="FOLDER",
    use="denoise {run} INPUT OUTPUT",
    unit="image",
    caution="photographs: a result of research",
)


def noise_model(name: NoiseName, low: float | None, high: float | None, bandwidth: float | None) -> NoiseModel:
    """The noise of this name; levels that are not given are the paper's."""
    given: dict[str, float] = {}
    if low is not None:
        given["low"] = low
    if high is not None:
        given["high"] = high
    if name == "brown":
        given["bandwidth"] = 3.0 if bandwidth is None else bandwidth
    elif bandwidth is not None:
        raise UsageError(f"--bandwidth is for brown noise, not for {name}.")
    noise: NoiseModel = NOISES[name](**given)
    return noise


def noise_task(noise: NoiseModel, targets: Targets = "noisy", loss: LossName | None = None) -> Task[CorruptedPair]:
    """The task of removing one kind of synthetic noise, by default with the loss that is right for it."""
    corruption = SyntheticNoise(noise, targets, one_level=isinstance(noise, ONE_LEVEL))
    return Task(corruption, loss_for(noise, loss))


def loss_for(noise: NoiseModel, loss: LossName | None = None) -> Loss[CorruptedPair]:
    """The loss of this name; without one the noise's. The squared error of lost pixels is not counted (Eq. 7)."""
    name = loss or UNBIASED.get(type(noise), "l2")
    if name == "l2" and isinstance(noise, Bernoulli):
        return MaskedSquaredError()
    if isinstance(noise, Bernoulli):
        raise UsageError(f"lost pixels are left out of the l2 loss alone, got --loss {name}. Leave it out.")
    chosen: Loss[CorruptedPair] = LOSSES[name]()
    return chosen


def exposures_task(targets: Targets = "noisy", loss: LossName = "l2") -> Task[TrainingPair]:
    """The task on realisations that were captured: nothing is added to them."""
    return Task(StoredRealisations(targets), LOSSES[loss]())


def spoken(noise: NoiseModel) -> str:
    """A noise at a fixed level, for titles: "Gaussian, σ = 25"."""
    if isinstance(noise, BrownGaussian):
        return f"brown Gaussian of {noise.bandwidth:g} pixels, σ = {noise.low:g}"
    if isinstance(noise, Gaussian | Poisson):
        return f"{type(noise).__name__}, {'σ' if isinstance(noise, Gaussian) else 'λ'} = {noise.low:g}"
    names = {Bernoulli: "Bernoulli", TextOverlay: "text", Impulses: "impulses", SaltAndPepper: "salt and pepper"}
    return f"{names[type(noise)]}, p = {noise.low:g}"


def slug(noise: NoiseModel, title: str) -> str:
    """A name for files: "gaussian-sigma-25-noisy-targets"."""
    words = f"{spoken(noise)} {title}".lower().replace("σ", "sigma").replace("λ", "lambda")
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in words).split())
