"""The machine's speed. What is measured here is tiny: the numbers are only looked at for sense."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mri_n2n.errors import UsageError
from mri_n2n.kspace.fourier import CPU
from mri_n2n.networks.spec import UNetSpec
from pipelines.benchmark.measure import PARTS
from pipelines.benchmark.stopwatch import FORGET, forget_peak_memory, forward_flops, peak_memory
from pipelines.benchmark.workload import Workload, rate_for

STAGES = ("load", "corrupt", "forward", "replacement and loss", "backward", "optimise", "log")


def test_everything_is_measured(cli: Callable[..., object]) -> None:
    answer = cli("benchmark", "--json", "--size", 40, "--batch-size", 2, "--repeats", 1, "--device", "cpu")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    training, reconstruction = result["train"], result["reconstruct"]
    assert tuple(training["stages"]) == STAGES
    stages = {name: timing["median"] for name, timing in training["stages"].items()}
    assert min(stages.values()) > 0
    # A whole step is about its stages: what the loop adds is small, and the machine may be busy.
    assert 0.1 < sum(stages.values()) / training["seconds_per_step"]["median"] < 10
    assert 0.1 < training["streamed_speed"] < 10
    assert result["photographs"]["images_per_second"] > 0
    assert training["images_per_second"] * training["seconds_per_step"]["median"] == pytest.approx(2)
    assert reconstruction["volume"] == [40, 40, 23]
    assert reconstruction["volume_seconds"]["median"] > reconstruction["network_seconds_per_batch"]["median"]
    assert result["load"]["slices_per_second"] > 0
    assert result["corrupt"]["slices_per_second"] > 0
    assert 0 < result["start"]["help_seconds"]["median"] < result["start"]["first_step_seconds"]["median"] < 60
    assert result["matrix_product_gflops"]["fp32"] > 1
    assert result["memory_gigabytes_per_second"] > 0.5
    assert min(result[part]["peak_memory_mb"]["process"] for part in PARTS) > 100


def test_one_part_as_a_table(cli: Callable[..., object], tmp_path: Path) -> None:
    asked = ("--size", 40, "--batch-size", 2, "--repeats", 1, "--device", "cpu", "--output", "all.json")
    answer = cli("benchmark", "corrupt", *asked)
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "all.json").read_text())["corrupt"]["slices_per_second"] > 0
    assert "drawing pairs" in answer.out
    assert "training" not in answer.out
    assert "--help" not in answer.out


def test_the_papers_operations() -> None:
    """METHOD §2: 22.46 GFLOP forward for a 256×256 image."""
    assert forward_flops(UNetSpec().build(), torch.zeros(1, 1, 256, 256)) / 1e9 == pytest.approx(22.46, abs=0.01)


@pytest.mark.parametrize(
    "wrong", [{"size": 8}, {"size": 5000}, {"batch_size": 0}, {"batch_size": 1000}, {"repeats": 0}]
)
def test_impossible_work(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected a size"):
        Workload(**wrong)


def test_a_network_is_compared_with_the_product_of_its_own_precision() -> None:
    gpu = {"fp32": 50.0, "tf32": 400.0, "bf16": 800.0}
    assert (rate_for(gpu, bf16=False), rate_for(gpu, bf16=True)) == (400.0, 800.0)
    assert rate_for({"fp32": 0.2}, bf16=True) == 0.2  # a CPU's


def test_peak_memory_can_be_forgotten() -> None:
    if not FORGET.exists():
        pytest.skip("this system does not forget a process's peak")
    held = torch.ones(50_000_000)
    del held
    before = peak_memory(CPU)["process"]
    forget_peak_memory(CPU)
    assert peak_memory(CPU)["process"] < before - 150
