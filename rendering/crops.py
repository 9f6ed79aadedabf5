"""Random crops of stored frames, read ahead of their use."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Generator, Tensor

from mri_n2n.errors import UsageError
from mri_n2n.training.batches import batch_rows, sent
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from mri_n2n.training.world import ALONE, World
from rendering.frames import PLANES, FrameStore
from rendering.radiance import Planes

AHEAD = 4  # batches read while the device works


@dataclass(frozen=True)
class FrameCrops:
    """Random square crops of `size` pixels; the paper's have 256 (§3.3)."""

    size: int = 256

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise UsageError(f"a crop's size lies in 16 .. 4096 pixels, got {self.size}.")


def check_fit(crops: FrameCrops, size: tuple[int, int]) -> None:
    """Raise `UsageError` if frames of this (height, width) are too small for the crops."""
    height, width = size
    if crops.size > min(height, width):
        raise UsageError(f"crops of {crops.size} pixels do not fit into frames of {width}×{height}: lower --crop.")


def cropped(renders: Sequence[Planes], reference: Planes | None, crops: FrameCrops, generator: Generator) -> Planes:
    """A random crop `[s 9 h w]` of a frame's renders, whose nine planes may lie in several arrays `[s c h w]`.

    A reference `[3 h w]`, if there is one, is cropped alike and comes last; of its albedo and normals, which it has
    not, all is 0. Arrays on disk are read only where they are cropped.
    """
    uniform = torch.rand(2, generator=generator).tolist()
    room = (side - crops.size + 1 for side in renders[0].shape[-2:])
    top, left = (int(u * most) for u, most in zip(uniform, room, strict=True))
    window = (..., slice(top, top + crops.size), slice(left, left + crops.size))
    crop = np.concatenate([planes[window] for planes in renders], axis=1)
    if reference is None:
        return crop
    clean = np.zeros_like(crop[:1])
    clean[0, :3] = reference[window]
    return np.concatenate([crop, clean])


class FrameLoader:
    """Batches of crops `[b s 9 h w]`, float16: all renders of a frame, and with `reference` its clean one last.

    Which frames, and where they are cropped, depends on the seed and
    the step alone. To be used in a `with` statement.
    """

    def __init__(
        self,
        store: FrameStore,
        rows: Sequence[int],
        crops: FrameCrops,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        reference: bool,
        world: World = ALONE,
    ) -> None:
        check_fit(crops, store.layout.size)
        self._arrays = [store.array(name) for name in PLANES]
        self._reference = store.array("reference") if reference else None
        self._rows, self._crops = torch.tensor(rows), crops
        self._batch_size, self._device = batch_size, device
        self._seed, self._streams = seed, RandomStreams(seed)
        self._share = range(batch_size)[world.share(batch_size)]
        self._reader = ThreadPoolExecutor(1, "crops")
        self._coming: dict[int, Future[tuple[Tensor, Tensor]]] = {}

    def __enter__(self) -> "FrameLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, on the device."""
        for later in range(step, step + 1 + AHEAD):
            if later not in self._coming:
                self._coming[later] = self._reader.submit(self._read, later)
        crops, rows = self._coming.pop(step).result()
        return Batch(sent(crops, self._device), rows)

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self._rows[batch_rows(step, self._batch_size, len(self._rows), self._seed)[list(self._share)]]
        first = step * self._batch_size
        places = zip(rows.tolist(), self._share, strict=True)
        return torch.stack([self._crop(row, first + place) for row, place in places]), rows

    def _crop(self, row: int, place: int) -> Tensor:
        reference = None if self._reference is None else self._reference[row]
        renders = [array[row] for array in self._arrays]
        return torch.from_numpy(cropped(renders, reference, self._crops, self._streams.at("crop", place)))
