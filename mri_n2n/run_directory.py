"""What a run leaves on disk."""

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
from mri_n2n.data.slices import PreparedData
from mri_n2n.durable import clear, read_json, write_json, writing
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.evaluation import evaluable
from mri_n2n.networks.spec import load_network
from mri_n2n.recipes import Recipe, described, flat, rebuilt, sampling_facts
from mri_n2n.tracking import METRICS
from mri_n2n.training.checkpoint import read_state

FORMAT = "mri-n2n run 1"
STATE = "training-state.pt"
OWN_FILES = (
    "run.json",
    METRICS,
    STATE,
    "network.json",
    "network-*.safetensors",
    "examples",
    "evaluation",
    tracking.STATE,
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

    @property
    def name(self) -> str:
        """The run's name: its directory's."""
        return self.directory.name

    @property
    def network_path(self) -> Path:
        """The trained network's description; its weights lie beside it."""
        return self.directory / "network.json"

    @property
    def state_path(self) -> Path:
        """The training state."""
        return self.directory / STATE

    @property
    def tracked(self) -> bool:
        """Whether MLflow has a copy."""
        return (self.directory / tracking.STATE).exists()

    def network(self) -> nn.Module:
        """The trained network, on the CPU."""
        if not self.network_path.exists():
            raise UsageError(
                f"{self.directory} has no trained network yet. Finish it: mri-n2n train --resume {self.directory}"
            )
        return load_network(self.network_path)

    def provenance(self) -> dict[str, Any]:
        """What an output says of the network that made it."""
        description = read_json(self.network_path, "network description")
        weights, step = description.get("sha256"), description.get("step")
        return {"run": self.name, "weights_sha256": weights, "step": step, "mri-n2n": __version__}

    def progress(self) -> tuple[int, int]:
        """Steps done and bytes of metrics.jsonl that the last checkpoint counts on; zeros without one."""
        if not self.state_path.exists():
            return 0, 0
        content = read_state(self.state_path, torch.device("cpu"))
        return int(content["step"]), int(content["also"]["metric_bytes"])

    def status(self) -> str:
        """MLflow's word for where the run is: FINISHED, or KILLED where it was stopped."""
        return "FINISHED" if self.progress()[0] >= self.recipe.optimisation.steps else "KILLED"

    def training_seconds(self) -> float:
        """Time spent training so far, without evaluations, over all resumptions."""
        lines = (self.directory / METRICS).read_text(encoding="utf-8").splitlines()
        return sum(float(json.loads(line).get("seconds", 0.0)) for line in lines)

    def check_data(self, data: PreparedData) -> None:
        """Raise unless `data` is what the run was begun with."""
        if data.manifest.fingerprint != self.data["fingerprint"]:
            raise UsageError(
                f"the data has changed since {self.directory} was begun (fingerprint {data.manifest.fingerprint[:12]}, "
                f"expected {self.data['fingerprint'][:12]}). Start a new run, or prepare the data as it was."
            )

    def parameters(self) -> dict[str, str]:
        """What a tracker shows.

        The full recipe, the data's fingerprint and size (not its place), device, versions, commit.
        """
        data = {f"data.{name}": str(value) for name, value in self.data.items() if name != "path"}
        return (
            flat(described(self.recipe))
            | data
            | {f"environment.{key}": value for key, value in self.environment.items()}
        )


def create_run(
    directory: Path,
    recipe: Recipe[Any],
    data_path: Path,
    data: PreparedData,
    device: torch.device,
    *,
    overwrite: bool = False,
) -> Run:
    """A new run directory that holds its recipe and nothing else."""
    evaluable(recipe).check_data(data.manifest.kind, data.manifest.size)
    clear(directory, OWN_FILES, overwrite=overwrite)
    with writing(directory):
        directory.mkdir(parents=True)
    about = {
        "path": str(data_path.resolve()),
        "kind": data.manifest.kind,
        "fingerprint": data.manifest.fingerprint,
        "training_slices": len(data.rows("train")),
        "validation_slices": len(data.rows("validation")),
        "size": list(data.manifest.size),
        **sampling_facts(recipe, data.manifest.size),
    }
    run = Run(directory, recipe, about, environment.description(device))
    content = {"format": FORMAT, "recipe": described(recipe), "data": about, "environment": run.environment}
    write_json(directory / "run.json", content)
    return run


def open_run(directory: Path) -> Run:
    """Open a run directory."""
    if not directory.is_dir():
        raise UsageError(
            f"no run at {directory}. Runs are directories made by `mri-n2n train`, by default under runs/."
        )
    content = read_json(directory / "run.json", "run description")
    try:
        if content["format"] != FORMAT:
            raise ValueError("unknown format")
        return Run(directory, rebuilt(content["recipe"]), content["data"], content["environment"])
    except UNREADABLE as error:
        raise UsageError(f"{directory} is not a run of this program ({one_line(error)}).") from None


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
