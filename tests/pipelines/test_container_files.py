"""What containers are made of: linted, and confined as the documentation says. `make container-test` runs them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
DOCKERFILES = ("Dockerfile", "deploy/mlflow.Dockerfile")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", ROOT / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_all_that_is_copied_is_there_and_let_through(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / name).read_text(), re.M)
        for word in line.split()
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert ignored[1] == "*"  # and nothing else: no data, no runs


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_confined(service: str) -> None:
    settings = SERVICES[service]
    assert settings["user"] == "10001:10001"
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["security_opt"]
    for port in settings.get("ports", ()):
        assert ":-127.0.0.1:" in port  # nobody else is let in unless it is asked for
    for volume in settings["volumes"]:
        read_only = volume.endswith(":ro")
        assert read_only == (volume.split(":")[-2 if read_only else -1] in ("/studies", "/model"))


def test_what_reconstructs_from_a_folder_has_no_network() -> None:
    assert SERVICES["batch"]["network_mode"] == "none"
    assert set(SERVICES["batch"]["volumes"][0].split(":")[-2:]) == {"/studies", "ro"}


def test_services_are_commands_that_exist() -> None:
    from typer.main import get_command

    from pipelines.cli import app

    root: Any = get_command(app)
    known = [(name, root.commands[name]) for name in SERVICES if name in root.commands]
    assert known
    for name, command in known:
        words = SERVICES[name]["command"]
        assert words[0] == name
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
