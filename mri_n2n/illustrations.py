"""What an evaluation shows: a few examples, and one volume slice by slice, stored so that a report needs no data."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from mri_n2n.durable import replacing
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.pictures import as_pixels, decoded_size, encoded

ILLUSTRATIONS, VOLUME = "illustrations.npz", "volume.npz"
REFERENCE = "reference"
MOST_SLICES, LONGEST = 150, 256  # of a volume: more slices are thinned out, larger ones scaled down
SLICE_BYTES = 16_000  # of a slice's picture: 150 slices by three methods are below 10 MB on a page
MOST_BYTES = 256 * 2**20  # that a file may unpack to
FORMAT = "mri-n2n illustrations 1"
TITLES = "titles"

Image = NDArray[np.floating]


@dataclass(frozen=True)
class Illustration:
    """An example: its image by every method, upright, `[h w]` or `[3 h w]` in [-0.5, 0.5].

    The last one is the reference where `has_reference`, else a method's like the others. before: what a reader compares
    the last method with. mask: the acquired frequencies, DC in the middle, of MRI. white: what is shown as white.
    """

    title: str
    images: Mapping[str, Image]
    before: str
    has_reference: bool = True
    white: float = 0.5
    mask: Bool[np.ndarray, "h w"] | None = None

    @property
    def methods(self) -> list[str]:
        """The methods, without the reference."""
        return list(self.images)[: -1 if self.has_reference else None]

    @property
    def after(self) -> str:
        """The method that this is about: the last one."""
        return self.methods[-1]


@dataclass(frozen=True)
class IllustratedVolume:
    """A volume slice by slice: for each method the WebP pictures of its `slices`, in their order."""

    title: str
    slices: Sequence[int]
    pictures: Mapping[str, Sequence[bytes]] = field(repr=False)


Watch = Callable[[Callable[[], Sequence[Illustration]], str], None]
"""Gets, after every evaluation of a training and at its end, what makes examples of the moment, and the status."""


def watching(report: Watch | None) -> Callable[[Any, str], None] | None:
    """What `run_training` calls with a monitor that makes examples, so that `report` sees them; None without one."""
    return None if report is None else lambda monitor, status: report(monitor.examples, status)


def picture_of_slice(image: Image, white: float) -> bytes:
    """A slice as it stands in a volume's file."""
    return encoded(as_pixels(image, white), "webp", longest=LONGEST, most=SLICE_BYTES)


def write_illustrations(folder: Path, examples: Sequence[Illustration]) -> None:
    """Store examples in half precision, replacing those that `folder` has."""
    arrays: dict[str, NDArray[Any]] = {}
    about = []
    for number, example in enumerate(examples):
        for place, image in enumerate(example.images.values()):
            arrays[f"{number}-{place}"] = np.clip(image, -6e4, 6e4).astype(np.float16)
        if example.mask is not None:
            arrays[f"{number}-mask"] = np.packbits(example.mask)
        shape = None if example.mask is None else list(example.mask.shape)
        about.append(
            {
                "title": example.title,
                "images": list(example.images),
                "before": example.before,
                "has_reference": example.has_reference,
                "white": example.white,
                "mask": shape,
            }
        )
    _write(folder / ILLUSTRATIONS, about, arrays)


def write_volume(folder: Path, volume: IllustratedVolume) -> None:
    """Store a volume's pictures, replacing those that `folder` has."""
    arrays = {
        f"{number}-{place}": np.frombuffer(picture, np.uint8)
        for number, pictures in enumerate(volume.pictures.values())
        for place, picture in enumerate(pictures)
    }
    about = {"title": volume.title, "slices": list(volume.slices), "methods": list(volume.pictures)}
    _write(folder / VOLUME, about, arrays)


def read_illustrations(folder: Path) -> list[Illustration]:
    """The examples that an evaluation stored; none where it stored none. Raises `UsageError` for a damaged file."""
    path = folder / ILLUSTRATIONS
    if not path.exists():
        return []
    try:
        about, arrays = _read(path)
        return [_example(arrays, number, **known) for number, known in enumerate(about)]
    except (zipfile.BadZipFile, *UNREADABLE) as error:
        raise _damaged(path, error) from None


def read_volume(folder: Path) -> IllustratedVolume | None:
    """The volume that an evaluation stored, if it did. Raises `UsageError` for a damaged file."""
    path = folder / VOLUME
    if not path.exists():
        return None
    try:
        about, arrays = _read(path)
        slices = [int(number) for number in about["slices"]]
        pictures = {
            str(method): [arrays[f"{number}-{place}"].tobytes() for place in range(len(slices))]
            for number, method in enumerate(about["methods"])
        }
        sizes = {decoded_size(picture, "webp") for own in pictures.values() for picture in own}
        if len(sizes) != 1:
            raise ValueError("pictures of several sizes, or none")
        return IllustratedVolume(str(about["title"]), slices, pictures)
    except (zipfile.BadZipFile, *UNREADABLE) as error:
        raise _damaged(path, error) from None


def _example(
    arrays: Mapping[str, NDArray[Any]],
    number: int,
    title: str,
    images: Sequence[str],
    before: str,
    has_reference: bool,
    white: float,
    mask: Sequence[int] | None,
) -> Illustration:
    shown = {str(name): arrays[f"{number}-{place}"].astype(np.float32) for place, name in enumerate(images)}
    shape = next(iter(shown.values())).shape
    if any(image.shape != shape or not np.isfinite(image).all() for image in shown.values()) or before not in shown:
        raise ValueError("images that do not belong together")
    if not (len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)):
        raise ValueError(f"images of the shape {shape}")
    acquired = None
    if mask is not None:
        height, width = mask
        acquired = np.unpackbits(arrays[f"{number}-mask"], count=height * width).astype(bool).reshape(height, width)
    return Illustration(str(title), shown, before, bool(has_reference), float(white), acquired)


def _write(path: Path, about: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    titles = json.dumps({"format": FORMAT, "content": about}).encode()
    named: dict[str, Any] = {TITLES: np.frombuffer(titles, np.uint8), **arrays}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **named)


def _read(path: Path) -> tuple[Any, dict[str, NDArray[Any]]]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ValueError("it is too large")
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    titles = json.loads(arrays.pop(TITLES).tobytes())
    if titles["format"] != FORMAT:
        raise ValueError("it is of another version")
    return titles["content"], arrays


def _damaged(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"cannot read {path} ({one_line(error)}): it is damaged. Make it again: evaluate the run with --overwrite."
    )
