"""MLflow's own pages, started on the right store."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mri_n2n.comparison.tracked import serve
from mri_n2n.errors import UsageError

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_pages_of_the_store_for_this_machine_alone(own_store: str, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "pipelines", "runs", "ui", "--port", str(port)]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert "<title>MLflow</title>" in answer_of(f"http://127.0.0.1:{port}/", server)
        search = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=5"
        assert "Default" in answer_of(search, server)
        with pytest.raises(UsageError, match="cannot listen on port"):
            serve(port, print)
    finally:
        server.terminate()
        assert server.wait(30) is not None
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


def answer_of(address: str, server: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + 120
    while True:
        assert server.poll() is None
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.3)


def test_a_server_has_pages_of_its_own(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="pages of its own"):
        serve(5000, print)
