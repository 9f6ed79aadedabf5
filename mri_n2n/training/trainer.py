"""The training loop."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic

import torch
from torch import Tensor, nn

from mri_n2n.errors import UsageError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, PairT, Task
from mri_n2n.training.world import ALONE, World


class NonFiniteLoss(UsageError):
    """Training met a loss or a weight that is NaN or infinite at `step`."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step = step


@dataclass
class TrainState:
    """All that changes while training.

    `pending` holds the losses since the last record, on the device, one scalar per step. `world`: who trains it.
    """

    network: nn.Module
    optimiser: torch.optim.Adam
    step: int = 0
    pending: list[Tensor] = field(default_factory=list)
    world: World = ALONE

    def __post_init__(self) -> None:
        self.trained = self.world.parallel(self.network)  # the same weights

    def drain(self) -> list[float]:
        """Bring the pending losses to the host (the one synchronisation) and check them."""
        if not self.pending:
            return []
        losses: list[float] = self.world.mean(torch.stack(self.pending)).tolist()
        for step, loss in enumerate(losses, start=self.step - len(losses)):
            if not math.isfinite(loss):
                raise NonFiniteLoss(step, "the loss")
        return losses

    def check(self) -> None:
        """Raise `NonFiniteLoss` unless the pending losses and the weights are finite: only such a state is saved."""
        self.drain()
        if not torch.stack([weight.detach().isfinite().all() for weight in self.network.parameters()]).all():
            raise NonFiniteLoss(self.step, "a network weight")


def adam(network: nn.Module) -> torch.optim.Adam:
    """The paper's optimiser (§A.2): Adam(0.9, 0.99, 1e-8). The schedule sets rate and β₁ before every step."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-8, fused=True)


@dataclass(frozen=True)
class TrainingPlan(Generic[PairT]):
    """What stays the same while training."""

    task: Task[PairT]
    load: Callable[[int], Batch]  # the batch of a step, on the device
    steps: int
    schedule: RampedRate
    streams: RandomStreams
    bf16: bool = False  # the network alone runs under autocast; the physics stays in float32
    log_every: int = 10
    evaluate_every: int = 100


class Request(Enum):
    """What the caller wants after a step."""

    GO_ON = 0
    SAVE = 1
    STOP = 2  # and save


def train(
    state: TrainState,
    plan: TrainingPlan[PairT],
    *,
    record: Callable[[int, list[float]], None],
    evaluate: Callable[[int], None],
    save: Callable[[], None],
    poll: Callable[[int], Request],
) -> bool:
    """Train `state` in place up to `plan.steps`; return whether it got there.

    It evaluates once before step 0, so that a broken evaluation costs a minute and not a night. `record` gets the
    number of steps done and the losses since the last record; `poll` is asked after every step and does not wait
    for the device in most of them; `save` is called when it asks for it and at the end, and only on a finite state.
    """
    if state.step == 0:
        evaluate(0)
    while state.step < plan.steps:
        _step(state, plan)
        finished = state.step == plan.steps
        if state.step % plan.log_every == 0 or finished:
            losses = state.drain()
            state.pending.clear()
            record(state.step, losses)
        if state.step % plan.evaluate_every == 0 or finished:
            evaluate(state.step)
        request = poll(state.step)
        if finished or request is not Request.GO_ON:
            state.check()
            save()
        if request is Request.STOP:
            return finished
    return True


def _step(state: TrainState, plan: TrainingPlan[PairT]) -> None:
    progress = state.step / plan.steps
    for group in state.optimiser.param_groups:
        group["lr"] = plan.schedule.rate(progress)
        group["betas"] = (plan.schedule.momentum(progress), group["betas"][1])
    batch = plan.load(state.step)
    pair = plan.task.corruption(batch, plan.streams.at(state.world.stream("corruption"), state.step))
    with torch.autocast(plan.streams.device.type, torch.bfloat16, enabled=plan.bf16):
        prediction = plan.task.predict(state.trained, pair)
    if prediction.shape != pair.target.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(pair.target.shape)} differ in shape")
    losses = plan.task.loss(prediction, pair, progress=progress)
    if losses.shape != (len(batch.rows),):
        raise ValueError(f"expected one loss per image, shape ({len(batch.rows)},), got {tuple(losses.shape)}")
    loss = losses.mean()
    state.optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    state.optimiser.step()
    state.step += 1
    state.pending.append(loss.detach())
