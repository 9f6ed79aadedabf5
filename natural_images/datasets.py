"""Photographs to train on: an index of folders, and random crops of what it names.

Only file names are held: 50,000 images cost a few megabytes. Decoded images are kept while they fit in a bounded cache.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from mri_n2n.errors import UsageError
from mri_n2n.progress import bar, say
from mri_n2n.training.batches import batch_rows
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from natural_images.alignment import displacement
from natural_images.image_files import BadImage, as_floats, find_images, read_pixels

Channels = Literal[1, 3]
Pixels = NDArray[Any]  # [h w c]

LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)  # Rec. 601: what a colour image is in grey
CACHE_BYTES = 2 * 2**30
AHEAD = 4  # batches prepared while the device works
SHOWN = 10  # problems told one by one
HELD_OUT = 20  # one scene in so many is kept from training, to watch over it
MOST_HELD_OUT = 32


@dataclass(frozen=True)
class Crops:
    """Random square crops of `size` pixels, in grey (1 channel) or colour (3)."""

    size: int = 256
    channels: Channels = 3

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise UsageError(f"a crop's size lies in 8 .. 4096 pixels, got {self.size}.")


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
    """Scenes in files. files: per scene one image, or two exposures. bad: how many were left out when indexed."""

    files: tuple[tuple[Path, ...], ...]
    fingerprint: str
    bad: int = 0

    def __len__(self) -> int:
        return len(self.files)

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
    _tell([f"{name} is in one folder only" for name in alone])
    return _index([(sides[0][name], sides[1][name]) for name in common], (first, second), len(alone))


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_images(folder):
        name = str(path.relative_to(folder).with_suffix(""))
        if name in found:
            raise UsageError(f"{path} and {found[name].name} have one name: pairs are matched by it. Rename one.")
        found[name] = path
    return found


def _index(scenes: Sequence[tuple[Path, ...]], folders: tuple[Path, ...], bad: int = 0) -> ImageScenes:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = list(bar(pool.map(_checked, scenes), description="indexing", unit="scene", total=len(scenes)))
    good = [scene for scene, result in zip(scenes, checked, strict=True) if isinstance(result, str)]
    problems = [str(result) for result in checked if isinstance(result, UsageError)]
    _tell(problems)
    if not good:
        raise UsageError(f"no usable image in {folders[0]}. What is wrong with each is told above.")
    digest = hashlib.sha256()
    for scene, result in zip(scenes, checked, strict=True):
        if isinstance(result, str):
            names = [str(path.relative_to(folder)) for path, folder in zip(scene, folders, strict=True)]
            digest.update(f"{names} {result}\n".encode())
    return ImageScenes(tuple(good), digest.hexdigest(), bad + len(problems))


def _checked(scene: tuple[Path, ...]) -> str | UsageError:
    """The hash of a scene's files, or what is wrong with them."""
    try:
        images = [read_pixels(path) for path in scene]
        sizes = [image.shape[:2] for image in images]
        if len(set(sizes)) > 1:
            raise BadImage(f"{scene[0]} is {_spoken(sizes[0])}, its other exposure {_spoken(sizes[1])}.")
        if len(images) == 2 and (moved := displacement(*images)) != (0, 0):
            raise BadImage(f"{scene[0]} and its other exposure seem displaced by {moved[1]}×{moved[0]} pixels.")
        return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in scene)
    except OSError as error:
        return BadImage(f"{scene[0]}: {error.strerror}.")
    except BadImage as error:
        return error


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
    most = min(MOST_HELD_OUT, max(1, count // HELD_OUT))
    held_out = {int((index + 0.5) * count / most) for index in range(most)}
    return [row for row in range(count) if row not in held_out], sorted(held_out)


def as_images(pixels: Sequence[Pixels], channels: Channels) -> Float[Tensor, "s c h w"]:
    """Realisations `[h w c]` as stored, as images in [-0.5, 0.5] with the wished number of channels."""
    # By numpy: torch would start its threads in each of the loader's, which then wait for those that train.
    images = np.stack([_as_floats(image) for image in pixels])
    if images.shape[-1] > channels:
        images = images @ LUMA
    elif images.shape[-1] < channels:
        images = images.repeat(channels, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def _as_floats(pixels: Pixels) -> NDArray[np.float32]:
    if np.issubdtype(pixels.dtype, np.integer):
        return as_floats(pixels, 8 * pixels.dtype.itemsize)
    return pixels.astype(np.float32)


def random_crop(pixels: Sequence[Pixels], crops: Crops, generator: Generator) -> Float[Tensor, "s c size size"]:
    """A random crop, at the same place in all realisations. Images smaller than it are scaled up, bicubically."""
    height, width = pixels[0].shape[:2]
    small = min(height, width) < crops.size
    if small:
        images = as_images(pixels, crops.channels)
        scale = crops.size / min(height, width)
        height, width = (max(crops.size, round(size * scale)) for size in (height, width))
        images = interpolate(images, (height, width), mode="bicubic", align_corners=False).clamp(-0.5, 0.5)
    uniform = torch.rand(2, generator=generator).tolist()
    top, left = (int(u * (size - crops.size + 1)) for u, size in zip(uniform, (height, width), strict=True))
    window = np.s_[top : top + crops.size, left : left + crops.size]
    if small:
        return images[:, :, window[0], window[1]]
    return as_images([image[window] for image in pixels], crops.channels)


class CropLoader:
    """Batches of crops, made ahead of their use by threads (decoding lets them run side by side).

    Which scenes, and where they are cropped, depends on the seed and the step alone. To be used in a `with` statement.
    """

    def __init__(
        self,
        scenes: Scenes,
        rows: Sequence[int],
        crops: Crops,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._cached = _Cache(scenes.read, cache_bytes)
        self._rows = torch.tensor(rows)
        self._crops, self._batch_size, self._device = crops, batch_size, device
        self._seed, self._streams = seed, RandomStreams(seed)
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="crops")
        self._coming: dict[int, tuple[Tensor, list[Future[Tensor]]]] = {}

    def __enter__(self) -> "CropLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, on the device."""
        for later in range(step, step + 1 + AHEAD):
            if later not in self._coming:
                self._coming[later] = self._begun(later)
        rows, crops = self._coming.pop(step)
        images = torch.stack([crop.result() for crop in crops])
        if self._device.type == "cuda":
            images = images.pin_memory()
        return Batch(images.to(self._device, non_blocking=True), rows)

    def _begun(self, step: int) -> tuple[Tensor, list[Future[Tensor]]]:
        rows = self._rows[batch_rows(step, self._batch_size, len(self._rows), self._seed)]
        first = step * self._batch_size
        return rows, [self._pool.submit(self._crop, int(row), first + place) for place, row in enumerate(rows)]

    def _crop(self, row: int, place: int) -> Tensor:
        return random_crop(self._cached(row), self._crops, self._streams.at("crop", place))


class _Cache:
    """Keeps the latest results of `read`, up to `most` bytes."""

    def __init__(self, read: Callable[[int], list[Pixels]], most: int) -> None:
        self._read, self._most = read, most
        self._kept: OrderedDict[int, list[Pixels]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, row: int) -> list[Pixels]:
        with self._lock:
            if row in self._kept:
                self._kept.move_to_end(row)
                return self._kept[row]
        images = self._read(row)
        with self._lock:
            if row not in self._kept:
                self._kept[row] = images
                self._bytes += sum(image.nbytes for image in images)
            while self._bytes > self._most:
                self._bytes -= sum(image.nbytes for image in self._kept.popitem(last=False)[1])
        return images
