"""A run as one file: it arrives as it left, and what somebody else made of the file is refused."""

import hashlib
import io
import json
import os
import shutil
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparison_runs import made_run

from mri_n2n.comparison.archive import export_run, unpacked, upload_archive
from mri_n2n.comparison.finding import find_run
from mri_n2n.comparison.records import read_run
from mri_n2n.durable import alone, sha256_of
from mri_n2n.errors import UsageError

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own deprecations are not ours to mend


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    run = made_run(tmp_path / "run", gain=5.0)
    (run / "report.html").write_text("a page")
    (run / "training-state.pt").write_bytes(b"not for others")
    (run / "tracking.json").write_text('{"run_id": "here", "uri": "sqlite:///secret/place"}')
    path = tmp_path / "run.zip"
    export_run(read_run(run), path)
    return path


def test_it_arrives_as_it_left(archive: Path, tmp_path: Path) -> None:
    with unpacked(archive) as directory:
        for name in ("metrics.jsonl", "network-00.safetensors", "evaluation/slices.csv"):
            assert sha256_of(directory / name) == sha256_of(tmp_path / "run" / name)
        here = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
        assert not here.keys() & {"training-state.pt", "tracking.json"}
        described = json.loads((tmp_path / "run/run.json").read_text())
        assert described["data"].pop("path") == "/home/somebody/data"  # nobody's business elsewhere
        assert json.loads(here["run.json"].read_text()) == described
        assert not any(b"secret" in path.read_bytes() for path in here.values())
    assert not directory.exists()


def test_into_a_tracking_server_unchanged(archive: Path, tmp_path: Path, own_store: str) -> None:
    identifier = upload_archive(archive).split(" ")[0]
    tracked, local = find_run(identifier), read_run(tmp_path / "run")
    assert tracked.name == local.name
    assert tracked.parameters == local.parameters
    assert tracked.status == "FINISHED"
    assert {name: list(curve) for name, curve in local.curves.items()}.items() <= {
        name: list(curve) for name, curve in tracked.curves.items()
    }.items()
    assert tracked.evaluated is not None
    assert tracked.evaluated.tested_on == local.evaluated.tested_on
    from mlflow import MlflowClient

    client = MlflowClient(own_store)
    info = client.get_run(identifier).info
    assert (info.start_time, info.end_time) == (1000, 3000)  # when it was trained, not when it was uploaded
    parts = {part.path for part in client.list_artifacts(identifier)}
    assert parts >= {"network.json", "network-00.safetensors", "report.html"}


def test_an_archive_of_an_earlier_version_is_taken(archive: Path) -> None:
    """It also had the list of files that were left out, which is no longer packed."""
    (archive.parent / "run" / "left-out.txt").write_text("/home/somebody/picture.jpg\n")
    export_run(read_run(archive.parent / "run"), archive, overwrite=True)
    with unpacked(archive) as directory:
        assert not (directory / "left-out.txt").exists()
    with unpacked(changed(archive, adding("left-out.txt"))) as directory:
        assert (directory / "left-out.txt").exists()


def test_once(archive: Path, own_store: str) -> None:
    from mlflow import MlflowClient

    first = upload_archive(archive)
    again = archive.with_name("again.zip")
    export_run(read_run(archive.parent / "run"), again)
    assert upload_archive(again) == first
    client = MlflowClient(own_store)
    experiment = client.get_experiment_by_name("mri-n2n").experiment_id
    (run,) = client.search_runs([experiment])
    client.update_run(run.info.run_id, "RUNNING")  # as an upload that was cut off leaves it
    assert upload_archive(archive) != first
    assert len(client.search_runs([experiment])) == 1


