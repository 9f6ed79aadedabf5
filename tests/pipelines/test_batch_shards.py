"""Several machines at one folder of studies: each has a share, and none harms another, however it ends."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_runs import by_source, left_over, published, settled, setup, start, wait_for
from wards import damaged_scans

from mri_n2n.durable import Busy
from mri_n2n.errors import UsageError
from pipelines.batch import attempts, run
from pipelines.batch.discovery import Study, study_name
from pipelines.batch.exits import Exit
from pipelines.batch.folder import BatchFolder
from pipelines.batch.liveness import in_one_line, shares
from pipelines.batch.outcome import Outcome, Reason
from pipelines.batch.publishing import stands
from pipelines.batch.shard import WHOLE, Shard, chosen_shard
from pipelines.batch.study import StudyWork
from pipelines.batch.summary import shard_table
from pipelines.batch.worker import Worker


def test_every_study_is_one_shards_and_shares_are_even() -> None:
    found = [Study(study_name(f"{number}.h5"), (f"{number}.h5",)) for number in range(3000)]
    for count in (1, 2, 3, 7):
        shares = [[study for study in found if Shard(number, count).has(study.name)] for number in range(count)]
        assert sorted(study.name for share in shares for study in share) == sorted(study.name for study in found)
        even = len(found) / count
        assert all(abs(len(share) - even) < 6 * even**0.5 for share in shares)  # six standard deviations


SLURM = {f"SLURM_ARRAY_TASK_{name}": value for name, value in (("ID", "6"), ("MIN", "4"), ("MAX", "7"), ("COUNT", "4"))}


@pytest.mark.parametrize(
    ("said", "environment", "expected"),
    [
        (None, {}, WHOLE),
        ("1/4", {}, Shard(1, 4)),
        ("0/1", SLURM, WHOLE),
        (None, {"MRI_N2N_SHARDS": "8"}, WHOLE),  # how many, but nobody in particular
        (None, {"JOB_COMPLETION_INDEX": "2", "MRI_N2N_SHARDS": "8"}, Shard(2, 8)),
        (None, SLURM, Shard(2, 4)),
        (None, SLURM | {"MRI_N2N_SHARDS": "8"}, Shard(6, 8)),  # one task of eight, tried again
    ],
)
def test_a_shard_is_asked_for_or_the_job_arrays(said: str | None, environment: dict[str, str], expected: Shard) -> None:
    assert chosen_shard(said, environment) == expected


@pytest.mark.parametrize(
    ("said", "environment"),
    [
        ("4/4", {}),
        ("-1/4", {}),
        ("1", {}),
        ("1/0", {}),
        ("١/٤", {}),
        (None, {"JOB_COMPLETION_INDEX": "2"}),
        (None, {"JOB_COMPLETION_INDEX": "8", "MRI_N2N_SHARDS": "8"}),
        (None, {"SLURM_ARRAY_TASK_ID": "2"}),
        (
            None,
            SLURM | {"SLURM_ARRAY_TASK_MAX": "9"},
        ),  # some tasks of an array, tried again: it does not say of how many
    ],
)
def test_what_is_no_shard_is_refused(said: str | None, environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="shard|how many"):
        chosen_shard(said, environment)


def opened(output: Path, shard: Shard = WHOLE) -> BatchFolder:
    folder = BatchFolder(output, shard)
    folder.open()
    return folder


def test_shards_share_the_folder_and_nobody_else_does(tmp_path: Path) -> None:
    one, two, whole = (
        opened(tmp_path / "out", Shard(0, 2)),
        opened(tmp_path / "out", Shard(1, 2)),
        opened(tmp_path / "out"),
    )
    with one.held(), two.held():
        for taken in (one, two, whole):
            with pytest.raises(Busy), taken.held():
                pass
        with opened(tmp_path / "out", Shard(0, 3)).held():  # of another number of shards: publishing sees to it
            pass
    with whole.held(), pytest.raises(Busy), one.held():
        pass


def test_a_shard_clears_its_own_and_what_nobody_works_on(tmp_path: Path) -> None:
    with opened(tmp_path / "out", Shard(0, 2)).held() as working:
        (working.staging / "half").mkdir()
        for left in ("1-of-2", "4-of-9"):
            opened(tmp_path / "out", Shard.named(left)).own.joinpath("lock").touch()
            (tmp_path / "out/shards" / left / ".staging/old/half").mkdir(parents=True)
        with opened(tmp_path / "out", Shard(1, 2)).held():
            assert (working.staging / "half").exists()
            assert not list(tmp_path.glob("out/shards/*/.staging/old"))
    assert left_over(tmp_path / "out") == []


def test_who_lost_the_share_can_publish_nothing(model: Path, scans: Path, tmp_path: Path) -> None:
    """A machine that was cut off, and comes back when another one has taken its place, fails instead."""
    with opened(tmp_path / "out").held() as first:
        late = StudyWork(setup(model, first.path), first)
    with opened(tmp_path / "out").held() as second:
        with pytest.raises(UsageError, match="cannot write"):
            late(scans, first_study(scans))
        assert second.outcomes() == []
        assert published(second.path) == {}


def first_study(scans: Path) -> Study:
    name = sorted(scans.glob("*.h5"))[0].name
    return Study(study_name(name), (name,))


def test_two_attempts_at_one_study_publish_it_once(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "out").held() as folder:
        one, two = (StudyWork(setup(model, folder.path), folder.by(name)) for name in ("a", "b"))
        study, staged = first_study(scans), one._staged
        others: list[Outcome] = []

        def overtaken(*work: Any) -> Path | None:
            ready = staged(*work)
            others.append(two(scans, study))
            return ready

        one._staged = overtaken
        outcome = one(scans, study)
        assert [outcome] == others  # with the other's times
        assert outcome == folder.outcome(study.name)
        assert stands(folder, outcome)
        assert len(folder.editions(study.name)) == 1


def test_what_kills_even_the_watching_process_is_given_up(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many beginnings without an end it is not tried, and the next time once more."""

    class Killed(BaseException):
        """As if the process ended: nothing is said after it."""

    def killed(worker: Worker, source: Path, study: Study, *, carefully: bool) -> Outcome:
        attempts.begin(worker._folder.begun, study.name)
        raise Killed

    with opened(tmp_path / "out").held() as folder:
        worker = Worker(setup(model, folder.path), folder, 10.0, lambda: False)
        study = first_study(scans)
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "_tried", killed)
            patch.setattr(attempts, "end", lambda *_: None)
            for _ in range(attempts.MOST):
                with pytest.raises(Killed):
                    worker.work(scans, study)
            assert worker.work(scans, study).reason is Reason.CRASHED
            with pytest.raises(Killed):
                worker.work(scans, study)
            assert worker.work(scans, study) == folder.outcome(study.name) == Outcome(study.name, Reason.CRASHED)
        done = Outcome(study.name, Reason.RECONSTRUCTED)
        monkeypatch.setattr(Worker, "_tried", lambda *_, **__: done)
        assert worker.work(scans, study) == done
        assert not list(folder.begun.iterdir())


