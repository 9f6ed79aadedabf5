"""Two Ray machines, as far as one machine can be two: a process is killed, and then a machine, in the midst."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from batch_runs import ENVIRONMENT, by_source, command, left_over, published, settled, start, wait_for
from wards import damaged_scans

from pipelines.batch.exits import Exit
from pipelines.batch.outcome import Reason

pytest.importorskip("ray")
STORE = 80 * 1024 * 1024  # bytes of shared memory
OWN = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"}


class Cluster:
    """Machines of one processor each; a machine is a process that we started, and its descendants."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.environment = ENVIRONMENT | OWN | {"RAY_ADDRESS": self.address, "RAY_TMPDIR": str(folder)}
        self.machines: list[subprocess.Popen[bytes]] = []

    def add(self) -> subprocess.Popen[bytes]:
        port = self.address.partition(":")[2]
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        place = [f"--address={self.address}"] if self.machines else head
        asked = ["--node-ip-address=127.0.0.1", "--num-cpus=1", f"--object-store-memory={STORE}", "--block"]
        ray = [str(Path(sys.executable).with_name("ray")), "start", *place, *asked, "--disable-usage-stats"]
        quiet = subprocess.DEVNULL
        self.machines.append(
            subprocess.Popen(["timeout", "500", *ray], env=self.environment, stdout=quiet, stderr=quiet)
        )
        return self.machines[-1]

    def end(self) -> None:
        for machine in self.machines:
            kill(machine)


def descendants(machine: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(machine.pid).children(recursive=True)
    return []


def kill(machine: subprocess.Popen[bytes]) -> None:
    for process in descendants(machine):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    machine.kill()
    machine.wait()


def at_work(machine: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of a machine that have a study at hand."""
    found = []
    for process in descendants(machine):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] == ["ray::_study"]:
                found.append(process)
    return found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # paths of sockets must be short
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def ward(scans: Path, folder: Path, more: int) -> dict[str, Reason]:
    expected = damaged_scans(scans, folder)
    for number in range(more):
        (folder / f"more-{number:04d}.h5").symlink_to(sorted(scans.glob("*.h5"))[number % 4])
        expected[f"more-{number:04d}.h5"] = Reason.RECONSTRUCTED
    return expected


def on_ray(source: Path, output: Path, model: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return quietly("400", command(source, output, model, "--engine", "ray"), environment)


def quietly(seconds: str, asked: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(["timeout", seconds, *asked], env=environment, stdout=quiet, stderr=quiet)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_process_and_a_machine_are_killed(cluster: Cluster, scans: Path, model: Path, tmp_path: Path) -> None:
    """Every study is published once and none half, as by one machine alone."""
    expected = ward(scans, tmp_path / "ward", 180)
    assert start(tmp_path / "ward", tmp_path / "local", model).wait(timeout=300) == Exit.SOME_NOT
    cluster.add()
    other = cluster.add()
    output = tmp_path / "out"
    batch = on_ray(tmp_path / "ward", output, model, cluster.environment)
    try:
        wait_for(lambda: settled(output) > 20 and bool(at_work(other)), batch)
        at_work(other)[0].kill()  # a process
        done = settled(output)
        wait_for(lambda: settled(output) > done + 20 and bool(at_work(other)), batch)
        kill(other)  # a machine
        assert settled(output) < len(expected)
        assert batch.wait(timeout=300) == Exit.SOME_NOT
    finally:
        batch.kill()
    assert {name: outcome.reason for name, outcome in by_source(output).items()} == expected
    assert published(output) == published(tmp_path / "local")
    assert left_over(output) == []
    networks = len(list((output / "private").glob("worker-*.txt")))
    assert networks <= 4  # one for each process that worked, and not one for each study


@pytest.fixture
def alone() -> Iterator[dict[str, str]]:
    """For a batch that starts Ray itself."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    environment = ENVIRONMENT | OWN | {"RAY_TMPDIR": str(folder)}
    environment.pop("RAY_ADDRESS", None)
    yield environment
    shutil.rmtree(folder, ignore_errors=True)


def test_on_ray_all_ends_as_without(alone: dict[str, str], scans: Path, model: Path, tmp_path: Path) -> None:
    expected = ward(scans, tmp_path / "ward", 0)
    assert on_ray(tmp_path / "ward", tmp_path / "out", model, alone).wait(timeout=200) == Exit.SOME_NOT
    assert {name: outcome.reason for name, outcome in by_source(tmp_path / "out").items()} == expected
    assert left_over(tmp_path / "out") == []


def test_without_ray_it_is_said_how_to_get_it(
    cli: Callable[..., Any], scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pipelines.batch.ray_tasks", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = cli("batch", scans, tmp_path / "out", "--model", model, "--engine", "ray")
    assert answer.code == 2
    assert "mri-n2n[ray]" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_on_ray_it_stops_when_asked(alone: dict[str, str], scans: Path, model: Path, tmp_path: Path) -> None:
    expected = ward(scans, tmp_path / "ward", 100)
    batch = on_ray(tmp_path / "ward", tmp_path / "out", model, alone)
    wait_for(lambda: settled(tmp_path / "out") > 3, batch)
    batch.send_signal(signal.SIGTERM)  # timeout hands it on
    assert batch.wait(timeout=120) == Exit.DRAINED
    assert 3 < settled(tmp_path / "out") < len(expected)
    assert left_over(tmp_path / "out") == []
