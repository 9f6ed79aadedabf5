"""What a batch tells who operates it: whether it is at work, what is not done and why, and what it costs to tell."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_runs import ENVIRONMENT, by_source, start, wait_for
from dicom_files import everywhere, some_series
from raw_files import write_cfl
from wards import PATIENT, copied

from mri_n2n.durable import holding, is_held
from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.lines import append, lines_of
from pipelines.batch.liveness import Phase, in_one_line, life, shares
from pipelines.batch.names import all_sources, listing, place
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.shard import Shard
from pipelines.batch.supervision import supervised
from pipelines.batch.upkeep import Upkeep


def aged(folder: BatchFolder, seconds: float) -> None:
    heartbeat = folder.own / "heartbeat"
    heartbeat.touch()
    os.utime(heartbeat, (time.time() - seconds,) * 2)


# At work


@pytest.mark.parametrize("shard", [Shard(0, 1), Shard(1, 2)])
def test_it_is_told_whether_a_batch_is_at_work(tmp_path: Path, shard: Shard) -> None:
    folder = BatchFolder(tmp_path / "out", shard)
    folder.open()
    assert life(folder).phase is Phase.NOT_BEGUN
    with folder.held() as ours:
        folder.log("begun")
        aged(folder, 3)
        assert str(life(folder)) == "at work, heartbeat 3 s ago"
        (folder.begun / "a").touch()
        assert "Studies at hand: 1." in in_one_line(folder, shares(folder))
        aged(folder, 600)
        assert str(life(folder)) == "hanging, heartbeat 10 min ago"
        ours.log("study")
    assert life(folder).phase is Phase.CUT_OFF
    told = in_one_line(folder, shares(folder))
    assert told.endswith("Studies at hand when it ended: 1. Go on with the same command.")
    aged(folder, 3)  # on a machine whose locks are not seen here
    assert life(folder).phase is Phase.PERHAPS
    folder.log("ended", exit=3)
    folder.log("sent")  # a node's last
    assert str(life(folder)) == "stopped, exit code 3"


def test_who_asks_is_in_nobodys_way(tmp_path: Path) -> None:
    """To know whether a lock is held it is held for an instant, for which a batch that begins just then waits."""
    folder = BatchFolder(tmp_path / "out")
    folder.open()
    (folder.path / "lock").touch()
    script = (
        "import sys, time; from pathlib import Path; from mri_n2n.durable import holding\n"
        "with holding(Path(sys.argv[1]), shared=True):\n"
        "    print('', flush=True); time.sleep(0.3)"
    )
    with subprocess.Popen([sys.executable, "-c", script, folder.path / "lock"], stdout=subprocess.PIPE) as asking:
        assert asking.stdout
        asking.stdout.readline()
        assert not is_held(folder.path / "lock")
        with folder.held():
            assert is_held(folder.path / "lock")


def test_a_batch_that_was_killed_is_told_from_one_at_work(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path
) -> None:
    process = start(scans, tmp_path / "out", model, "--watch", 0.2)
    status = ("batch", "status", tmp_path / "out")
    try:
        wait_for(lambda: len(list(tmp_path.glob("out/status/*.json"))) == 4, process)
        at_work = cli(*status)
        assert at_work.code == Exit.ALL_DONE
        assert at_work.out.startswith("Batch at work, heartbeat ")
    finally:
        process.kill()
        process.wait()
    aged(BatchFolder(tmp_path / "out"), 100)
    assert cli(*status).out.startswith("Batch cut off, heartbeat 100 s ago")
    process = start(scans, tmp_path / "out", model, "--watch", 0.2)
    wait_for(lambda: life(BatchFolder(tmp_path / "out")).phase is Phase.AT_WORK, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Exit.DRAINED
    assert cli(*status).out.startswith("Batch stopped, exit code 75 (last heard of 2")


def test_a_batch_that_fails_says_so_in_its_log(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **options: object) -> None:
        raise RuntimeError(PATIENT)

    monkeypatch.setattr("pipelines.batch.run.studies", broken)
    assert cli("batch", scans, tmp_path / "out", "--model", model, "--device", "cpu").code == Exit.BUG
    assert str(life(BatchFolder(tmp_path / "out"))) == f"stopped, exit code {Exit.BUG}"
    (bug,) = lines_of(tmp_path / "out/private/errors.jsonl")
    assert PATIENT in bug["text"]


# Which, and why


def test_what_is_not_done_is_listed_with_words(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path
) -> None:
    ward = tmp_path / "ward"
    (ward / "a").mkdir(parents=True)
    copied(scans, 0, ward / "a/good.h5")
    bad = copied(scans, 1, ward / f"a/{PATIENT}\x1b[2J.h5")
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    some_series(ward / "series")
    batch = ("batch", ward, tmp_path / "out", "--model", model, "--device", "cpu")
    names = ("batch", "status", tmp_path / "out", "--names")
    assert cli(*batch).code == Exit.SOME_NOT
    told = cli(*names)
    assert told.code == Exit.SOME_NOT
    for line in ("quarantined: unreadable, 2", f"  a/{PATIENT}\\x1b[2J.h5\n", "  series/ (5 files)", "is images"):
        assert line in told.out, told.out
    assert "cannot be read as raw data" in told.out
    assert "good.h5" not in told.out
    assert "\x1b" not in told.out
    assert PATIENT not in cli("batch", "status", tmp_path / "out").out
    bad.write_bytes(whole)
    cli(*batch)
    told = cli(*names)
    assert PATIENT not in told.out
    assert "series/ (5 files)" in told.out
    assert len(list((tmp_path / "out/private/reasons").iterdir())) == 1  # nothing old is left


def test_words_count_for_the_outcome_that_they_were_said_of(held: BatchFolder) -> None:
    refused = Outcome("s", Reason.UNREADABLE, "k")
    held.explain(refused, "one\ntwo")  # killed before it is settled: no harm
    earlier = Outcome("s", Reason.TIME_LIMIT)
    held.settle(earlier)
    assert held.words(earlier) == ""
    assert "two" not in listing(held, held.outcomes())
    held.settle(refused)
    assert held.words(refused) == "one\ntwo"
    told = listing(held, held.outcomes())
    assert "\n  two\n  all of it: " in told
    held.reason_path("s").write_text("{")
    assert held.words(refused) == ""
    held.settle(Outcome("s", Reason.RECONSTRUCTED, "k"))
    assert not held.reason_path("s").exists()
    assert listing(held, held.outcomes()) == ""


def test_the_newest_comes_first(held: BatchFolder) -> None:
    for number, study in enumerate("bac"):
        held.settle(Outcome(study, Reason.GONE))
        os.utime(held.status_path(study), (1e9 + number,) * 2)
    entries = [line for line in listing(held, held.outcomes()).splitlines() if line.startswith("quarantined")]
    assert [entry[-1] for entry in entries] == ["c", "a", "b"]


def test_places_of_studies() -> None:
    assert place(["a/b.h5"]) == "a/b.h5"
    assert place(["a/b.cfl", "a/b.hdr"]) == "a/b.cfl"
    assert place(["a/c/1", "a/c/2", "a/d/3"]) == "a/ (3 files)"
    assert place(["a/1", "2"]) == "in several folders (2 files)"
    assert place(["1", "2"]) == "in INPUT itself (2 files)"


def test_sources_are_said_once_and_again_when_they_change(cli: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    batch = ("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu", "--simulate")
    series = some_series(tmp_path / "ward/pacs", slices=6)
    some_series(tmp_path / "ward/other", everywhere(SeriesInstanceUID="1.2.1"))
    said = tmp_path / "out/private/sources.jsonl"
    assert cli(*batch).code == Exit.ALL_DONE
    assert len(said.read_text().splitlines()) == 2
    series[-1].unlink()
    cli(*batch)
    assert len(said.read_text().splitlines()) == 3
    assert sorted(map(len, all_sources(BatchFolder(tmp_path / "out")).values())) == [5, 5]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append(path, 0o600, [{"a": 1}])
    with path.open("a") as file:
        file.write('{"b')
    append(path, 0o600, [{"c": 3}, {"d": 4}])
    assert list(lines_of(path)) == [{"a": 1}, {"c": 3}, {"d": 4}]
    assert list(lines_of(tmp_path / "absent")) == []


# Nothing to do


def test_an_empty_folder_is_no_mistake(cli: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    (tmp_path / "ward/empty").mkdir(parents=True)
    answer = cli("batch", tmp_path / "ward", tmp_path / "out", "--model", model, "--device", "cpu")
    assert answer.code == Exit.ALL_DONE
    assert f"no studies under {tmp_path / 'ward'}: it is empty" in answer.err
    status = cli("batch", "status", tmp_path / "out")
    assert (status.code, status.out.splitlines()[-1]) == (Exit.ALL_DONE, "No study has ended yet.")


# What it costs to tell


def test_the_summary_is_written_as_seldom_as_its_size_asks_for(
    held: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [1000.0], []

    def slowly(_: BatchFolder) -> None:
        written.append(now[0])
        now[0] += 5

    monkeypatch.setattr("pipelines.batch.upkeep.write_summary", slowly)
    monkeypatch.setattr("pipelines.batch.upkeep.time.monotonic", lambda: now[0])
    upkeep = Upkeep(held, lambda: None)
    for _ in range(300):
        upkeep.changed()
        now[0] += 1
    assert written == [1000.0, 1105.0, 1210.0]
    now[0] += 1000
    upkeep.look()
    upkeep.look()
    now[0] += 1000
    upkeep.look()  # nothing new
    assert len(written) == 4
    upkeep.finish(1.0)
    assert len(written) == 5


def test_nobody_waits_for_ever_for_another_shards_summary(held: BatchFolder) -> None:
    beats: list[None] = []
    upkeep = Upkeep(held, lambda: beats.append(None))
    with holding(held.path / "summary.lock"):
        upkeep.finish(0.3)
    assert len(beats) > 1
    assert not (held.path / "summary.html").exists()
    upkeep.finish(0.0)
    assert (held.path / "summary.html").exists()


def test_a_process_has_a_heartbeat_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRI_N2N_HEARTBEAT", str(tmp_path / "own"))
    with supervised(tmp_path / "shared", 1.0) as supervision:
        supervision.beat()
    assert {path.name for path in tmp_path.iterdir()} == {"own", "shared"}


# Permissions

CAPABILITIES, DROP = (1, 2), 24  # DAC_OVERRIDE and DAC_READ_SEARCH, by which root may read everything; PR_CAPBSET_DROP
COMMANDS = """
import sys, json
from pipelines.cli import main

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        sys.argv[1:] = arguments
        try:
            main()
        except SystemExit as end:
            print("==>", end.code, flush=True)
