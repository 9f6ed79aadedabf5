"""MLflow's own pages, started on the right store."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mri_n2n.comparison.tracked import serve
from mri_n2n.errors import UsageError

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begun(port: int, log: Path) -> subprocess.Popen[bytes]:
    """The command, in the folder of its log."""
    command = [sys.executable, "-m", "pipelines", "runs", "ui", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as said:
        return subprocess.Popen(
            command, cwd=log.parent, env=environment, stdout=said, stderr=said, start_new_session=True
        )


def test_pages_of_the_store_for_this_machine_alone(own_store: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    server = begun(port, log)
    try:
        assert "<title>MLflow</title>" in answer_of(f"http://127.0.0.1:{port}/", server)
        search = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=5"
        assert "Default" in answer_of(search, server)
        with pytest.raises(UsageError, match="cannot listen on port"):
            serve(port, print)
    finally:
        os.killpg(server.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        assert server.wait(30) == 0
    assert "Traceback" not in log.read_text()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent ended")
def test_killed_it_leaves_nobody_who_listens(own_store: str, tmp_path: Path) -> None:
    port = free_port()
    server = begun(port, tmp_path / "log")
    try:
        answer_of(f"http://127.0.0.1:{port}/", server)
        own = psutil.Process(server.pid).children(recursive=True)
    finally:
        server.kill()
        server.wait()
    _, left_over = psutil.wait_procs(own, timeout=30)
    for process in left_over:
        process.kill()
    assert own
    assert not left_over


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
