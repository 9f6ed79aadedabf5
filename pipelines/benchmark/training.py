"""How fast it trains: the trainer's own loop, and a step of it stage by stage."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mri_n2n import environment
from mri_n2n.recipes import undersampling_task
from mri_n2n.run_directory import Journal
from mri_n2n.slice_training import batch_loader
from mri_n2n.task import data_consistent
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task, network_output
from mri_n2n.training.trainer import Request, TrainingPlan, TrainState, adam, train
from natural_images.noise import Gaussian
from natural_images.tasks import SyntheticNoise
from pipelines.benchmark.stopwatch import Laps, Timing, spread
from pipelines.benchmark.workload import Rates, Workload, rate_for

CROPS = 4  # of photographs, in a step of the paper's


def training(work: Workload, rates: Rates) -> dict[str, Any]:
    """The trainer's own loop; again with slices that are read from disk; and a step of it stage by stage.

    The stages wait for the device after each.
    """
    with tempfile.TemporaryDirectory() as folder:
        load = batch_loader(work.data(Path(folder)), work.device, work.batch_size, seed=0)
        journal = Journal(Path(folder) / "metrics.jsonl")
        network = work.network()
        state, streams = TrainState(network, adam(network)), RandomStreams(0, work.device)
        task = undersampling_task()
        step = _step(work, state, task, load, journal)
        cold = work.data(Path(folder) / "cold", cold=_steps(work) * work.batch_size)  # no slice comes twice
        streamed = _step(
            work,
            TrainState(network, state.optimiser),
            task,
            batch_loader(cold, work.device, work.batch_size, seed=0, most_resident=0),
            journal,
        )
        laps: dict[str, list[float]] = {}
        for repetition in range(work.repeats + 1):
            clock = Laps(work.device)
            batch = load(repetition)
            clock.lap("load")
            pair = task.corruption(batch, streams.at("corruption", repetition))
            clock.lap("corrupt")
            with torch.autocast(work.device.type, torch.bfloat16, enabled=work.bf16):
                output = network_output(network, pair)
            clock.lap("forward")
            leaf = output.detach().requires_grad_()
            loss = task.loss(data_consistent(_Given(leaf), pair), pair, progress=0.0).mean()
            torch.autograd.backward(loss)
            clock.lap("replacement and loss")
            state.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(output, leaf.grad)
            clock.lap("backward")
            state.optimiser.step()
            clock.lap("optimise")
            journal.write(repetition, {"loss": float(loss.detach()), **environment.load(work.device)})
            clock.lap("log")
            if repetition:  # the first warms up
                for name, seconds in clock.seconds.items():
                    laps.setdefault(name, []).append(
                        seconds / (environment.steps_per_record(work.device) if name == "log" else 1)
                    )
    stages = {name: spread(values) for name, values in laps.items()}
    around = sum(stage.median for name, stage in stages.items() if name not in ("forward", "backward", "optimise"))
    return {
        **_speed(step, work.batch_size, work.operations(), rate_for(rates, bf16=work.bf16)),
        "streamed_seconds_per_step": asdict(streamed),
        "streamed_speed": step.median / streamed.median,
        "stages": {name: asdict(stage) for name, stage in stages.items()},
        "share_around_the_network": around / sum(stage.median for stage in stages.values()),
    }


def photographs(work: Workload, rates: Rates) -> dict[str, Any]:
    """The trainer's own loop on colour crops with Gaussian noise, as the paper trains: four of them per step."""
    network = work.network(channels=3)
    crops = torch.rand((CROPS, 1, 3, work.size, work.size), device=work.device) - 0.5
    batch = Batch(crops, torch.arange(CROPS))
    task = Task(SyntheticNoise(Gaussian()), SquaredError())
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "metrics.jsonl")
        step = _step(work, TrainState(network, adam(network)), task, lambda _: batch, journal)
    return _speed(step, CROPS, work.operations(channels=3), rate_for(rates, bf16=work.bf16))


def _step(work: Workload, state: TrainState, task: Task[Any], load: Callable[[int], Batch], journal: Journal) -> Timing:
    """A step of the trainer's loop with its log; on a GPU, for which a log entry waits, the mean over one entry's."""
    every = _every(work)
    times = []

    def record(step: int, losses: list[float]) -> None:
        journal.write(step, {"loss": losses[-1], **environment.load(work.device)})
        times.append(time.perf_counter())

    streams = RandomStreams(0, work.device)
    plan = TrainingPlan(task, load, _steps(work), RampedRate(), streams, bf16=work.bf16, log_every=every)
    train(state, plan, record=record, evaluate=lambda _: None, save=lambda: None, poll=lambda _: Request.GO_ON)
    return spread([(later - earlier) / every for earlier, later in pairwise(times)])


def _every(work: Workload) -> int:
    return environment.steps_per_record(work.device) if work.device.type == "cuda" else 1


def _steps(work: Workload) -> int:
    return (work.repeats + 1) * _every(work)


def _speed(step: Timing, images: int, operations: int, rate: float) -> dict[str, Any]:
    gflops = 3 * operations * images / step.median / 1e9  # backward is twice forward
    return {
        "seconds_per_step": asdict(step),
        "images_per_step": images,
        "images_per_second": images / step.median,
        "gflops": gflops,
        "share_of_matrix_product": gflops / rate,
    }


class _Given(nn.Module):
    """A 'network' with a given output, to time what lies around it."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        """The given output."""
        del image
        return self.output
