"""Batches for tests: scans of which many are damaged, processes, and what they leave."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.batch.folder import BatchFolder
from pipelines.batch.names import all_sources
from pipelines.batch.outcome import Outcome
from pipelines.batch.study import Setup

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}


def setup(model: Path, output: Path, *, simulate: bool = False) -> Setup:
    return Setup(model, output, "cpu", simulate, None)


def by_source(output: Path) -> dict[str, Outcome]:
    """What became of each file, or of each series by its first file."""
    names = all_sources(BatchFolder(output))
    return {names[outcome.study][0]: outcome for outcome in BatchFolder(output).outcomes()}


def published(output: Path) -> dict[str, bytes]:
    """Every published file, but for the times that are told."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted((output / "studies").rglob("*"))
        if path.is_file() and path.name != "status.json"
    }


def left_over(output: Path) -> list[Path]:
    """What is half-written, and what says that somebody is at it."""
    return [path for path in output.rglob("*") if path.name.startswith(".") or path.parent.name == "begun"]


def command(source: Path, output: Path, model: Path, *more: object) -> list[str]:
    arguments = ["batch", source, output, "--model", model, "--device", "cpu", *more]
    return [sys.executable, "-m", "pipelines", *map(str, arguments)]


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def settled(output: Path) -> int:
    return len(list((output / "status").glob("*.json"))) if (output / "status").exists() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None
        time.sleep(0.05)
    pytest.fail("it did not get there within a minute")
