"""Recipes: everything that decides how a network comes out, as one frozen value."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Generic, Literal

from mri_n2n.errors import UsageError
from mri_n2n.measured_kspace import MeasuredKspace
from mri_n2n.networks.spec import NETWORKS, NetworkSpec, UNetSpec
from mri_n2n.task import HorvitzThompson, RepeatedScans, Targets, UndersampledPair, Undersampling, data_consistent
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.task import PairT, Task, TrainingPair, network_output


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast to train. The defaults, with 300 epochs, are the published MRI configuration (§A.2)."""

    steps: int
    batch_size: int = 16
    schedule: RampedRate = field(default_factory=RampedRate)
    bf16: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("batch size", self.batch_size)):
            if value < 1:
                raise UsageError(f"the {name} must be at least 1, got {value}.")


@dataclass(frozen=True)
class Recipe(Generic[PairT]):
    """Network, task, optimisation and seed. Two runs of one recipe on the same data and machine give the same bits.

    `samples` is how a domain draws training samples from its data (the photographs' crops), if it has anything to say.
    """

    task: Task[PairT]
    optimisation: Optimisation
    network: NetworkSpec = field(default_factory=UNetSpec)
    seed: int = 0
    samples: Any = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed must lie in 0 .. 2⁶³ - 1, got {self.seed}.")


def undersampling_task(
    *,
    targets: Targets = "noisy",
    loss: Literal["paper", "ht"] = "paper",
    acceleration: float | None = None,
    edge_probability: float | None = None,
) -> Task[UndersampledPair]:
    """The MRI task on simulated undersampling; without a sampling density the published p = 0.025 at the axis' end."""
    chosen = _loss(loss, targets)
    if acceleration is None and edge_probability is None:
        edge_probability = 0.025
    return Task(Undersampling(acceleration, edge_probability, targets), chosen, data_consistent)


def kspace_task(
    *,
    targets: Targets = "noisy",
    loss: Literal["paper", "ht"] = "ht",
    acceleration: float | None = None,
    edge_probability: float | None = None,
) -> Task[UndersampledPair]:
    """The task on raw complex k-space; a sampling density is for data that is fully sampled."""
    chosen = _loss(loss, targets)
    return Task(MeasuredKspace(acceleration, edge_probability, targets), chosen, data_consistent)


def _loss(name: Literal["paper", "ht"], targets: Targets) -> SquaredError | HorvitzThompson:
    if name == "paper":
        return SquaredError()
    if targets == "clean":
        raise UsageError("the ht loss needs the target's samples: use it with noisy targets.")
    return HorvitzThompson()


COMPLEX = UNetSpec(in_channels=2, out_channels=2, padding=0.0)  # real and imaginary part, black being 0


def pairs_task() -> Task[TrainingPair]:
    """The task on real pairs of noisy scans."""
    return Task(RepeatedScans(), SquaredError(), network_output)


@dataclass(frozen=True)
class Experiment:
    """The recipes behind one table or figure: for every arm (what is compared) one recipe per seed."""

    name: str
    arms: Mapping[str, tuple[Recipe[Any], ...]]


Part = Callable[..., Any]


@dataclass(frozen=True)
class Domain:
    """What a run belongs to: the commands that work on it, and what its recipe may be made of.

    examined: what `evaluate` wants beside the run. use: the command that a trained run is for, with `{run}` in it.
    unit: what is scored one by one. caution: what must be said beside its pictures.
    """

    name: str
    command: str
    parts: tuple[Part, ...]
    examined: str
    use: str
    unit: str
    caution: str


MRI = Domain(
    "MRI",
    "mri-n2n",
    (Undersampling, MeasuredKspace, RepeatedScans, SquaredError, HorvitzThompson, data_consistent, network_output),
    examined="DATA",
    use="reconstruct {run} INPUT OUTPUT",
    unit="subject",
    caution="not for diagnostic use",
)


def described(value: Any) -> Any:
    """A recipe, or any part of one, as JSON: dataclasses become objects with their `kind`, functions their name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {
            part.name: described(getattr(value, part.name)) for part in fields(value)
        }
    if inspect.isfunction(value):
        return {"kind": value.__name__}
    return value


def sampling_facts(recipe: Recipe[Any], size: tuple[int, int]) -> dict[str, float]:
    """What a recipe comes to on data of this size: λ, the share of k-space kept, the bias of the ht loss's cap."""
    corruption, loss = recipe.task.corruption, recipe.task.loss
    if not isinstance(corruption, Undersampling | MeasuredKspace):
        return {}
    facts = corruption.facts(size)
    if facts and isinstance(loss, HorvitzThompson):
        grid = corruption.grid(size) if isinstance(corruption, Undersampling) else size
        facts["ht_lost_weight"] = loss.lost_weight(corruption.density(grid))
    return facts


def rebuilt(description: Any, domain: Domain = MRI) -> Recipe[Any]:
    """The recipe that `described` gave this description for."""
    engine = (Recipe, Task, Optimisation, RampedRate, *NETWORKS.values())
    known = {part.__name__: part for part in (*domain.parts, *engine)}

    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        part = known[value["kind"]]
        arguments = {name: build(argument) for name, argument in value.items() if name != "kind"}
        return part if inspect.isfunction(part) else part(**arguments)

    try:
        recipe = build(description)
        if not isinstance(recipe, Recipe):
            raise ValueError("not a recipe")
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the recipe cannot be read ({error!r}): it is damaged or of another version.") from None
    return recipe
