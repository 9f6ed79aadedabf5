"""Several processes that train one network. Two of them here, over gloo, on this machine."""

import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import psutil
import pytest
import torch

from mri_n2n.errors import INTERRUPTED, UsageError
from mri_n2n.launch import _program, _without, launched
from mri_n2n.networks.unet import UNet
from mri_n2n.recipes import MRI
from mri_n2n.run_directory import Run, open_run
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task, TrainingPair
from mri_n2n.training.trainer import Request, TrainingPlan, TrainState, adam, train
from mri_n2n.training.world import ALONE, World, joined, left

CPU = torch.device("cpu")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}


def test_shares_make_up_the_batch() -> None:
    shares = [list(range(6))[World(rank, 3).share(6)] for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(UsageError, match="multiple of 4"):
        World(0, 4).share(6)


def test_every_process_has_its_own_stream() -> None:
    names = {World(rank, 3).stream("corruption") for rank in range(3)}
    assert len(names) == 3
    assert ALONE.stream("corruption") in names  # the first goes on as if alone


def test_alone_nothing_changes() -> None:
    network, values = UNet(width=6), torch.tensor([1.0, 2.0])
    assert ALONE.parallel(network) is network
    assert ALONE.mean(values) is values
    assert ALONE.most(2) == 2
    assert ALONE.mapped(str, [1, 2, 3]) == ["1", "2", "3"]
    assert ALONE.first(lambda: "made", lambda: "found") == "made"
    assert joined(CPU) == (ALONE, CPU)


@pytest.mark.parametrize("given", [["--gpus", "2"], ["--gpus=2"]])
def test_the_option_is_not_passed_on(given: list[str]) -> None:
    assert _without("--gpus", ["mri-n2n", "train", *given, "data"]) == ["mri-n2n", "train", "data"]


def trained(world: World) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The weights and losses of a few steps, on pairs that depend on nothing but the images."""
    images = torch.rand((8, 1, 32, 32), generator=torch.Generator().manual_seed(0)) - 0.5
    share = world.share(8)

    def load(step: int) -> Batch:
        return Batch(images.roll(step, 0)[share, None], torch.arange(8)[share])

    def corruption(batch: Batch, generator: torch.Generator) -> TrainingPair:
        return TrainingPair(batch.images[:, 0], -batch.images[:, 0])

    torch.manual_seed(world.rank)  # other weights in every process, until they train together
    network = UNet(width=6)
    losses: list[float] = []
    plan = TrainingPlan(Task(corruption, SquaredError()), load, 5, RampedRate(), RandomStreams(0), log_every=2)
    train(
        TrainState(network, adam(network), world=world),
        plan,
        record=lambda step, latest: losses.extend(latest),
        evaluate=lambda step: None,
        save=lambda: None,
        poll=lambda step: Request.GO_ON,
    )
    return network.state_dict(), losses


def gradients(world: World) -> list[torch.Tensor]:
    """Of one step without an optimiser, whose scale Adam would hide."""
    images = torch.rand((8, 1, 32, 32), generator=torch.Generator().manual_seed(0)) - 0.5
    torch.manual_seed(0)
    network = UNet(width=6)
    parallel = world.parallel(network)  # it must live until the gradients are exchanged
    torch.autograd.backward(parallel(images[world.share(8)]).square().mean())
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def drawn(world: World) -> list[float]:
    """A number that each process draws for the corruption of a trainer's first step."""
    numbers = []

    def corruption(batch: Batch, generator: torch.Generator) -> TrainingPair:
        numbers.append(float(torch.rand(1, generator=generator)))
        return TrainingPair(batch.images[:, 0], batch.images[:, 0])

    batch = Batch(torch.zeros((1, 1, 1, 32, 32)), torch.arange(1))
    network = UNet(width=6)
    plan = TrainingPlan(Task(corruption, SquaredError()), lambda _: batch, 1, RampedRate(), RandomStreams(0))
    train(
        TrainState(network, adam(network), world=world),
        plan,
        record=lambda step, latest: None,
        evaluate=lambda step: None,
        save=lambda: None,
        poll=lambda step: Request.GO_ON,
    )
    return world.mapped(lambda _: numbers[0], range(world.size))


def failing(item: int) -> int:
    """Fails in the second process alone."""
    if item == 1:
        raise UsageError("the second one failed")
    return item


def in_two_processes(place: Path) -> None:
    """What each of the two processes of the test below does."""
    world, device = joined(CPU)
    assert (world.size, device) == (2, CPU)
    assert world.mapped(lambda item: 10 * item, range(5)) == [0, 10, 20, 30, 40]
    assert world.most(world.rank) == 1
    assert world.mean(torch.tensor([float(world.rank), 4.0])).tolist() == [0.5, 4.0]
    assert world.first(lambda: "made", lambda: "found") == ("made" if world.leads else "found")
    for step in (lambda: world.mapped(failing, range(2)), lambda: world.first(lambda: failing(1), lambda: 0)):
        with pytest.raises(UsageError, match="the second one"):  # raised by all, and nobody waits
            step()
    first, second = drawn(world)
    assert first == drawn(ALONE)[0]
    assert first != second
    weights, losses = trained(world)
    own = gradients(world)
    if world.leads:
        torch.save({"weights": weights, "losses": losses, "gradients": own}, place)
    left()
    names = {thread.read_text().strip() for thread in Path("/proc/self/task").glob("*/comm")}
    assert not {name for name in names if "gloo" in name}, names


def launch(*command: object) -> subprocess.CompletedProcess[str]:
    arguments = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, command)]
    return subprocess.run([sys.executable, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """The same global batches: gradients, and so weights and losses, agree to float precision."""
    ended = launch(__file__, tmp_path / "two.pt")
    assert ended.returncode == 0, ended.stderr
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    weights, losses = trained(ALONE)
    torch.testing.assert_close(two["gradients"], gradients(ALONE), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(two["losses"], losses, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(two["weights"], weights, rtol=1e-3, atol=1e-4)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipelines", "train", *map(str, arguments), "--device", "cpu"]


def checked(run: Path) -> Run:
    """The run, after a look at its record: every step once."""
    opened = open_run(run, MRI)
    steps = [step for step, _ in opened.metric("loss")]
    assert steps == sorted(set(steps))
    return opened


def test_the_command_in_two_processes(prepared: Path, tmp_path: Path) -> None:
    options = ["--steps", 6, "--batch-size", 4, "--run-name"]
    both = subprocess.run(
        command(prepared, *options, "two", "--gpus", 2), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("Done:") == 1
    assert "Warning" not in both.stderr
    one = subprocess.run(command(prepared, *options, "one"), cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
    assert one.returncode == 0
    two, alone = checked(tmp_path / "runs/two"), checked(tmp_path / "runs/one")
    assert two.progress()[0] == 6
    name = "validation/psnr/zero-filled"
    assert dict(two.metric(name)) == dict(alone.metric(name))  # shared out, gathered, nothing lost
    first, last = two.metric("loss")[0], two.metric("loss")[-1]
    assert last[1] < first[1]


def test_stopped_in_two_processes_and_gone_on_with_in_one(prepared: Path, tmp_path: Path) -> None:
    asked = command(prepared, "--steps", 400, "--batch-size", 4, "--run-name", "r", "--gpus", 2, "--save-seconds", 0.1)
    process = subprocess.Popen(asked, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    state = tmp_path / "runs/r/training-state.pt"
    for _ in range(600):
        if state.exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == INTERRUPTED, output
    run = checked(tmp_path / "runs/r")
    done = run.progress()[0]
    assert 0 < done < 400
    resumed = subprocess.Popen(command("--resume", "runs/r"), cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if run.metric("loss")[-1][0] > done or resumed.poll() is not None:
            break
        time.sleep(0.1)
    resumed.send_signal(signal.SIGTERM)
    assert resumed.wait(timeout=60) == INTERRUPTED
    assert checked(tmp_path / "runs/r").progress()[0] > done


def test_what_one_meets_both_are_told(prepared: Path, tmp_path: Path) -> None:
    """The run exists: the first process finds it out, and the other is not left with a broken connection."""
    asked = command(prepared, "--steps", 2, "--batch-size", 4, "--run-name", "taken", "--gpus", 2)
    for code in (0, 2):
        ended = subprocess.run(asked, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("error:") == 1
    assert "exists" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_when_its_parent_is_killed_a_training_saves_and_ends(prepared: Path, tmp_path: Path) -> None:
    asked = command(prepared, "--steps", 100_000, "--batch-size", 4, "--run-name", "r", "--gpus", 2)
    nowhere = subprocess.DEVNULL
    parent = subprocess.Popen(asked, cwd=tmp_path, env=ENVIRONMENT, stdout=nowhere, stderr=nowhere)
    journal = tmp_path / "runs/r/metrics.jsonl"
    for _ in range(600):
        if (journal.exists() and "loss" in journal.read_text()) or parent.poll() is not None:
            break
        time.sleep(0.1)
    ranks = psutil.Process(parent.pid).children(recursive=True)
    assert len(ranks) >= 2
    parent.kill()
    parent.wait()
    _, left_over = psutil.wait_procs(ranks, timeout=60)
    for process in left_over:
        process.kill()
    assert not left_over
    assert 0 < checked(tmp_path / "runs/r").progress()[0] < 100_000


def test_processes_are_not_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(UsageError, match="leave out --gpus"):
        launched(2, "cpu", "--gpus")


def test_the_processes_run_the_code_of_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m pipelines` begins `-m pipelines` again, from the same place, and a script itself."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", ModuleSpec("pipelines.__main__", None, origin="/there/pipelines/__main__.py"))
    monkeypatch.setattr(sys, "argv", ["/there/pipelines/__main__.py", "train"])
    assert _program() == ["-m", "pipelines"]
    monkeypatch.setattr(main, "__spec__", None)
    assert _program() == ["/there/pipelines/__main__.py"]


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="--device cpu"):
        launched(2, "auto", "--gpus")
    with pytest.raises(UsageError, match="at least 1"):
        launched(0, "cpu", "--gpus")


def test_a_batch_that_cannot_be_shared(prepared: Path, tmp_path: Path) -> None:
    asked = command(prepared, "--steps", 2, "--batch-size", 3, "--gpus", 2)
    ended = subprocess.run(asked, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "multiple of 2" in ended.stderr
    assert ended.stderr.count("error:") == 1  # said by one for both
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "runs").exists()


if __name__ == "__main__":
    in_two_processes(Path(sys.argv[1]))
