"""Whole runs: interrupted in every way, they end as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mri_n2n.data.ixi import prepare_ixi
from mri_n2n.data.preparation import PrepareRequest
from mri_n2n.data.selection import SliceRequest
from mri_n2n.data.slices import open_prepared
from mri_n2n.data.subjects import SplitRequest
from mri_n2n.durable import alone
from mri_n2n.errors import UsageError
from mri_n2n.recipes import Recipe
from mri_n2n.run_directory import open_run
from mri_n2n.runs import spoken
from mri_n2n.slice_training import create_slice_run, train_on_slices

CPU = torch.device("cpu")


def finished(directory: Path, recipe: Recipe, prepared: Path, **given: object) -> Path:
    data = open_prepared(prepared)
    run = create_slice_run(directory, recipe, prepared, data, CPU)
    assert train_on_slices(run, data, CPU, track=False, **given)
    return directory


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return open_run(directory).network().state_dict()


def journal(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_leaves(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    directory = finished(tmp_path / "run", tiny_recipe, prepared)
    run = open_run(directory)
    assert run.recipe == tiny_recipe
    assert run.data["fingerprint"] == open_prepared(prepared).manifest.fingerprint
    assert {"device", "commit", "torch"} <= set(run.environment)
    lines = journal(directory)
    evaluations = [line["step"] for line in lines if "validation/psnr/network" in line]
    last = next(line for line in reversed(lines) if "validation/psnr/network" in line)
    low, mean, high = (last[f"validation/psnr{end}/network"] for end in ("_low", "", "_high"))
    assert low < mean < high  # over the two subjects
    assert evaluations == list(range(13))
    losses = [line["step"] for line in lines if "loss" in line]
    assert losses == list(range(1, 13))
    assert {"images_per_second", "system/cpu_utilization_percentage"} <= set(lines[1])
    assert [path.name for path in sorted((directory / "examples").iterdir())] == [
        "step-000000.png",
        "step-000005.png",
        "step-000010.png",
        "step-000012.png",
    ]
    assert not list(directory.rglob(".partial-*"))


def test_one_process_at_a_time_works_in_a_run(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    with alone(run.directory):
        with pytest.raises(UsageError, match="another process is at work"):
            train_on_slices(run, data, CPU, track=False)
        with pytest.raises(UsageError, match="another process is at work"):
            create_slice_run(run.directory, tiny_recipe, prepared, data, CPU, overwrite=True)
    assert (run.directory / "run.json").exists()
    assert train_on_slices(run, data, CPU, track=False)


def test_same_recipe_same_bits(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    one, two = (weights(finished(tmp_path / name, tiny_recipe, prepared)) for name in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)


TRAIN = f"""
import sys, torch
from pathlib import Path
torch.set_num_threads({torch.get_num_threads()})
from mri_n2n.data.slices import open_prepared
from mri_n2n.run_directory import open_run
from mri_n2n.slice_training import create_slice_run, train_on_slices
run = open_run(Path(sys.argv[1]))
data = open_prepared(Path(run.data["path"]))
resume, seconds = run.state_path.exists(), float(sys.argv[2])
print(train_on_slices(run, data, torch.device("cpu"), resume=resume, save_seconds=seconds, track=False))
"""


def start(directory: Path, save_seconds: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", TRAIN, str(directory), str(save_seconds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    pytest.fail("it did not get there within a minute")


@pytest.mark.parametrize(
    "way", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM, signal.SIGKILL]
)  # Ctrl-C is heard as SIGTERM is
def test_interrupted_runs_end_with_the_same_bits(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, way: signal.Signals
) -> None:
    from dataclasses import replace

    recipe = replace(tiny_recipe, optimisation=replace(tiny_recipe.optimisation, steps=60))
    whole = finished(tmp_path / "whole", recipe, prepared)
    cut = create_slice_run(tmp_path / "cut", recipe, prepared, open_prepared(prepared), CPU)
    process = start(cut.directory, 0.0)  # a checkpoint after every step
    wait_until(
        lambda: len(journal(cut.directory)) > 12 if (cut.directory / "metrics.jsonl").exists() else False, process
    )
    process.send_signal(way)
    if way is signal.SIGTERM:
        process.send_signal(way)  # `timeout` sends it twice: to the process, and to its group
    out, err = process.communicate(timeout=60)
    if way is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 0
        assert out.strip() == "False"
        assert "stopping" in err
    process = start(cut.directory, 60.0)
    out, err = process.communicate(timeout=120)
    assert out.strip() == "True", err
    one, two = weights(whole), weights(cut.directory)
    assert all(torch.equal(one[name], two[name]) for name in one)
    same = ("step", "loss", "validation/psnr/network with replacement")
    assert [[line.get(key) for key in same] for line in journal(whole)] == [
        [line.get(key) for key in same] for line in journal(cut.directory)
    ]


def test_resuming_a_finished_run_does_nothing(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    directory = finished(tmp_path / "run", tiny_recipe, prepared)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert train_on_slices(open_run(directory), open_prepared(prepared), CPU, resume=True, track=False)
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_changed_data_is_refused(tmp_path: Path, tiny_recipe: Recipe, prepared: Path, heads: Path) -> None:
    directory = finished(tmp_path / "run", tiny_recipe, prepared)
    prepare_ixi(heads, tmp_path / "other", PrepareRequest(SplitRequest(2, 2), SliceRequest(14, 20)))
    with pytest.raises(UsageError, match="data has changed"):
        train_on_slices(open_run(directory), open_prepared(tmp_path / "other"), CPU, resume=True, track=False)


def test_non_finite_loss_names_the_last_good_checkpoint(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mri_n2n.training.losses import SquaredError

    honest = SquaredError.__call__

    def breaks(self, prediction, pair, *, progress):
        return honest(self, prediction, pair, progress=progress) * (float("nan") if progress > 0.5 else 1.0)

    monkeypatch.setattr(SquaredError, "__call__", breaks)
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    with pytest.raises(UsageError, match=r"not finite at step 7.*training-state.pt") as caught:
        train_on_slices(run, data, CPU, track=False, save_seconds=0.0)
    assert "\n" not in str(caught.value)
    state = torch.load(run.state_path, weights_only=True)
    assert state["step"] == 7
    assert all(torch.isfinite(weight).all() for weight in state["network"].values())


def test_full_disk(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    """A file-size limit stands in for the full disk: one line, exit code 2, and no half-written file."""
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, open_prepared(prepared), CPU)
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
        "from mri_n2n.errors import UsageError\n"
        f"try:\n    exec({TRAIN!r})\nexcept UsageError as error:\n    print(error); sys.exit(2)\n"
    )
    arguments = [sys.executable, "-c", limited, str(run.directory), "0.0"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False, env={**os.environ})
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("cannot write")
    assert len(done.stdout.splitlines()) == 1
    assert not list(run.directory.rglob(".partial-*"))


def test_a_run_without_network(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, open_prepared(prepared), CPU)
    with pytest.raises(UsageError, match="--resume"):
        run.network()
    with pytest.raises(UsageError, match="no run"):
        open_run(tmp_path / "absent")
    for text in ("", "{}", "[]", '{"format": "mri-n2n run 1", "recipe": {"kind": "Popen"}}'):
        (run.directory / "run.json").write_text(text)
        with pytest.raises(UsageError):
            open_run(run.directory)


def test_killed_between_network_and_state(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    """The network is written before the state that counts on it: a finished run always has its last network."""
    whole = finished(tmp_path / "whole", tiny_recipe, prepared)
    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)

    def dies(path: Path, state: object, **_: int) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mri_n2n.runs.save_state", dies)
        with pytest.raises(KeyboardInterrupt):
            train_on_slices(run, data, CPU, track=False)
    assert run.status() == "KILLED"
    assert train_on_slices(run, data, CPU, track=False, resume=run.state_path.exists())
    one, two = weights(whole), weights(run.directory)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert run.status() == "FINISHED"


def test_killed_before_the_first_checkpoint(cli, tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    """`train --resume`, which `evaluate` advises, begins such a run from its start."""
    run = create_slice_run(tmp_path / "runs/r", tiny_recipe, prepared, open_prepared(prepared), CPU)
    (run.directory / "metrics.jsonl").write_text('{"step": 0, "time": 0}\n')
    assert "--resume" in cli("evaluate", "r", prepared).err
    answer = cli("train", "--resume", "r")
    assert answer.code == 0, answer.err
    assert len(journal(run.directory)) == 25


def test_a_run_that_saved_nothing_is_in_nobodys_way(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    data = open_prepared(prepared)
    for _ in range(2):
        create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    finished(tmp_path / "other", tiny_recipe, prepared)
    with pytest.raises(UsageError, match="exists"):
        create_slice_run(tmp_path / "other", tiny_recipe, prepared, data, CPU)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_large_a_batch_is_said(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise error

    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    monkeypatch.setattr("mri_n2n.runs.train", full)
    with pytest.raises(UsageError, match="--batch-size"):
        train_on_slices(run, data, CPU, track=False)


def test_other_errors_are_bugs_and_stay_what_they_are(
    tmp_path: Path, tiny_recipe: Recipe, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **__: object) -> bool:
        raise RuntimeError("sizes do not match")

    data = open_prepared(prepared)
    run = create_slice_run(tmp_path / "run", tiny_recipe, prepared, data, CPU)
    monkeypatch.setattr("mri_n2n.runs.train", wrong)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        train_on_slices(run, data, CPU, track=False)


def test_a_compiled_run_says_so_and_compiles_for_its_sizes(
    tmp_path: Path,
    tiny_recipe: Recipe,
    prepared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dataclasses import replace

    asked: list[dict[str, object]] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, **options: asked.append(options))
    recipe = replace(tiny_recipe, optimisation=replace(tiny_recipe.optimisation, steps=2, compile=True))
    finished(tmp_path / "run", recipe, prepared)
    assert asked == [{"dynamic": False, "mode": "reduce-overhead"}]
    assert "compiling" in capsys.readouterr().err


def test_overwriting_removes_runs_only(tmp_path: Path, tiny_recipe: Recipe, prepared: Path) -> None:
    data = open_prepared(prepared)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        create_slice_run(tmp_path, tiny_recipe, prepared, data, CPU, overwrite=True)
    directory = finished(tmp_path / "run", tiny_recipe, prepared)
    create_slice_run(directory, tiny_recipe, prepared, data, CPU, overwrite=True)
    assert [path.name for path in directory.iterdir()] == ["run.json"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("bits", [8, 16])
def test_on_a_gpu(tmp_path: Path, tiny_recipe: Recipe, heads: Path, bits: int) -> None:
    prepare_ixi(heads, tmp_path / "data", PrepareRequest(SplitRequest(2, 2), SliceRequest(14, 19), bits))
    data, device = open_prepared(tmp_path / "data"), torch.device("cuda")
    run = create_slice_run(tmp_path / "run", tiny_recipe, tmp_path / "data", data, device)
    assert train_on_slices(run, data, device, track=False)


def test_durations_are_spoken() -> None:
    assert [spoken(seconds) for seconds in (3, 300, 9_000, 1_728_000)] == ["3 s", "5 min", "2.5 h", "20 days"]
