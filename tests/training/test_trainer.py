"""The loop, on a toy domain that knows nothing of MRI: that it can is the point of the plug-in boundary."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Generator, nn

from mri_n2n.errors import UsageError
from mri_n2n.training.checkpoint import load_state, save_state
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task, TrainingPair
from mri_n2n.training.trainer import NonFiniteLoss, Request, TrainingPlan, TrainState, adam, train

CPU = torch.device("cpu")


@dataclass(frozen=True)
class GaussianNoise:
    """Two independent noisy copies."""

    sigma: float = 0.1

    def __call__(self, batch: Batch, generator: Generator) -> TrainingPair:
        clean = batch.images[:, :1]
        first, second = (clean + self.sigma * torch.randn(clean.shape, generator=generator) for _ in range(2))
        return TrainingPair(first, second)


def new_state() -> TrainState:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(4, 1, 3, padding=1))
    return TrainState(network, adam(network))


def load(step: int) -> Batch:
    generator = RandomStreams(1).at("images", step)
    return Batch(torch.rand((2, 1, 8, 8), generator=generator) - 0.5, torch.arange(2))


def plan(task: Task | None = None, steps: int = 20) -> TrainingPlan:
    task = task or Task(GaussianNoise(), SquaredError())
    return TrainingPlan(task, load, steps, RampedRate(), RandomStreams(3), log_every=3, evaluate_every=10)


def run(
    state: TrainState,
    chosen: TrainingPlan,
    poll: Callable[[int], Request] = lambda step: Request.GO_ON,
    **given: object,
) -> list[tuple[int, list[float]]]:
    records: list[tuple[int, list[float]]] = []
    callbacks = {
        "record": lambda step, losses: records.append((step, losses)),
        "evaluate": lambda step: None,
        "save": lambda: None,
        "poll": poll,
    } | given
    train(state, chosen, **callbacks)
    return records


def stop_at(last: int) -> Callable[[int], Request]:
    return lambda step: Request.STOP if step == last else Request.GO_ON


def weights(state: TrainState) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in state.network.parameters()]


@pytest.mark.parametrize("stop_after", [1, 7, 9, 19])
def test_resumed_is_not_interrupted(tmp_path: Path, stop_after: int) -> None:
    """Bit-identical weights and the same records, wherever the run is cut."""
    whole = new_state()
    records = run(whole, plan())
    path = tmp_path / "state.pt"
    first = new_state()
    before = run(first, plan(), stop_at(stop_after), save=lambda: save_state(path, first, metric_bytes=17))
    second = new_state()
    for weight in second.network.parameters():
        nn.init.zeros_(weight)  # nothing may depend on how the new process began
    assert load_state(path, second, CPU) == {"metric_bytes": 17}
    assert second.step == stop_after
    after = run(second, plan())
    assert before + after == records
    for one, other in zip(weights(whole), weights(second), strict=True):
        assert torch.equal(one, other)


def test_it_learns() -> None:
    state = new_state()
    records = run(state, plan(steps=150))
    assert sum(records[-1][1]) / len(records[-1][1]) < sum(records[0][1]) / 3 / len(records[0][1])


def test_evaluates_first_and_last_and_saves_at_the_end() -> None:
    seen: list[str] = []
    state = new_state()
    run(state, plan(), evaluate=lambda step: seen.append(f"evaluate {step}"), save=lambda: seen.append("save"))
    assert seen == ["evaluate 0", "evaluate 10", "evaluate 20", "save"]


def test_non_finite_loss_names_its_step_and_saves_nothing_after_it() -> None:
    @dataclass(frozen=True)
    class Breaks:
        def __call__(self, prediction: torch.Tensor, pair: TrainingPair, *, progress: float) -> torch.Tensor:
            loss = SquaredError()(prediction, pair, progress=progress)
            return loss * float("nan") if progress >= 7 / 20 else loss

    saved: list[int] = []
    state = new_state()
    with pytest.raises(NonFiniteLoss, match="step 7"):
        run(
            state,
            plan(Task(GaussianNoise(), Breaks())),
            lambda step: Request.SAVE,
            save=lambda: saved.append(state.step),
        )
    assert saved == [1, 2, 3, 4, 5, 6, 7]  # seven good steps; the eighth, number 7, broke


def test_shapes_are_checked() -> None:
    wrong = Task(GaussianNoise(), SquaredError(), lambda network, pair: network(pair.input)[:, :, :-1])
    with pytest.raises(ValueError, match="differ in shape"):
        run(new_state(), plan(wrong))


class Bomb:
    """Pickle payload that would leave a mark if it ran."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


def test_foreign_checkpoints(tmp_path: Path) -> None:
    path, mark = tmp_path / "state.pt", tmp_path / "ran"
    state = new_state()
    save_state(path, state)
    good = path.read_bytes()
    bomb = pickle.dumps(Bomb(mark))
    torch.save({"format": Bomb(mark)}, tmp_path / "bomb.pt")
    for content in (b"", b"junk", good[: len(good) // 2], bomb, (tmp_path / "bomb.pt").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="damaged or not a checkpoint"):
            load_state(path, new_state(), CPU)
    assert not mark.exists()
    with pytest.raises(UsageError, match="no checkpoint"):
        load_state(tmp_path / "absent.pt", state, CPU)
    torch.save({"format": "another"}, path)
    with pytest.raises(UsageError, match="damaged or not"):
        load_state(path, state, CPU)


def test_streams_are_addressed() -> None:
    def draw(seed: int, name: str, place: int) -> float:
        return float(torch.rand(1, generator=RandomStreams(seed).at(name, place)))

    assert draw(1, "a", 2) == draw(1, "a", 2)
    assert len({draw(seed, name, place) for seed in (1, 2) for name in "ab" for place in (1, 2)}) == 8
