"""What a run leaves on disk."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mri_n2n import __version__, environment, tracking
from mri_n2n.durable import clear, read_json, write_json, writing
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.networks.spec import load_network
from mri_n2n.recipes import MRI, Domain, Recipe, described, rebuilt
from mri_n2n.run_files import (
    FORMAT,
    LEFT_OUT,
    METRICS,
    NAME,
    NAME_IS,
    PARENT,
    RUN,
    RUNS,
    TRACKING,
    flat,
    parameters_of,
    run_name,
)
from mri_n2n.training.checkpoint import read_state

STATE = "training-state.pt"
LONGEST = 100  # bytes of a run's name: what is called after it stays below what a file system takes
OWN_FILES = (
    RUN,
    METRICS,
    STATE,
    "network.json",
    "network-*.safetensors",
    "examples",
    "evaluation",
    "report.html",
    LEFT_OUT,
    TRACKING,
)


@dataclass(frozen=True)
class Run:
    """A run directory.

    It alone reproduces the run's report: recipe, data fingerprint, environment, metrics and weights.
    """

    directory: Path
    recipe: Recipe[Any]
    data: Mapping[str, Any]
    environment: Mapping[str, str]
    domain: Domain = MRI

    @property
    def name(self) -> str:
        """The run's name: see `run_name`."""
        return run_name(self.directory)

    @property
    def command(self) -> str:
        """The command group that works on this run."""
        return self.domain.command

    @property
    def network_path(self) -> Path:
        """The trained network's description; its weights lie beside it."""
        return self.directory / "network.json"

    @property
    def state_path(self) -> Path:
        """The training state."""
        return self.directory / STATE

    def examples_path(self, step: int) -> Path:
        """Where the pictures drawn after `step` steps are."""
        return self.directory / "examples" / f"step-{step:06d}.png"

    @property
    def tracked(self) -> bool:
        """Whether MLflow has a copy."""
        return (self.directory / TRACKING).exists()

    def network(self, weights_sha256: str | None = None) -> nn.Module:
        """The trained network, on the CPU; `weights_sha256` says which weights it must have."""
        if not self.network_path.exists():
            raise UsageError(
                f"{self.directory} has no trained network yet. "
                f"Finish it: {self.command} train --resume {self.directory}"
            )
        return load_network(self.network_path, weights_sha256)

    def identity(self) -> dict[str, Any]:
        """What decides an output beside its input: the same wherever the run lies, and whatever it is called."""
        recipe = json.dumps(described(self.recipe), sort_keys=True)
        return {
            "weights_sha256": read_json(self.network_path, "network description").get("sha256"),
            "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
            "mri-n2n": __version__,
        }

    def provenance(self) -> dict[str, Any]:
        """What an output says of the network that made it."""
        step = read_json(self.network_path, "network description").get("step")
        return {"run": self.name, "step": step, "mlflow_run_id": tracking.run_id(self.directory), **self.identity()}

    def progress(self) -> tuple[int, int]:
        """Steps done and bytes of metrics.jsonl that the last checkpoint counts on; zeros without one."""
        if not self.state_path.exists():
            return 0, 0
        content = read_state(self.state_path, torch.device("cpu"))
        return int(content["step"]), int(content["also"]["metric_bytes"])

    def status(self) -> str:
        """MLflow's word for where the run is: FINISHED, or KILLED where it was stopped."""
        return "KILLED" if self.unfinished() else "FINISHED"

    def unfinished(self) -> str:
        """What to tell who uses the network of a run that was stopped; empty for a finished run."""
        done, steps = self.progress()[0], self.recipe.optimisation.steps
        return f"The run is not finished: {done} of {steps} steps." if done < steps else ""

    def upload(self) -> str:
        """Bring MLflow's copy up to date; return its identifier there."""
        upto, status = self.progress()[1], self.status()
        return tracking.mirror(self.directory, parameters=self.parameters(), name=self.name, upto=upto, status=status)

    def training_seconds(self) -> float:
        """Time spent training so far, without evaluations, over all resumptions."""
        return sum(seconds for _, seconds in self.metric("seconds"))

    def metric(self, name: str) -> list[tuple[int, float]]:
        """Every (step, value) of a metric that was recorded."""
        lines = (self.directory / METRICS).read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        return [(int(entry["step"]), float(entry[name])) for entry in entries if name in entry]

    def check_data(self, fingerprint: str) -> None:
        """Raise unless this is the fingerprint of the data that the run was begun with."""
        if fingerprint != self.data["fingerprint"]:
            raise UsageError(
                f"the data has changed since {self.directory} was begun (fingerprint {fingerprint[:12]}, "
                f"expected {self.data['fingerprint'][:12]}). Start a new run, or restore the data as it was."
            )

    def parameters(self) -> dict[str, str]:
        """What a tracker shows of the run."""
        return parameters_of(self.description())

    def description(self) -> dict[str, Any]:
        """The content of run.json."""
        return {
            "format": FORMAT,
            "domain": self.domain.name,
            "recipe": described(self.recipe),
            "data": self.data,
            "environment": self.environment,
        }


