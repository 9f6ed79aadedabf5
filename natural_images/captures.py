"""Capture budgets (Fig 1c): noisy realisations of a few latent images, drawn once and stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mri_n2n.durable import clear, read_json, replacing, write_json
from mri_n2n.errors import UNREADABLE, UsageError
from mri_n2n.progress import bar
from mri_n2n.recipes import described
from mri_n2n.training.seeding import RandomStreams
from natural_images.crops import Crops, random_crop
from natural_images.datasets import Pixels, Scenes, fingerprint_of
from natural_images.noise import NoiseModel

ARRAY, ABOUT = "captures.npy", "captures.json"


@dataclass(frozen=True)
class CaptureRequest:
    """How a budget is spent: `latents` images, `realisations` noisy captures of each.

    A latent image is a random crop of a photograph, taken in random order; where there are fewer photographs than
    latents, some give several.
    """

    latents: int
    realisations: int
    noise: NoiseModel
    crops: Crops
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latents < 1 or self.realisations < 2:
            raise UsageError(
                f"a capture budget needs one latent and two realisations at least, got {self.latents} and "
                f"{self.realisations}."
            )


@dataclass(frozen=True)
class Captures:
    """Stored captures, open for reading. array: `[n s h w c]` float16 in the units of images, mapped from disk.

    Float16 rounds by at most 1/4096 of the range where images lie, a four-hundredth of the noise at σ = 25.
    """

    array: NDArray[np.float16]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.array)

    def read(self, row: int) -> list[Pixels]:
        """The realisations of one latent image."""
        return list(self.array[row])


def captured(directory: Path, request: CaptureRequest, scenes: Scenes, rows: Sequence[int]) -> Captures:
    """The captures of `request` from some scenes: made in `directory`, or found there from an earlier call."""
    about = {"request": described(request), "scenes": scenes.fingerprint, "rows": list(rows)}
    if not ((directory / ARRAY).exists() and _made(directory / ABOUT, about)):
        clear(directory, (ARRAY, ABOUT), overwrite=True)
        _write(directory / ARRAY, request, scenes, rows)
        write_json(directory / ABOUT, about)
    return Captures(np.load(directory / ARRAY, mmap_mode="r"), fingerprint_of(about))


def _made(path: Path, about: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path, "description of captures") == about)
    except (UsageError, *UNREADABLE):
        return False


def _write(path: Path, request: CaptureRequest, scenes: Scenes, rows: Sequence[int]) -> None:
    size, channels = request.crops.size, request.crops.channels
    shape = (request.latents, request.realisations, size, size, channels)
    streams = RandomStreams(request.seed)
    order = torch.randperm(len(rows), generator=streams.at("latents", 0)).tolist()
    level = torch.tensor([float(request.noise.low)])
    with replacing(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        for latent in bar(range(request.latents), description="capturing", unit="latent"):
            row = rows[order[latent % len(rows)]]
            clean = random_crop(scenes.read(row)[:1], request.crops, streams.at("latent", latent))
            generator = streams.at("captures", latent)
            for _ in range(request.realisations):
                noisy = request.noise(clean, level, generator).image[0]
                file.write(noisy.movedim(0, -1).contiguous().numpy().astype("<f2").tobytes())
