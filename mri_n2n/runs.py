"""Runs: the one place where recipe, data, device, disk and tracker are wired together, for every domain."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn
from tqdm import tqdm

from mri_n2n import environment
from mri_n2n.durable import alone
from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import save_network
from mri_n2n.progress import bar, say, spoken
from mri_n2n.recipes import Optimisation, described
from mri_n2n.run_directory import Journal, Run
from mri_n2n.run_files import METRICS
from mri_n2n.tracking import Mirror
from mri_n2n.training.checkpoint import load_state, save_state
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from mri_n2n.training.trainer import NonFiniteLoss, Request, TrainingPlan, TrainState, adam, train
from mri_n2n.training.world import ALONE, World

EVALUATIONS = 10
PATIENCE = 60.0  # seconds that the end of a run waits for MLflow
FORECAST_STEPS = 4  # steps timed before the forecast
LOOKED_AT = 1.0  # seconds in which who asks whether a run is being trained has let go of it
TOGETHER = 1.0  # seconds between signals that are one
UNHURRIED = 3600.0  # seconds above which a person on a CPU is told of a shorter run


@runtime_checkable
class Monitor(Protocol):
    """Looks at the network while it is being trained. latest: its last verdict, for the progress bar."""

    latest: str

    def assess(self, step: int, *, draw: bool) -> dict[str, float]:
        """Score the network on validation data, and draw some of it if asked."""
        ...


MonitorT = TypeVar("MonitorT", bound=Monitor)


def run_training(
    run: Run,
    load: Callable[[int], Batch],
    monitor: Callable[[nn.Module], MonitorT],
    device: torch.device,
    *,
    resume: bool = False,
    save_seconds: float = 60.0,
    track: bool = True,
    world: World = ALONE,
    evaluate_every: int | None = None,
    watch: Callable[[MonitorT, str], None] | None = None,
) -> bool:
    """Train `run` to its end, or until SIGINT or SIGTERM; return whether it ended.

    `load` gives the batch of a step, on the device; `monitor` makes the one who watches over a network, and is asked
    every `evaluate_every` steps, by default ten times in all. `watch` is called with it and MLflow's word for the run's
    status: RUNNING after every evaluation, and another one at the end.

    The processes of `world` train together, each on its share of every batch; the first of them writes and talks.

    Writes metrics.jsonl, examples/, training-state.pt (at least every `save_seconds`, so that a killed run loses no
    more) and the network. With `resume` it goes on from the training state, with the bits that an uninterrupted run
    would have had on the same CPU. In a world of another size it sees the same images in the same order, under other
    random numbers.
    """
    with alone(run.directory, patience=LOOKED_AT) if world.leads else nullcontext():
        return _run_training(run, load, monitor, device, resume, save_seconds, track, world, evaluate_every, watch)


def _run_training(
    run: Run,
    load: Callable[[int], Batch],
    monitor: Callable[[nn.Module], MonitorT],
    device: torch.device,
    resume: bool,
    save_seconds: float,
    track: bool,
    world: World,
    evaluate_every: int | None,
    watch: Callable[[MonitorT, str], None] | None,
) -> bool:
    recipe, optimisation = run.recipe, run.recipe.optimisation
    track = track and world.leads
    torch.manual_seed(recipe.seed)
    network = recipe.network.build().to(device)
    state = TrainState(network, adam(network), world=world)
    journal = Journal(run.directory / METRICS)
    known = load_state(run.state_path, state, device)["metric_bytes"] if resume else 0
    if state.step >= optimisation.steps:
        if world.leads:
            say(f"{run.directory} has all of its {optimisation.steps} steps: nothing to do.")
        if track:
            _tell(run, Mirror(run.directory, run.parameters(), run.name, known), "FINISHED")
        return True
    if world.leads:
        journal.cut(known)
    if optimisation.compile:
        if world.leads:
            say("compiling the network before the first step: a minute or more, in which nothing moves.")
        environment.compile_network(network)
    plan = TrainingPlan(
        recipe.task,
        load,
        optimisation.steps,
        optimisation.schedule,
        RandomStreams(recipe.seed, device),
        bf16=optimisation.bf16,
        log_every=min(environment.steps_per_record(device), max(1, optimisation.steps // EVALUATIONS)),
        evaluate_every=evaluate_every or max(1, optimisation.steps // EVALUATIONS),
    )
    tracker = Mirror(run.directory, run.parameters(), run.name, known) if track else None
    status = "FAILED"
    watcher: MonitorT | None = None

    def tell(status: str) -> None:
        if watch is not None and watcher is not None and world.leads:
            watch(watcher, status)

    try:
        with _stop_signals(world) as stop:
            watcher = monitor(network)
            ended = _train(run, watcher, state, plan, journal, tracker, stop, save_seconds, lambda: tell("RUNNING"))
        status = "FINISHED" if ended else "KILLED"
    except NonFiniteLoss as error:
        good = f"The last good checkpoint is {run.state_path}." if run.state_path.exists() else "No checkpoint yet."
        raise UsageError(f"{error}. {good} Try a lower --learning-rate or --precision fp32.") from None
    except RuntimeError as error:
        raise _understood(error, run, world) from error
    finally:
        tell(status)
        if tracker:
            _tell(run, tracker, status)
    return ended


def _understood(error: RuntimeError, run: Run, world: World) -> Exception:
    """What a person can do about an error of torch's, or the error itself."""
    if environment.out_of_memory(error):
        each = f"{run.recipe.optimisation.batch_size} images in a step"
        return UsageError(f"not enough memory for {each}. Start a new run with a lower --batch-size.")
    if world.size > 1 and "peer" in str(error):
        return UsageError(f"another process has ended. Go on with: {run.command} train --resume {run.directory}")
    return error