def create_run(
    directory: Path,
    recipe: Recipe[Any],
    data: Mapping[str, Any],
    device: torch.device,
    domain: Domain = MRI,
    *,
    overwrite: bool = False,
) -> Run:
    """A new run directory that holds its recipe and nothing else.

    data: what is to be remembered of the data, at least its `fingerprint`.
    """
    clear(directory, OWN_FILES, overwrite=overwrite or _in_vain(directory))
    with writing(directory):
        directory.mkdir(parents=True)
    run = Run(directory, recipe, data, environment.description(device), domain)
    write_json(directory / RUN, run.description())
    return run


def check_new(directory: Path, *, overwrite: bool) -> None:
    """Raise where `create_run` would find the directory taken: before long work that comes first."""
    if (directory / RUN).exists() and not overwrite and not _in_vain(directory):
        raise UsageError(
            f"{directory} holds a run. Go on with it by --resume {directory}, choose another --run-name, or add "
            "--overwrite."
        )
    clear(directory, OWN_FILES, overwrite=overwrite or _in_vain(directory), dry_run=True)


def _in_vain(directory: Path) -> bool:
    """Whether a run ended before it had saved anything: then there is nothing to keep."""
    saved = (directory / STATE, directory / "network.json")
    return (directory / RUN).exists() and not any(path.exists() for path in saved)


def open_run(directory: Path, domain: Domain = MRI) -> Run:
    """Open a run directory of a domain."""
    if not directory.is_dir():
        raise UsageError(
            f"no run at {directory}. Runs are directories made by `{domain.command} train`, by default under runs/."
        )
    if not (directory / RUN).exists() and (inside := sorted(path.parent.name for path in directory.glob(f"*/{RUN}"))):
        raise UsageError(f"{directory} is a folder of {len(inside)} runs ({inside[0]}, …). Name one of them.")
    content = read_json(directory / RUN, "run description")
    try:
        if content["format"] != FORMAT:
            raise ValueError("unknown format")
        found = content.get("domain", MRI.name)
        if found != domain.name:
            raise UsageError(f"{directory} holds a run on {found}; `{domain.command}` is for {domain.name}.")
        return Run(directory, rebuilt(content["recipe"], domain), content["data"], content["environment"], domain)
    except UNREADABLE as error:
        raise UsageError(f"{directory} is not a run of this program ({one_line(error)}).") from None


def check_own(folder: Path, option: str = "--output") -> None:
    """Raise if a folder for runs or results holds something that no experiment of ours left there.

    option: that names another folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, expected a folder to write to.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PARENT).exists():
        raise UsageError(f"{folder} is not empty and not of this program. Choose another {option}.")


def check_same_recipe(run: Run, recipe: Recipe[Any], option: str = "--output") -> None:
    """Raise where a folder holds a run of another recipe; option: that names another folder."""
    found, wanted = (flat(described(value)) for value in (run.recipe, recipe))
    differing = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if differing:
        name = differing[0]
        raise UsageError(
            f"{run.directory} holds a run of another recipe ({name} is {found.get(name)}, not {wanted.get(name)}). "
            f"Choose another {option}."
        )


def find_run(run: Path) -> Path:
    """A run's directory, given that or the run's name under runs/."""
    named = RUNS / run
    return named if (named / RUN).exists() and not (run / RUN).exists() else run


def new_run_path(name: str) -> Path:
    """Where a new run of this name goes."""
    if not NAME.fullmatch(name) or len(name.encode()) > LONGEST:
        raise UsageError(f"--run-name {name!r} must be a plain name, as the run's folder is runs/NAME: {NAME_IS}.")
    return RUNS / name


class Journal:
    """metrics.jsonl: one line per record, {"step": ..., "time": milliseconds, "<metric>": ...}, written at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line."""
        line = json.dumps({"step": step, "time": time.time_ns() // 1_000_000, **metrics}, allow_nan=False)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def sync(self) -> int:
        """Bring everything written so far to the disk itself, and return how many bytes it is."""
        if self.path.exists():
            with writing(self.path), self.path.open("ab") as file:
                os.fsync(file.fileno())
        return self.size()

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after the first `size` bytes: a resumed run will write it again."""
        if self.size() < size:
            raise UsageError(f"{self.path} is shorter than its checkpoint says: it was changed. Start a new run.")
        with writing(self.path), self.path.open("ab") as file:
            file.truncate(size)
