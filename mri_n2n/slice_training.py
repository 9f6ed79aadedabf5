"""Training on prepared slices: how MRI runs are begun, fed and watched over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mri_n2n.data.slices import PreparedData, as_images
from mri_n2n.evaluation import evaluable, evaluate, methods_for, validation_places
from mri_n2n.illustrations import Illustration, Watch, watching
from mri_n2n.kspace.acquisition import split_density
from mri_n2n.measured_kspace import MeasuredKspace, stored_measurement
from mri_n2n.recipes import MRI, Recipe, sampling_facts
from mri_n2n.report import draw_slices, examples_of
from mri_n2n.run_directory import Run, create_run
from mri_n2n.runs import run_training
from mri_n2n.scores import as_metrics, summarised
from mri_n2n.task import HorvitzThompson
from mri_n2n.training.batches import batch_rows, sent
from mri_n2n.training.task import Batch
from mri_n2n.training.world import ALONE, World

AT_ONCE = 1000  # slices brought to a GPU together
MONITORED = 32  # validation slices scored while training; `evaluate` scores all


def create_slice_run(
    directory: Path,
    recipe: Recipe[Any],
    data_path: Path,
    data: PreparedData,
    device: torch.device,
    *,
    overwrite: bool = False,
) -> Run:
    """A new run on prepared slices."""
    evaluable(recipe).check_data(data.manifest.kind, data.manifest.size)
    about = {
        "path": str(data_path.resolve()),
        "kind": data.manifest.kind,
        "fingerprint": data.manifest.fingerprint,
        "training_slices": len(data.rows("train")),
        "validation_slices": len(data.rows("validation")),
        "size": list(data.manifest.size),
        **(sampling_facts(recipe, data.manifest.size) or _acquired_facts(recipe, data)),
    }
    return create_run(directory, recipe, about, device, MRI, overwrite=overwrite)


def _acquired_facts(recipe: Recipe[Any], data: PreparedData) -> dict[str, float]:
    """Of scans that are split in two: the share kept in each part, and the bias of the ht loss's cap."""
    if not isinstance(recipe.task.corruption, MeasuredKspace):
        return {}
    scans = data.images([volume.first_row for volume in data.manifest.split("train")])
    each = split_density(stored_measurement(scans).density)
    facts = {"kept": float(each.mean())}
    if isinstance(recipe.task.loss, HorvitzThompson):
        facts["ht_lost_weight"] = recipe.task.loss.lost_weight(each)
    return facts


def train_on_slices(
    run: Run,
    data: PreparedData,
    device: torch.device,
    *,
    resume: bool = False,
    save_seconds: float = 60.0,
    track: bool = True,
    world: World = ALONE,
    report: Watch | None = None,
) -> bool:
    """Train `run` on the slices it was begun with; see `run_training`."""
    run.check_data(data.manifest.fingerprint)
    load = batch_loader(data, device, run.recipe.optimisation.batch_size, run.recipe.seed, world)

    def monitor(network: nn.Module) -> SliceMonitor:
        return SliceMonitor(run, data, network, device, world)

    return run_training(
        run,
        load,
        monitor,
        device,
        resume=resume,
        save_seconds=save_seconds,
        track=track,
        world=world,
        watch=watching(report),
    )


class SliceMonitor:
    """Scores some validation slices while training, and draws a few of them: always the same ones."""

    def __init__(
        self, run: Run, data: PreparedData, network: nn.Module, device: torch.device, world: World = ALONE
    ) -> None:
        self.run = run
        self.latest = "not measured"
        self._methods = methods_for(run.recipe, network)
        self._data = data
        self._places = validation_places(data, MONITORED)
        self._device, self._world = device, world

    def assess(self, step: int, *, draw: bool) -> dict[str, float]:
        """Mean PSNR of every method, and its interval."""
        scores = evaluate(
            self._data,
            evaluable(self.run.recipe),
            self._methods,
            self._device,
            places=self._places,
            quiet=True,
            world=self._world,
        )
        quality = {method: values["psnr"] for method, values in summarised(scores).items()}
        self.latest = f"{list(quality.values())[-1].mean:.2f} dB"
        if draw and self._world.leads:
            path = self.run.examples_path(step)
            draw_slices(path, self._data, self.run.recipe, self._methods, self._device)
        return as_metrics(quality)

    def examples(self) -> list[Illustration]:
        """The slices that are drawn, by every method, as they are now."""
        return examples_of(self._data, self.run.recipe, self._methods, self._device)


def batch_loader(
    data: PreparedData,
    device: torch.device,
    batch_size: int,
    seed: int,
    world: World = ALONE,
    *,
    most_resident: int | None = None,
) -> Callable[[int], Batch]:
    """A function from step to batch: of the batch, this process's share.

    On a GPU the training split lives in its memory as integers if it has no more bytes than `most_resident`, by default
    a quarter of what is free; else the integers of each batch are read from disk and sent, without waiting for the
    device.
    """
    rows, share = torch.tensor(data.rows("train")), world.share(batch_size)
    resident = None
    if device.type == "cuda":
        most = torch.cuda.mem_get_info(device)[0] // 4 if most_resident is None else most_resident
        if data.array[:1].nbytes * len(rows) <= most:
            pieces = [rows[start : start + AT_ONCE].tolist() for start in range(0, len(rows), AT_ONCE)]
            resident = torch.cat([data.stored(piece).to(device) for piece in pieces])

    def load(step: int) -> Batch:
        chosen = batch_rows(step, batch_size, len(rows), seed)[share]
        if resident is not None:
            stored = resident[sent(chosen, device)]
        else:
            stored = sent(data.stored(rows[chosen].tolist()), device)
        return Batch(as_images(stored, data.manifest.bits), rows[chosen])

    return load