def test_a_shard_that_is_taken_is_for_later(
    cli: Callable[..., Any], model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a dead machine's that a file server still believes in: not wrong usage, which nobody tries again."""
    monkeypatch.setattr(run, "LEASE", 0.5)
    with opened(tmp_path / "out", Shard(1, 2)).held():
        answer = cli("batch", scans, tmp_path / "out", "--model", model, "--device", "cpu", "--shard", "1/2")
    assert answer.code == Exit.DRAINED
    assert "another process" in answer.err


def test_a_killed_shard_harms_no_other(cli: Callable[..., Any], scans: Path, model: Path, tmp_path: Path) -> None:
    """Two shards at once, one is killed; the other ends as ever. Then all of it, by another number of shards."""
    expected = ward(scans, tmp_path, 60)
    arguments = (tmp_path / "ward", tmp_path / "out", model)
    killed, other = (start(*arguments, "--shard", f"{number}/2") for number in range(2))
    place = tmp_path / "out/shards/0-of-2"
    wait_for(lambda: (place / "log.jsonl").exists() and '"study"' in (place / "log.jsonl").read_text(), killed)
    wait_for(lambda: any((tmp_path / "out/begun").iterdir()), killed)  # an attempt is told while it lasts
    killed.kill()
    killed.wait()
    assert other.wait(timeout=300) == Exit.SOME_NOT
    own = Shard(1, 2)
    mine = {name for name in expected if own.has(study_name(name))}
    outcomes = {name: outcome.reason for name, outcome in by_source(tmp_path / "out").items()}
    assert {name: outcomes[name] for name in mine} == {name: expected[name] for name in mine}
    told = cli("batch", "status", tmp_path / "out").out
    assert "| 0/2 | cut off" in told or "| 0/2 | at work, or just cut off" in told
    assert "| 1/2 | stopped, exit code 3 |" in told
    first = opened(tmp_path / "out").path / "studies"
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*.nii.gz")}
    answer = cli("batch", *arguments[:2], "--model", model, "--device", "cpu")
    assert answer.code == Exit.SOME_NOT
    assert {name: outcome.reason for name, outcome in by_source(tmp_path / "out").items()} == expected
    assert before.items() <= {path: path.stat().st_mtime_ns for path in first.rglob("*.nii.gz")}.items()
    assert left_over(tmp_path / "out") == []
    assert (tmp_path / "out/summary.html").read_text().count("<tr><td>") == len(expected)


def ward(scans: Path, tmp_path: Path, more: int) -> dict[str, Reason]:
    expected = damaged_scans(scans, tmp_path / "ward")
    for number in range(more):
        name = f"more-{number:04d}.h5"
        (tmp_path / "ward" / name).symlink_to(sorted(scans.glob("*.h5"))[number % 4])
        expected[name] = Reason.RECONSTRUCTED
    return expected


def test_shards_that_never_began_are_named(tmp_path: Path) -> None:
    folder = opened(tmp_path / "out")
    assert shard_table(shares(folder)) == ""
    opened(tmp_path / "out", Shard(1, 3)).log("begun")
    lives = shares(folder)
    lines = shard_table(lives).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["not begun", "cut off", "not begun"]
    assert in_one_line(folder, lives) == "Of 3 shards 2 not begun, 1 cut off. Go on with the same command."


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_shards_killed_at_twenty_five_random_moments(scans: Path, model: Path, tmp_path: Path) -> None:
    """And another number of shards each time: one end for every study, the same outputs, nothing half-written."""
    expected = ward(scans, tmp_path, 400)
    assert start(tmp_path / "ward", tmp_path / "whole", model).wait(timeout=900) == Exit.SOME_NOT
    rng = random.Random(0)
    for turn in range(10):
        count, done = 2 + turn % 2, settled(tmp_path / "cut")
        processes = [
            start(tmp_path / "ward", tmp_path / "cut", model, "--shard", f"{number}/{count}") for number in range(count)
        ]
        while settled(tmp_path / "cut") == done and any(process.poll() is None for process in processes):
            time.sleep(0.05)
        for process in rng.sample(processes, count):
            time.sleep(rng.uniform(0, 1.0))
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        for process in processes:  # each is asked by its own id
            assert process.wait(timeout=120) in (-signal.SIGKILL, Exit.DRAINED, Exit.ALL_DONE, Exit.SOME_NOT)
    ends = [start(tmp_path / "ward", tmp_path / "cut", model, "--shard", f"{number}/2") for number in range(2)]
    assert {process.wait(timeout=900) for process in ends} <= {Exit.ALL_DONE, Exit.SOME_NOT}
    assert {name: outcome.reason for name, outcome in by_source(tmp_path / "cut").items()} == expected
    assert published(tmp_path / "cut") == published(tmp_path / "whole")
    assert left_over(tmp_path / "cut") == []
    events = [
        json.loads(line) for path in tmp_path.glob("cut/shards/*/log.jsonl") for line in path.read_text().splitlines()
    ]
    assert {event["event"] for event in events} == {"begun", "study", "ended"}
