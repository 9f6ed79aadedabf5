"""Interiors on disk: scenes for training and validation, each whole or absent, all equally bright."""

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mri_n2n.data.selection import evenly_spread
from mri_n2n.durable import alone, check_writable, clear, read_json, replacing, sync, write_json, writing
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar
from rendering.interiors.interior import SPLITS, Interior, draw_interior, write_interior
from rendering.radiance import Planes, tone_map
from rendering.renderer import Renderer, seed_of
from rendering.scenes import PARTIAL, USUAL

MANIFEST, CONTACT, LOOK = "interiors.json", "contact.png", "look.png"
FORMAT = 1  # another one where the same seed gives other scenes
MOST = 1000  # of a split: names have three digits
VARIANT = "scalar_rgb"  # it compiles nothing, and the factors are the same wherever they are found

BRIGHTNESS = 0.45  # mean of the tone-mapped view of a scene's own camera
SIZE, SPP = (96, 128), 24  # (height, width) of the view that it is measured on, and samples per pixel
BLOCK = 4  # pixels whose mean is tone-mapped: what noise there is would darken single ones
SHOWN, COLUMNS = 64, 8  # scenes of the contact sheet, at most


@dataclass(frozen=True)
class InteriorSet:
    """How many scenes of each split, and the seed of all."""

    training: int = 24
    validation: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in SPLITS:
            if not 0 <= getattr(self, name) <= MOST:
                raise UsageError(f"--{name} is 0 to {MOST} scenes, got {getattr(self, name)}.")
        if self.training + self.validation == 0:
            raise UsageError("--training and --validation are both 0: there is nothing to make.")
        if self.seed < 0:
            raise UsageError(f"--seed is at least 0, got {self.seed}.")

    def addresses(self) -> list[tuple[str, int]]:
        """(split, number) of every scene."""
        return [(split, number) for split in SPLITS for number in range(getattr(self, split))]


def place_of(output: Path, split: str, number: int) -> Path:
    """The folder of a scene."""
    return output / split / f"interior-{number:03d}"


def write_interiors(output: Path, request: InteriorSet, *, overwrite: bool = False) -> int:
    """Write what is missing of a set of scenes into `output`, and a picture of them; returns how many were missing.

    Scene n of a split is the same however many are asked for. Raises `UsageError` for an output that holds anything
    else, another seed's scenes or more scenes than are asked for.
    """
    check_writable(output)
    asked = {"format": FORMAT, "training": request.training, "validation": request.validation, "seed": request.seed}
    kept = _kept(output, asked)
    if kept is None or overwrite:
        clear(output, (MANIFEST, CONTACT, *SPLITS) if kept is not None else (), overwrite=overwrite)
    else:
        _check_grows(output, kept, asked)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    with alone(output):
        if kept != asked or overwrite:
            write_json(output / MANIFEST, asked)
        missing = [address for address in request.addresses() if not place_of(output, *address).is_dir()]
        for split, number in bar(missing, description="furnishing", unit="scene"):
            _write_scene(draw_interior(request.seed, split, number), place_of(output, split, number))
        if missing or not (output / CONTACT).exists():
            _write_contact(output, request)
    return len(missing)


def _kept(output: Path, asked: dict[str, int]) -> dict[str, Any] | None:
    """The manifest that is there. Without one, nothing in a folder is ours to remove."""
    if not (output / MANIFEST).exists():
        return None
    kept = read_json(output / MANIFEST, "manifest of interiors")
    if not isinstance(kept, dict) or kept.keys() != asked.keys():
        raise UsageError(f"{output / MANIFEST} is no manifest of interiors. Choose another place.")
    return kept


def _check_grows(output: Path, kept: dict[str, Any], asked: dict[str, int]) -> None:
    same = all(kept[name] == asked[name] for name in ("format", "seed"))
    if not same or any(kept[split] > asked[split] for split in SPLITS):
        raise UsageError(
            f"{output} holds {kept['training']} training and {kept['validation']} validation scenes of seed "
            f"{kept['seed']}, format {kept['format']}. Ask for as many or more of them, choose another place, or add "
            "--overwrite."
        )


def _write_scene(interior: Interior, folder: Path) -> None:
    partial = folder.parent / f"{PARTIAL}{folder.name}"
    with writing(folder):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_interior(interior, partial, 1.0)
    renderer = Renderer(partial / USUAL, SIZE, VARIANT)
    seen, _ = renderer.colour(renderer.pose, SPP, seed_of("interior", folder.parent.name, folder.name))
    del renderer
    gc.collect()  # a scene is part of cycles, and only one should be alive
    factor = factor_for(seen)
    with writing(folder):
        write_interior(interior, partial, factor)
        Image.fromarray(_pixels(factor * seen)).save(partial / LOOK)
        for path in (*partial.iterdir(), partial):
            sync(path)
        partial.rename(folder)
        sync(folder.parent)


def factor_for(seen: Planes) -> float:
    """What linear radiance `[3 h w]` is to be multiplied by, so that it comes to BRIGHTNESS; three digits of it.

    Raises `UsageError` where there is no light at all.
    """
    channels, height, width = seen.shape
    blocks = seen[:, : height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    blocks = blocks.reshape(channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean(axis=(2, 4))
    if not blocks.any():
        raise UsageError("a room without any light cannot be made brighter. Choose another --seed.")
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tone_map(2.0**middle * blocks).mean() < BRIGHTNESS else (low, middle)
    return float(f"{2.0**low:.3g}")


def _write_contact(output: Path, request: InteriorSet) -> None:
    addresses = request.addresses()
    chosen = [addresses[place] for place in evenly_spread(len(addresses), min(SHOWN, len(addresses)))]
    pictures = []
    for address in chosen:
        with Image.open(place_of(output, *address) / LOOK) as picture:
            pictures.append(np.pad(np.asarray(picture), ((4, 0), (4, 0), (0, 0))))
    columns = min(COLUMNS, len(pictures))
    pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    rows = [np.concatenate(pictures[start : start + columns], axis=1) for start in range(0, len(pictures), columns)]
    with replacing(output / CONTACT) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary)


def _pixels(radiance: Planes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return (np.moveaxis(tone_map(radiance), 0, -1) * 255 + 0.5).astype(np.uint8)