"""


def ordinarily(tmp_path: Path, *commands: Sequence[object]) -> list[str]:
    """What commands say and end with, for one for whom permissions count; also where that is root."""

    def drop() -> None:
        for capability in CAPABILITIES if sys.platform == "linux" else ():
            ctypes.CDLL(None).prctl(DROP, capability, 0, 0, 0)

    (tmp_path / "commands.py").write_text(COMMANDS)
    asked = [sys.executable, tmp_path / "commands.py", json.dumps([[*map(str, command)] for command in commands])]
    pipe, out, place = subprocess.PIPE, subprocess.STDOUT, {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        asked, env=ENVIRONMENT | place, preexec_fn=drop, stdout=pipe, stderr=out, text=True, check=False
    )
    return done.stdout.split("==> ")


def test_what_may_not_be_read_is_not_called_damaged(model: Path, scans: Path, tmp_path: Path) -> None:
    ward, output, other = tmp_path / "ward", tmp_path / "out", tmp_path / "other"
    ward.mkdir()
    write_cfl(ward / "scan.cfl", np.ones((4, 4, 1, 2), np.complex64))
    closed = [ward / "scan.hdr", copied(scans, 0, ward / "raw.h5"), some_series(ward / "series")[2], ward / "folder"]
    for path in (closed[-1], other):
        path.mkdir()
    for path in (*closed, other):
        path.chmod(0)
    options = (output, "--model", model, "--device", "cpu", "--simulate")
    names = ("batch", "status", output, "--names")
    said = ordinarily(tmp_path, ("batch", ward, *options), names, ("batch", other, *options))
    for path in (*closed, other):
        path.chmod(0o755)
    reasons = {name: outcome.reason for name, outcome in by_source(output).items()}
    refused = dict.fromkeys(("scan.cfl", "raw.h5", f"series/{closed[2].name}", "folder/"), Reason.NO_PERMISSION)
    rest = [reason for name, reason in reasons.items() if name not in refused]
    assert (reasons | refused, rest) == (reasons, [Reason.INCOMPLETE]), said
    assert [one[0] for one in said[1:]] == ["3", "3", "2"]
    assert said[1].count("Permission denied") == 4
    assert "cannot read" in said[2]
    assert "Traceback" not in said[2]


def test_an_output_that_may_not_be_read_does_not_look_empty(tmp_path: Path) -> None:
    places, commands = [], []
    for number, name in enumerate(("private", "status/s.json", "status", ".")):
        folder = BatchFolder(tmp_path / f"out{number}")
        folder.open()
        with folder.held() as held:
            held.settle(Outcome("s", Reason.GONE))
        places.append(folder.path / name)
        commands.append(("batch", "status", folder.path, *(["--names"] if name == "private" else [])))
    for path in places:
        path.chmod(0)
    first, *rest = ordinarily(tmp_path, *commands)
    for path in places:
        path.chmod(0o755)
    said = [first, *(one.removeprefix("2\n") for one in rest)]
    assert [one[:18] for one in said] == ["error: cannot read"] * 4 + [""], said
    assert all(one.count("\n") == 1 and "Permission denied" in one for one in said[:4])
