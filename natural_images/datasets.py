"""Photographs to train on: an index of folders. Only file names are held: 50,000 of them cost some 30 MB."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from mri_n2n.data.selection import evenly_spread
from mri_n2n.environment import cores
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar, say
from natural_images.alignment import misfit
from natural_images.image_files import BadImage, as_floats, digest, find_images, read_pixels

Channels = Literal[1, 3]
Pixels = NDArray[Any]  # [h w c]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601: what a colour image is in grey
SHOWN = 10  # problems told one by one
HELD_OUT = 20  # one scene in so many is kept from training, to watch over it
MOST_HELD_OUT = 32


@runtime_checkable
class Scenes(Protocol):
    """Scenes to train on. Each has one clean image, or several noisy realisations of one size."""

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> list[Pixels]:
        """The realisations of a scene, `[h w c]`: integers of 8 or 16 bit, or floats in [-0.5, 0.5]."""
        ...


@dataclass(frozen=True)
class ImageScenes:
    """Scenes in files. files: per scene one image, or two exposures. left_out: what was wrong with the others.

    digests: the SHA-256 of every file.
    """

    files: tuple[tuple[Path, ...], ...]
    fingerprint: str
    left_out: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def bad(self) -> int:
        """How many images or pairs were left out when they were indexed."""
        return len(self.left_out)

    def read(self, row: int) -> list[Pixels]:
        """Decode a scene. Raises `UsageError` where a file has changed since it was indexed."""
        try:
            return [read_pixels(path) for path in self.files[row]]
        except BadImage as error:
            raise UsageError(f"{error} It was fine when training began: restore it.") from None


def index_folder(folder: Path) -> ImageScenes:
    """All usable images below `folder`: every one is decoded once; damaged ones are told, counted and left out."""
    return _index([(path,) for path in find_images(folder)], (folder,))


def index_pairs(first: Path, second: Path) -> ImageScenes:
    """Two exposures of each scene: images at the same place below two folders, whatever their suffix.

    Scenes with one exposure, of two sizes, or displaced against each other are told, counted and left out.
    """
    sides = [_by_name(folder) for folder in (first, second)]
    common = sorted(sides[0].keys() & sides[1].keys())
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if not common:
        raise UsageError(f"no image of {first} has a namesake in {second}. Name both exposures of a scene alike.")
    lonely = [f"{name} is in one folder only" for name in alone]
    _tell(lonely)
    return _index([(sides[0][name], sides[1][name]) for name in common], (first, second), lonely)


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_images(folder):
        name = str(path.relative_to(folder).with_suffix(""))
        if name in found:
            raise UsageError(f"{path} and {found[name].name} have one name: pairs are matched by it. Rename one.")
        found[name] = path
    return found


def _index(scenes: Sequence[tuple[Path, ...]], folders: tuple[Path, ...], lonely: Sequence[str] = ()) -> ImageScenes:
    with ThreadPoolExecutor(cores()) as pool:
        checked = list(bar(pool.map(_checked, scenes), description="indexing", unit="scene", total=len(scenes)))
    _tell(problems := [str(result) for result in checked if isinstance(result, UsageError)])
    good = [(scene, hashes) for scene, hashes in zip(scenes, checked, strict=True) if isinstance(hashes, tuple)]
    if not good:
        raise UsageError(f"no usable image in {folders[0]}. What is wrong with the first is told above.")
    fingerprint = hashlib.sha256()
    for scene, hashes in good:
        names = [str(path.relative_to(folder)) for path, folder in zip(scene, folders, strict=True)]
        fingerprint.update(f"{names} {hashes}\n".encode())
    digests = frozenset(chain.from_iterable(hashes for _, hashes in good))
    return ImageScenes(tuple(scene for scene, _ in good), fingerprint.hexdigest(), (*lonely, *problems), digests)


def _checked(scene: tuple[Path, ...]) -> tuple[str, ...] | UsageError:
    """The hashes of a scene's files, or what is wrong with them."""
    try:
        images = [read_pixels(path) for path in scene]
        hashes = tuple(digest(path) for path in scene)
        if len(images) == 2:
            _check_pair(scene, images, hashes)
        return hashes
    except BadImage as error:
        return error


def _check_pair(scene: Sequence[Path], images: Sequence[Pixels], hashes: Sequence[str]) -> None:
    sizes = [image.shape[:2] for image in images]
    if sizes[0] != sizes[1]:
        raise BadImage(f"{scene[0]} is {_spoken(sizes[0])}, its other exposure {_spoken(sizes[1])}.")
    if hashes[0] == hashes[1] or np.array_equal(images[0], images[1]):
        raise BadImage(f"{scene[0]} and its other exposure are the same image: there is no second noise to learn from.")
    if trouble := misfit(*images):
        raise BadImage(f"{scene[0]} and its other exposure {trouble}.")


def _spoken(size: tuple[int, ...]) -> str:
    return f"{size[1]}×{size[0]}"


def _tell(problems: Sequence[str]) -> None:
    for problem in problems[:SHOWN]:
        say(f"left out: {problem}")
    if len(problems) > SHOWN:
        say(f"left out: {len(problems) - SHOWN} more.")


def split(count: int) -> tuple[list[int], list[int]]:
    """Rows to train on, and rows held out to watch over training: one in twenty, evenly spread, 1 to 32 of them."""
    if count < 2:
        raise UsageError("training needs at least two images: one of them is held out to watch over it.")
    held_out = evenly_spread(count, min(MOST_HELD_OUT, max(1, count // HELD_OUT)))
    return sorted(set(range(count)) - set(held_out)), held_out


def fingerprint_of(description: Mapping[str, Any]) -> str:
    """The SHA-256 of what can be said as JSON: of captures, or of a test set's images by their digests."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def as_images(pixels: Sequence[Pixels], channels: Channels) -> Float[Tensor, "s c h w"]:
    """Realisations `[h w c]` as stored, as images in [-0.5, 0.5] with the wished number of channels."""
    # By numpy: torch would start its threads in each of the loader's, which then wait for those that train.
    images = np.stack([_with_channels(_as_floats(image), channels) for image in pixels])
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def _with_channels(image: NDArray[np.float32], channels: Channels) -> NDArray[np.float32]:
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return image.repeat(3, axis=-1)
    red, green, blue = np.moveaxis(image, -1, 0)
    grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue  # no matrix product: the same bits everywhere
    return np.asarray(grey[..., None], np.float32)


def _as_floats(pixels: Pixels) -> NDArray[np.float32]:
    if np.issubdtype(pixels.dtype, np.integer):
        return as_floats(pixels, 8 * pixels.dtype.itemsize)
    return pixels.astype(np.float32)
