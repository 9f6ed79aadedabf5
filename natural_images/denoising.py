"""Denoising files: one image, or every image of a folder, keeping format, depth, colour profile and EXIF."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mri_n2n.durable import alone, check_writable, writing
from mri_n2n.environment import free_memory
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.progress import bar, say
from mri_n2n.restoration import MOST_VALUES, reach_of, restored
from mri_n2n.run_directory import Run
from mri_n2n.standalone import ImagePrediction, Standalone
from natural_images.datasets import Channels, as_images
from natural_images.image_files import (
    MOST_PIXELS,
    WRITTEN,
    BadImage,
    ImageFile,
    Pixels,
    as_integers,
    digest,
    find_images,
    read_image,
    write_image,
)
from natural_images.training import crops_of

LOG = "denoised.jsonl"
BYTES = 40  # for each pixel of an image that is read, restored and written, besides feature maps


@dataclass(frozen=True)
class Denoiser:
    """A trained network on a device. `provenance` is what a folder's log says of it."""

    network: nn.Module
    channels: Channels
    device: torch.device
    provenance: Mapping[str, Any]

    def most_pixels(self) -> int:
        """The largest image that memory holds now: where it is short, the system would end the whole program."""
        free, maps = free_memory(), 4 * reach_of(self.network).values
        return max(0, min(MOST_PIXELS, max(free // (BYTES + maps), (free - 4 * MOST_VALUES) // BYTES)))

    def __call__(self, image: ImageFile) -> Pixels:
        """The denoised pixels `[h w c]`, in the depth and colours of the file."""
        colours = image.pixels.shape[2]
        if colours > self.channels:
            raise BadImage("this network is for grey images, the image has colours. Train one with --channels 3.")
        result = restored(self.network, as_images([image.pixels], self.channels)[0], self.device)
        if not torch.isfinite(result).all():
            raise BadImage("the network's output is not finite: its weights are damaged.")
        if colours < self.channels:
            result = result.mean(dim=0, keepdim=True)  # a grey image was shown to it in three equal channels
        return as_integers(result.movedim(0, -1).numpy(), image.bits)


@dataclass(frozen=True)
class Outcome:
    """What came of a folder: how many images are done now, were already done, and why each other one is not."""

    done: int
    already: int
    failures: dict[Path, str]


def denoise_file(denoiser: Denoiser, source: Path, target: Path, *, overwrite: bool = False) -> Path:
    """Denoise one file to another, or into a folder; return where the result is."""
    if not source.exists():
        raise UsageError(f"no image at {source}. Check the path.")
    target = target / source.name if target.is_dir() else target
    if target.resolve() == source.resolve():
        raise UsageError(f"{source} would be overwritten by its result. Choose another output.")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists. Choose another output or add --overwrite.")
    if target.suffix.lower() not in WRITTEN:
        raise UsageError(f"cannot write {target}: its name should end in {', '.join(WRITTEN)}, or be a folder's.")
    check_writable(target.parent)
    _denoise(denoiser, source, target)
    return target


def denoise_folder(denoiser: Denoiser, source: Path, target: Path, *, overwrite: bool = False) -> Outcome:
    """Denoise every image below `source` to the same place below `target`; a bad one does not stop the others.

    `target` gets a log of what was made from what: the same call again does what is missing.
    """
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise UsageError("one of input and output lies in the other. Choose another output folder.")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file, expected a folder to write to.")
    paths = find_images(source)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    check_writable(target)
    with alone(target):
        return _denoised(denoiser, source, target, paths, overwrite)


def _denoised(denoiser: Denoiser, source: Path, target: Path, paths: Sequence[Path], overwrite: bool) -> Outcome:
    log = _Log(target / LOG, denoiser.provenance)
    failures: dict[Path, str] = {}
    done = already = 0
    for path in bar(paths, description="denoising", unit="image"):
        name = path.relative_to(source)
        try:
            source_digest = digest(path)
            there = (target / name).exists()
            ours = there and log.owns(name, target / name)
            if ours and log.made_from(name, source_digest):
                already += 1
                continue
            if there and not ours and not overwrite:
                raise BadImage(
                    f"{target / name} exists, and is not as this network made it. Choose another folder or --overwrite."
                )
            if name.suffix.lower() not in WRITTEN:
                raise BadImage(f"{path}: this program does not write {name.suffix}. Convert it first.")
            log.add(name, source_sha256=source_digest)
            _denoise(denoiser, path, target / name)
            log.add(name, source_sha256=source_digest, result_sha256=digest(target / name))
            done += 1
        except BadImage as error:
            log.withdraw(name)
            failures[path] = str(error)
            say(f"failed: {error}")
    return Outcome(done, already, failures)


def _denoise(denoiser: Denoiser, source: Path, target: Path) -> None:
    try:
        image = read_image(source, most_pixels=denoiser.most_pixels())
        write_image(target, denoiser(image), image)
    except UsageError as error:
        raise BadImage(str(error) if str(source) in str(error) else f"{source}: {error}") from None
    except (MemoryError, RuntimeError) as error:  # the latter is torch's word for it
        raise BadImage(f"{source} could not be denoised ({one_line(error)}). If memory is short, cut it.") from None


class _Log:
    """What a folder of results was made from: one line per image, with the hashes of source and weights."""

    def __init__(self, path: Path, provenance: Mapping[str, Any]) -> None:
        self._path, self._provenance = path, dict(provenance)
        self._entries: dict[str, dict[str, Any]] = {}
        if path.exists():
            with writing(path), path.open("rb+") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)  # half a line, of a run that was killed
            for line in content.decode("utf-8", "replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._entries[entry["image"]] = entry
                except UNREADABLE:
                    continue

    def owns(self, name: Path, result: Path) -> bool:
        """Whether a result that is there is as this network made it, or was begun and cut off before it was logged."""
        entry = self._entries.get(str(name), {})
        if not entry or entry.get("weights_sha256") != self._provenance.get("weights_sha256"):
            return False
        if "result_sha256" not in entry:
            return "failed" not in entry
        return result.stat().st_size > 0 and bool(entry["result_sha256"] == digest(result))

    def made_from(self, name: Path, source_digest: str) -> bool:
        """Whether this result was finished, from a source of this hash."""
        entry = self._entries.get(str(name), {})
        return "result_sha256" in entry and entry.get("source_sha256") == source_digest

    def withdraw(self, name: Path) -> None:
        """Take back that an image was begun: what lies at its place is not ours."""
        entry = self._entries.get(str(name))
        if entry and "result_sha256" not in entry and "failed" not in entry:
            self.add(name, failed="yes")

    def add(self, name: Path, **hashes: str) -> None:
        """Write a line: before an image is begun, so that its file is known to be ours, and when it is done."""
        entry = {"image": str(name), **hashes, **self._provenance}
        self._entries[str(name)] = entry
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def standalone(run: Run) -> Standalone:
    """A run's network as one module, for images of its crops' size: `denoise` takes larger ones, in tiles."""
    crops = crops_of(run.recipe)
    ramp = torch.linspace(-0.5, 0.5, crops.size + 1)[:-1].expand(2, crops.channels, crops.size, crops.size)
    images = "[b, channels, height, width] float32, black -0.5, white 0.5"
    return Standalone(
        ImagePrediction(run.network()), ramp.contiguous(), f"noisy images {images}", f"denoised images {images}"
    )
