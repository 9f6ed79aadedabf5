"""Random crops of scenes. Decoded images are kept while a bounded cache holds them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from mri_n2n.environment import cores
from mri_n2n.errors import UsageError
from mri_n2n.training.batches import batch_rows, sent
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from mri_n2n.training.world import ALONE, World
from natural_images.datasets import Channels, Pixels, Scenes, as_images

CACHE_BYTES = 2 * 2**30
AHEAD = 4  # batches prepared while the device works


@dataclass(frozen=True)
class Crops:
    """Random square crops of `size` pixels, in grey (1 channel) or colour (3)."""

    size: int = 256
    channels: Channels = 3

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 4096:
            raise UsageError(f"a crop's size lies in 8 .. 4096 pixels, got {self.size}.")


def random_crop(pixels: Sequence[Pixels], crops: Crops, generator: Generator) -> Float[Tensor, "s c size size"]:
    """A random crop, at the same place in all realisations.

    Of an image smaller than it, the largest square that fits is scaled up, bicubically.
    """
    height, width = pixels[0].shape[:2]
    side = min(crops.size, height, width)
    uniform = torch.rand(2, generator=generator).tolist()
    top, left = (int(u * (size - side + 1)) for u, size in zip(uniform, (height, width), strict=True))
    images = as_images([image[top : top + side, left : left + side] for image in pixels], crops.channels)
    if side == crops.size:
        return images
    larger = interpolate(images, (crops.size, crops.size), mode="bicubic", align_corners=False)
    return larger.clamp(images.amin(), images.amax())  # bicubic interpolation overshoots


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
        world: World = ALONE,
    ) -> None:
        self._cached = _Cache(scenes.read, cache_bytes)
        self._rows = torch.tensor(rows)
        self._crops, self._batch_size, self._device = crops, batch_size, device
        self._seed, self._streams = seed, RandomStreams(seed)
        self._share = range(batch_size)[world.share(batch_size)]
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="crops")
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
        return Batch(sent(torch.stack([crop.result() for crop in crops]), self._device), rows)

    def _begun(self, step: int) -> tuple[Tensor, list[Future[Tensor]]]:
        chosen = batch_rows(step, self._batch_size, len(self._rows), self._seed)
        rows = self._rows[chosen[list(self._share)]]
        first = step * self._batch_size
        places = zip(rows.tolist(), self._share, strict=True)
        return rows, [self._pool.submit(self._crop, row, first + place) for row, place in places]

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
