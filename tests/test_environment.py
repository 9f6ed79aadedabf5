import os
from pathlib import Path

import pytest
import torch

from mri_n2n import environment


@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("150000 100000", 2), ("max 100000", 10**6), ("", 10**6)]
)
def test_a_container_s_share_of_time_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(environment, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert environment.cores() == min(64, most)


@pytest.mark.parametrize(("allowed", "used", "free"), [("5000", "2000", 3000), ("2000", "5000", 0), ("max", "1", None)])
def test_a_container_s_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: str, used: str, free: int | None
) -> None:
    for name, value in (("MEMORY", allowed), ("MEMORY_USED", used)):
        (tmp_path / name).write_text(value)
        monkeypatch.setattr(environment, name, tmp_path / name)
    assert environment.free_memory() == free if free is not None else environment.free_memory() > 10**8


@pytest.mark.parametrize(("said", "threads"), [(None, 1), ("2", 2)])
def test_no_more_threads_than_cores_unless_told(
    monkeypatch: pytest.MonkeyPatch, said: str | None, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(environment, "cores", lambda: 1)
    try:
        environment.chosen_device("cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
