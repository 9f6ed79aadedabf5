"""The plug-in boundary: what a domain gives the engine to have something trained."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float, Int
from torch import Generator, Tensor, nn


@dataclass(frozen=True, slots=True)
class Batch:
    """Stored images as they leave the data set, before any corruption.

    images: on the training device, in [-0.5, 0.5]; `s` is the number of stored realisations of each image (1,
    or 2 for real pairs; of raw k-space its three planes), `c` the channels where the domain has any. rows: their
    positions in the data set.
    """

    images: Float[Tensor, "b s *c h w"]
    rows: Int[Tensor, " b"]


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """What the network sees and what it is scored against. Domains subclass it to carry more."""

    input: Float[Tensor, "b c h w"]
    target: Float[Tensor, "b m h w"]


PairT = TypeVar("PairT", bound=TrainingPair)
PairT_co = TypeVar("PairT_co", bound=TrainingPair, covariant=True)
PairT_contra = TypeVar("PairT_contra", bound=TrainingPair, contravariant=True)


@runtime_checkable
class Corruption(Protocol[PairT_co]):
    """Draws the pair: all the randomness of a training step is here."""

    def __call__(self, batch: Batch, generator: Generator) -> PairT_co: ...


@runtime_checkable
class Predict(Protocol[PairT_contra]):
    """Runs the network with the physics around it: the same in training, evaluation and the clinic."""

    def __call__(self, network: nn.Module, pair: PairT_contra) -> Float[Tensor, "b m h w"]: ...


@runtime_checkable
class Loss(Protocol[PairT_contra]):
    """Scores each image of a batch; `progress` in [0, 1] is the share of training that is done."""

    def __call__(
        self, prediction: Float[Tensor, "b m h w"], pair: PairT_contra, *, progress: float
    ) -> Float[Tensor, " b"]: ...


def network_output(network: nn.Module, pair: TrainingPair) -> Float[Tensor, "b m h w"]:
    """The plain prediction: the network's output for the pair's input, in float32."""
    output: Tensor = network(pair.input)
    return output.float()


@dataclass(frozen=True)
class Task(Generic[PairT]):
    """Everything that one kind of training differs in from another."""

    corruption: Corruption[PairT]
    loss: Loss[PairT]
    predict: Predict[PairT] = network_output