def test_a_server_that_goes_away_during_an_upload(archive: Path, own_store: str, monkeypatch: Any) -> None:
    """What it has by then stays RUNNING there, and the next upload puts the whole run in its place."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    log, sent = MlflowClient.log_artifact, []

    def leaves(self: MlflowClient, *arguments: Any, **options: Any) -> None:
        if len(sent) == 2:
            raise MlflowException("connection refused")
        sent.append(1)
        log(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", leaves)
        patch.setattr(MlflowClient, "delete_run", leaves)
        with pytest.raises(UsageError, match=r"MLflow at sqlite.* does not take the run \(connection refused\)"):
            upload_archive(archive)
    client = MlflowClient(own_store)
    experiment = client.get_experiment_by_name("mri-n2n").experiment_id
    (half,) = client.search_runs([experiment])
    assert half.info.status == "RUNNING"
    whole = upload_archive(archive).split(" ")[0]
    (run,) = client.search_runs([experiment])
    assert run.info.run_id == whole != half.info.run_id
    assert find_run(whole).evaluated is not None


@pytest.mark.parametrize(
    ("name", "line"),
    [("a$b", {}), ("k", {"../x": 1.0}), ("k", {"x" * 300: 1.0}), ("k", {"step": 10**30, "loss": 1.0})],
    ids=["parameter", "path", "long name", "step"],
)
def test_what_mlflow_refuses_is_said_and_leaves_nothing(
    tmp_path: Path, own_store: str, name: str, line: dict[str, Any]
) -> None:
    from mlflow import MlflowClient

    run = made_run(tmp_path / "odd", recipe={name: 1})
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 110, "time": 1, **line}) + "\n")
    export_run(read_run(run), tmp_path / "odd.zip")
    with pytest.raises(UsageError, match="MLflow at sqlite|holds a run that is damaged") as caught:
        upload_archive(tmp_path / "odd.zip")
    assert "does not answer" not in str(caught.value)
    client = MlflowClient(own_store)
    experiment = client.get_experiment_by_name("mri-n2n")
    assert experiment is None or not client.search_runs([experiment.experiment_id])


BAD_RUNS = {
    "a line without a time": ("metrics.jsonl", '{"step": 1, "loss": 1.0}\n'),
    "a name that MLflow refuses": ("metrics.jsonl", '{"step": 1, "time": 1, "lo$s": 1.0}\n'),
    "no number": ("metrics.jsonl", '{"step": 1, "time": 1, "loss": NaN}\n'),
    "a summary without methods": ("evaluation/summary.json", "{}"),
}


@pytest.mark.parametrize("what", BAD_RUNS)
def test_a_damaged_run_leaves_nothing_in_the_store(tmp_path: Path, own_store: str, what: str) -> None:
    from mlflow import MlflowClient

    run = made_run(tmp_path / "bad")
    record = read_run(run)
    name, content = BAD_RUNS[what]
    (run / name).write_text(content)
    export_run(record, tmp_path / "bad.zip")
    with pytest.raises(UsageError, match="holds a run that is damaged"):
        upload_archive(tmp_path / "bad.zip")
    client = MlflowClient(own_store)
    assert client.get_experiment_by_name("mri-n2n") is None


@pytest.mark.parametrize("name", ["network-00.safetensors", "network.json", "evaluation/summary.json"])
def test_a_run_without_its_network_is_neither_packed_nor_taken(archive: Path, tmp_path: Path, name: str) -> None:
    run = read_run(tmp_path / "run")
    (tmp_path / "run" / name).write_text("[]")
    if name.startswith("network"):
        with pytest.raises(UsageError, match="has no whole network"):
            export_run(run, tmp_path / "other.zip")

    def damaged(files: dict[str, bytes], contents: dict[str, Any]) -> None:
        files[f"run/{name}"] = b"[]"
        contents["files"][name] = {"size": 2, "sha256": hashlib.sha256(b"[]").hexdigest()}

    with pytest.raises(UsageError, match=r"changed\.zip holds a run that is damaged") as caught:
        upload_archive(changed(archive, damaged))
    assert "\n" not in str(caught.value)


def test_a_killed_run_arrives_up_to_its_last_whole_line(tmp_path: Path, own_store: str) -> None:
    run = made_run(tmp_path / "killed", steps=(50, 100))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 110, "time": 1, "lo')
    os.utime(run / "network.json", (0, 0))  # a file of 1970
    export_run(read_run(run), tmp_path / "killed.zip")
    tracked = find_run(upload_archive(tmp_path / "killed.zip").split(" ")[0])
    assert tracked.status == "KILLED"
    assert list(tracked.curves["loss"]) == [(50, 1.0)]


def test_what_is_not_exported(tmp_path: Path, archive: Path) -> None:
    run = read_run(tmp_path / "run")
    with pytest.raises(UsageError, match=r"run\.zip is there already"):
        export_run(run, archive)
    with alone(tmp_path / "run"), pytest.raises(UsageError, match="another process"):
        export_run(run, archive, overwrite=True)
    with pytest.raises(UsageError, match="cannot write"):
        export_run(run, tmp_path / "run" / "run.json" / "x.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.zip"]
    for name in ("a&b", "seed#1", "-x", "lr=1e-3;x"):
        with pytest.raises(UsageError, match="is no name for another system"):
            export_run(read_run(made_run(tmp_path / name)), tmp_path / "named.zip")


Change = Callable[[dict[str, bytes], dict[str, Any]], None]


def changed(archive: Path, change: Change, links: tuple[str, ...] = ()) -> Path:
    """The archive with other files in it, or other contents told."""
    with zipfile.ZipFile(archive) as source:
        files = {name: source.read(name) for name in source.namelist()}
    contents = json.loads(files.pop("contents.json"))
    change(files, contents)
    path = archive.with_name("changed.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("contents.json", json.dumps(contents))
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = ((stat.S_IFLNK if name in links else stat.S_IFREG) | 0o644) << 16
            target.writestr(info, content)
    return path


def adding(name: str, content: bytes = b"x") -> Change:
    def add(files: dict[str, bytes], contents: dict[str, Any]) -> None:
        files[f"run/{name}"] = content
        contents["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    return add


def stowing(name: str) -> Change:
    return lambda files, contents: files.update({name: b"x"})


def telling(**told: Any) -> Change:
    return lambda files, contents: contents.update(told)


def swelling(files: dict[str, bytes], contents: dict[str, Any]) -> None:
    files["run/metrics.jsonl"] = bytes(50_000_000)


def renamed(name: str) -> Change:
    def rename(files: dict[str, bytes], contents: dict[str, Any]) -> None:
        contents["name"] = name
        for own in list(files):
            files[own.replace("run/", f"{name}/", 1)] = files.pop(own)

    return rename


REFUSED: dict[str, Change] = {
    "a file outside": adding("../../outside"),
    "an absolute path": adding("/tmp/outside"),
    "a backslash": adding("examples\\..\\..\\outside.png"),
    "a folder up, untold": stowing("run/../outside"),
    "a pickle": adding("training-state.pt"),
    "a model that unpickles": adding("evaluation/model.pkl"),
    "a program": adding("evaluation/__init__.py"),
    "an untold file": stowing("run/extra.txt"),
    "a bomb": swelling,
    "a name that climbs": renamed(".."),
    "a name with a folder": renamed("a/b"),
    "no name": renamed(""),
    "a name of two lines": renamed("a\nb"),
    "a name with colours": renamed("\x1b[31mred"),
    "a name with a drive": renamed("C:evil"),
    "another format": telling(format="mri-n2n archive 9"),
    "no record": lambda files, contents: (files.pop("run/run.json"), contents["files"].pop("run.json")),
    "a changed file": lambda files, contents: files.update({"run/run.json": files["run/run.json"].swapcase()}),
    "a missing file": lambda files, contents: files.pop("run/metrics.jsonl"),
    "files as a list": telling(files=[]),
    "sizes as words": lambda files, contents: contents["files"]["run.json"].update(size="many"),
    "a negative size": lambda files, contents: contents["files"]["run.json"].update(size=-1),
    "a size beyond all": lambda files, contents: contents["files"]["run.json"].update(size=10**18),
    "too much told of a file": lambda files, contents: contents["files"]["run.json"].update(mode=7),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_somebody_else_made_is_refused(archive: Path, tmp_path: Path, monkeypatch: Any, what: str) -> None:
    path = changed(archive, REFUSED[what])
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    with pytest.raises(UsageError, match="can be trusted") as caught, unpacked(path):
        pass
    assert "\n" not in str(caught.value)
    assert not list(room.iterdir())
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])  # of the second, all is unpacked at once
def test_a_bomb_takes_no_memory(archive: Path, packing: int) -> None:
    """300 MB in some hundred bytes, of which the archive says that they are 100."""
    path = archive.with_name("bomb.zip")
    with zipfile.ZipFile(path, "w", packing) as bomb:
        bomb.writestr("contents.json", bytes(300_000_000))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 300_000_000), struct.pack("<I", 100)))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="can be trusted"), unpacked(path):
            pass
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_links_and_rubbish_are_refused(archive: Path, tmp_path: Path) -> None:
    path = changed(archive, lambda files, contents: None, links=("run/metrics.jsonl",))
    with pytest.raises(UsageError, match="holds a link"), unpacked(path):
        pass
    content = archive.read_bytes()
    for bad in (b"", b"rubbish", content[: len(content) // 2], io.BytesIO(content).read(100)):
        path.write_bytes(bad)
        with pytest.raises(UsageError, match="can be trusted"), unpacked(path):
            pass
    with pytest.raises(UsageError, match="no archive at"), unpacked(tmp_path / "missing.zip"):
        pass
    with pytest.raises(UsageError, match="is a folder"), unpacked(tmp_path):
        pass


def test_bytes_flipped_anywhere_never_pass_unseen(archive: Path) -> None:
    """Either the file is refused, or what comes out is what went in."""
    content = archive.read_bytes()
    with unpacked(archive) as directory:
        whole = {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    for place in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[place] ^= 0x5A
        path = archive.with_name("damaged.zip")
        path.write_bytes(damaged)
        try:
            with unpacked(path) as directory:
                assert {own.name: own.read_bytes() for own in directory.rglob("*") if own.is_file()} == whole
        except UsageError:
            pass


def test_the_command_line(archive: Path, cli: Callable[..., Any], tmp_path: Path, made_store: Path) -> None:
    shutil.copy(made_store, tmp_path / "mlflow.db")
    answer = cli("runs", "export", tmp_path / "run", "packed.zip")
    assert answer.code == 0
    assert "Its report is not made anew: " in answer.err  # a run that nobody trained
    assert "runs upload packed.zip" in answer.out
    answer = cli("runs", "upload", "packed.zip")
    assert answer.code == 0
    identifier = answer.out.split()[2]
    answer = cli("runs", "export", identifier)
    assert answer.code == 2
    assert "known from MLflow alone" in answer.err
