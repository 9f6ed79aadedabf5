"""Whole volumes through a trained network, slice by slice, back into files with the geometry they came with."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from mri_n2n.data.volumes import Volume, named, read_volume, suffix, write_volume
from mri_n2n.durable import check_writable, read_json, write_json
from mri_n2n.environment import slices_at_once, volumes_overlapped
from mri_n2n.errors import UNREADABLE, BadVolume, UsageError
from mri_n2n.metrics import psnr
from mri_n2n.overlap import Overlap
from mri_n2n.progress import bar, say
from mri_n2n.recipes import Recipe
from mri_n2n.task import Undersampling, evaluation_generator, undersampled_pair
from mri_n2n.training.task import TrainingPair, network_output


@dataclass(frozen=True)
class Reconstructed:
    """What became of one volume. psnr (dB, mean over slices) is known only for simulated undersampling."""

    source: Path
    output: Path
    psnr: float | None


@dataclass(frozen=True)
class Reconstructor:
    """A trained network with the physics it was trained with.

    simulate: undersample the fully sampled volume as in training, then reconstruct it, with the acquired frequencies
    put back. Otherwise the volume is what the network sees: for a network trained on undersampling, an image from
    density-compensated k-space, whose samples are not known, so that nothing can be put back. Such an image does not
    show its own scale: `white` is the intensity that training would have scaled to 1, the maximum of the fully sampled
    volume.
    """

    network: nn.Module
    recipe: Recipe[Any]
    device: torch.device
    simulate: bool = False
    batch_size: int | None = None
    white: float | None = None

    def __post_init__(self) -> None:
        undersampled = isinstance(self.recipe.task.corruption, Undersampling)
        if undersampled and not self.simulate and self.white is None:
            raise UsageError(
                "this run reconstructs undersampled images: add --simulate for a fully sampled volume, or --white with "
                "the intensity that is white in a volume made of density-compensated k-space."
            )
        if self.white is not None and (self.simulate or not self.white > 0):
            raise UsageError("--white must be a positive intensity, and goes without --simulate.")
        if self.simulate and not undersampled:
            raise UsageError(
                "--simulate needs a run that was trained on undersampling; this one was trained on real pairs."
            )

    @property
    def label(self) -> str:
        """What the output says of itself, at most 79 characters."""
        how = "SIMULATED undersampling, " if self.simulate else ""
        return f"mri-n2n: {how}reconstructed by a network; not for diagnostic use"

    @torch.inference_mode()
    def __call__(self, volume: Volume) -> tuple[NDArray[np.float32], float | None]:
        """Reconstruct every slice of the third axis.

        Return the volume in its own intensity units, and the PSNR if known.
        """
        network = self.network.to(self.device).eval()
        offset = 0.0 if self.white is not None else min(float(volume.array.min()), 0.0)
        scale = self.white or float(volume.array.max()) - offset
        output = np.empty_like(volume.array)
        qualities = []
        depth = volume.array.shape[2]
        batch_size = self.batch_size or slices_at_once(self.device)
        for start in range(0, depth, batch_size):
            chosen = range(start, min(start + batch_size, depth))
            slices = torch.from_numpy(np.moveaxis(volume.array[:, :, chosen], -1, 0).copy())
            images = (slices - offset) / scale - 0.5
            result = self._slices(
                network, images.to(self.device), [f"{volume.sha256}/{place}" for place in chosen]
            ).cpu()
            if self.simulate:
                shown = images.amax((1, 2)) > images.amin((1, 2))  # a blank slice has no quality
                qualities.append(psnr(result, images)[shown])
            output[:, :, chosen] = np.moveaxis(((result + 0.5) * scale + offset).numpy(), 0, -1)
        if not np.isfinite(output).all():
            raise UsageError("the network's output is not finite: its weights are damaged or do not fit this volume.")
        quality = float(torch.cat(qualities).mean()) if self.simulate else math.nan
        return output, quality if math.isfinite(quality) else None

    def _slices(
        self, network: nn.Module, images: Float[Tensor, "b h w"], identities: list[str]
    ) -> Float[Tensor, "b h w"]:
        corruption = self.recipe.task.corruption
        if not self.simulate or not isinstance(corruption, Undersampling):
            return network_output(network, TrainingPair(images[:, None], images[:, None]))[:, 0]
        generators = [evaluation_generator(identity) for identity in identities]
        measurement = corruption.measure_each(images, generators)
        return self.recipe.task.predict(network, undersampled_pair(measurement, images))[:, 0]


def reconstruct_path(
    reconstructor: Reconstructor, source: Path, output: Path, provenance: dict[str, Any], *, overwrite: bool = False
) -> list[Reconstructed]:
    """File to file, or every volume of a folder to the same place in another folder.

    On a CPU one volume is in memory at a time; beside a GPU the next ones are read and the last ones written meanwhile.
    Beside each output lies a .json that says what made it. A bad volume in a folder is reported and the others are
    still done; then the whole is a `UsageError`.
    """
    if source.is_dir():
        jobs = [(path, output / name) for name, path in named(source).items()]
        if output.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(output.resolve()):
            raise UsageError("one of input and output lies in the other. Choose another output folder.")
    else:
        if not source.exists():
            raise UsageError(f"no file {source}. Check the path.")
        if output.is_dir():
            output = output / source.name
        if not suffix(output):
            raise UsageError(f"{output} should end in .nii, .nii.gz or .mgz for one volume, or be an existing folder.")
        jobs = [(source, output)]
        if output.resolve() == source.resolve():
            raise UsageError(f"{source} would be overwritten by its reconstruction. Choose another output.")
    identity = {"label": reconstructor.label, "simulated": reconstructor.simulate, "white": reconstructor.white}
    identity |= provenance
    ours = {target for path, target in jobs if _announced(path, target, identity)}
    todo = [(path, target) for path, target in jobs if overwrite or not (target in ours and target.exists())]
    if len(todo) < len(jobs):
        say(f"{len(jobs) - len(todo)} of {len(jobs)} volumes are already done.")
    others = [_about(target) for _, target in todo if target not in ours]
    taken = [path for path in (*(target for _, target in todo), *others) if path.exists()]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]} exists. Choose another output or add --overwrite.")
    for folder in {target.parent for _, target in todo}:
        check_writable(folder)
    done, bad = [], []
    with Overlap(volumes_overlapped(reconstructor.device)) as overlap:
        volumes = overlap.ahead(lambda job: _read(reconstructor, job[0]), todo)
        for (path, target), volume in bar(volumes, total=len(todo), description="reconstructing", unit="volume"):
            try:
                read = volume()
            except BadVolume as error:
                if len(jobs) == 1:
                    raise
                bad.append(path)
                say(f"skipped: {error}")
                continue
            array, quality = reconstructor(read)
            about = identity | {"source_sha256": read.sha256, "psnr": quality}
            overlap.behind(_write, target, array, read, about)
            done.append(Reconstructed(path, target, quality))
            del read, array  # before the next one is read
    if bad:
        raise UsageError(f"{len(bad)} of {len(jobs)} volumes could not be read (named above); the others are done.")
    return done


def _read(reconstructor: Reconstructor, source: Path) -> Volume:
    volume = read_volume(source)
    corruption = reconstructor.recipe.task.corruption
    if reconstructor.simulate and isinstance(corruption, Undersampling):
        height, width, _ = volume.array.shape
        try:
            corruption.density((height, width))
        except UsageError as error:
            raise BadVolume(f"{source}: {error}") from None
    return volume


def _write(target: Path, array: NDArray[np.float32], volume: Volume, about: dict[str, Any]) -> None:
    write_json(_about(target), about)
    write_volume(target, array, volume, about["label"])  # last: with the announcement beside it, it is done


def _announced(source: Path, target: Path, identity: dict[str, Any]) -> bool:
    """Whether an earlier, perhaps interrupted, run of the same command announced `target` from the same source."""
    if not _about(target).exists():
        return False
    try:
        about = read_json(_about(target), "provenance")
        made = {name: about.get(name) for name in identity}
        return made == identity and about["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    except (UsageError, *UNREADABLE):
        return False


def _about(target: Path) -> Path:
    """Where it is said what made `target`: a name that no other program uses."""
    return target.with_name(target.name + ".json")