def _tell(run: Run, tracker: Mirror, status: str) -> None:
    """Let MLflow have the rest, and say so if it does not take it."""
    trouble = tracker.close(status, PATIENCE)
    if trouble:
        say(f"{trouble} The local record is complete. Upload it later: {run.command} upload {run.directory}")


def _train(
    run: Run,
    monitor: Monitor,
    state: TrainState,
    plan: TrainingPlan[Any],
    journal: Journal,
    tracker: Mirror | None,
    stop: threading.Event,
    save_seconds: float,
    evaluated: Callable[[], None],
) -> bool:
    device, batch_size, world = plan.streams.device, run.recipe.optimisation.batch_size, state.world
    saved = recorded = time.monotonic()
    first = state.step
    began = assessing = 0.0
    parent = os.getppid()
    progress: tqdm[None] = bar(
        (), total=plan.steps, initial=first, description="training", unit="step", shown=world.leads
    )

    def record(step: int, losses: list[float]) -> None:
        nonlocal recorded
        now = time.monotonic()
        seconds, recorded = now - recorded, now
        if not world.leads:
            return
        loss, speed = sum(losses) / len(losses), len(losses) * batch_size / seconds
        journal.write(step, {"loss": loss, "images_per_second": speed, "seconds": seconds, **environment.load(device)})
        progress.set_postfix_str(f"loss {loss:.5f}, PSNR {monitor.latest}, {speed:.1f} images/s")

    def assess(step: int) -> None:
        nonlocal recorded, assessing
        began_assessing = time.monotonic()
        draw = (step // plan.evaluate_every) % (EVALUATIONS // 2) == 0 or step == plan.steps
        metrics = monitor.assess(step, draw=draw)
        if world.leads:
            journal.write(step, metrics | {"evaluation_seconds": time.monotonic() - began_assessing})
        evaluated()
        assessing = time.monotonic() - began_assessing
        recorded += assessing  # speed is training's alone

    def save() -> None:
        nonlocal saved
        saved = time.monotonic()
        if not world.leads:
            return
        save_network(run.network_path, state.network, run.recipe.network, recipe=described(run.recipe), step=state.step)
        size = journal.sync()
        save_state(run.state_path, state, metric_bytes=size)  # last: it counts on the others
        if tracker:
            tracker.update(size)

    def poll(step: int) -> Request:
        nonlocal began
        progress.update(1)
        if step == first + 1:
            began = _now(device)  # the first step warms up
        elif step == first + FORECAST_STEPS + 1:
            each = (_now(device) - began) / FORECAST_STEPS + assessing / plan.evaluate_every
            usual = plan.evaluate_every == max(1, plan.steps // EVALUATIONS)  # else who evaluates knows what takes long
            if usual and world.leads and step < plan.steps:
                _forecast(each, plan.steps - step, device, run.recipe.optimisation)
        overdue = time.monotonic() - saved >= save_seconds
        wanted = Request.STOP if stop.is_set() else Request.SAVE if overdue else Request.GO_ON
        if world.size == 1:
            return wanted
        if step % plan.log_every and step < plan.steps:
            return Request.GO_ON  # to agree is to wait for each other
        if os.getppid() != parent:
            wanted = Request.STOP  # who started these processes was killed: nobody would know of them
        return Request(world.most(wanted.value))

    with progress:
        return train(state, plan, record=record, evaluate=assess, save=save, poll=poll)


def _now(device: torch.device) -> float:
    """The time when the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()


def _forecast(seconds_per_step: float, steps_left: int, device: torch.device, optimisation: Optimisation) -> None:
    """Say how long the rest takes, and on a CPU what to ask for instead if it is long."""
    left = seconds_per_step * steps_left
    say(f"{steps_left} steps left at {seconds_per_step:.2f} s each: about {spoken(left)}.")
    if device.type == "cpu" and left > UNHURRIED:
        share = min(1.0, 4 / optimisation.batch_size)
        steps = max(1, int(UNHURRIED / (seconds_per_step * share)))
        batch = max(1, round(optimisation.batch_size * share))
        say(f"On this CPU an hour is enough for --steps {steps} --batch-size {batch}; the full length wants a GPU.")


@contextmanager
def _stop_signals(world: World) -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second signal acts as usual, unless it comes with the first.

    `timeout` and some schedulers send each twice: to the process, and to its group.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if stop.is_set() and now - first[0] > TOGETHER:
            signal.signal(number, earlier[signal.Signals(number)])
            signal.raise_signal(number)
        if stop.is_set():
            return
        first.append(now)
        stop.set()
        if world.leads:
            say("stopping: saving after this step." if world.size == 1 else "stopping: saving in a few steps.")

    first: list[float] = []
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in earlier:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
