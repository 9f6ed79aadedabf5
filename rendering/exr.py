"""Images in OpenEXR: any renderer's are read, by the names of their channels; ours are written. No renderer needed."""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenEXR
import psutil

from mri_n2n.durable import reading, replacing
from mri_n2n.errors import UNREADABLE, UsageError
from rendering.channels import Found, Place, find_channels
from rendering.radiance import Planes, halved, without_gaps

Normals = Literal["auto", "camera", "forward", "world"]
"""The axes of a file's normals. camera: x to the right, y up, z towards the camera; forward: the same, z away from it;
world: the scene's, turned by the file's worldToCamera; auto: forward for Blender's Denoising Normal, else camera."""

MAGIC = b"\x76\x2f\x31\x01"
DAMAGED = "It is damaged or cut off: render or copy it again"
COMPONENTS = {"colour": ("R", "G", "B"), "albedo": ("albedo.R", "albedo.G", "albedo.B")} | {
    "normal": ("normal.X", "normal.Y", "normal.Z")
}


@dataclass(frozen=True)
class Layers:
    """An image's linear radiance, albedo in [0, 1], normals in [-1, 1] in the camera's axes, each `[3 h w]`, float32.

    Albedo and normals are `None` where the file has none. replaced: pixels that were no finite numbers, and are 0.
    """

    colour: Planes
    albedo: Planes | None
    normal: Planes | None
    replaced: int = 0


@dataclass(frozen=True)
class Header:
    """What a file says of itself. size: (height, width) of the data window; turn: from the world's axes, `[3 3]`."""

    size: tuple[int, int]
    found: Found
    parts: int
    turn: Planes | None


@dataclass(frozen=True)
class _Window:
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, box: Any) -> "_Window":
        (left, top), (right, bottom) = (map(int, corner) for corner in box)
        return cls(left, top, right - left + 1, bottom - top + 1)

    def __str__(self) -> str:
        return f"{self.width}×{self.height} pixels from ({self.left}, {self.top})"


def read_header(path: Path) -> Header:
    """The size and the channels of an image, without its pixels. Raises `UsageError` where `read_exr` would."""
    with reading(path):
        if not path.is_file():
            raise UsageError(f"no image at {path}. Check the path.")
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise UsageError(f"{path} is no OpenEXR image. Give one, with linear radiance.")
    headers = [part.header for part in _opened(path, header_only=True).parts]
    if any(header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile) for header in headers):
        raise UsageError(f"{path} holds deep data, expected one value per pixel and channel. Flatten it.")
    try:
        subsampled = _channels(headers)
        windows = [_Window.of(header["dataWindow"]) for header in headers]
        turn = _turn(next((header["worldToCamera"] for header in headers if "worldToCamera" in header), None))
    except UNREADABLE:
        raise UsageError(f"cannot read {path}. {DAMAGED}.") from None
    try:
        found = find_channels(list(subsampled))
    except UsageError as error:
        raise UsageError(f"{path} has {error}") from None
    size_in_memory = sum(4 * windows[place.part].width * windows[place.part].height for place in subsampled)
    return Header(_size(path, found, subsampled, windows, size_in_memory), found, len(headers), turn)


def read_exr(path: Path, normals: Normals = "auto") -> Layers:
    """An image of any renderer: single-part or multi-part, scan lines or tiles, of half or float, however compressed.

    Of a data window that is not the display window, the data window is read. Raises `UsageError` for anything that is
    not such an image, or has no colour, or is cut off, or is said to be larger than the memory.
    """
    header = read_header(path)
    parts = _opened(path, header_only=False).parts
    if len(parts) < header.parts:  # the library leaves out what it cannot read
        raise UsageError(f"cannot read {path}. {DAMAGED}.")

    def planes(three: tuple[Place, ...]) -> Planes:
        found = np.stack([parts[place.part].channels[place.name].pixels for place in three]).astype(np.float32)
        if found.shape != (3, *header.size):
            raise UsageError(f"cannot read {path}: its pixels are not those of its header. {DAMAGED}.")
        return found

    colour, replaced = without_gaps(planes(header.found.colour))
    albedo = None if header.found.albedo is None else planes(header.found.albedo)
    normal = None if header.found.normal is None else planes(header.found.normal)
    features = [layer for layer in (albedo, normal) if layer is not None]
    if features:
        whole, blank = without_gaps(np.concatenate(features))
        replaced += blank
        albedo = None if albedo is None else whole[:3].clip(0.0, 1.0)
        normal = None if normal is None else in_camera_axes(whole[-3:], header, normals, path).clip(-1.0, 1.0)
    return Layers(colour, albedo, normal, replaced)


def in_camera_axes(normal: Planes, header: Header, normals: Normals, path: Path) -> Planes:
    """Normals `[3 h w]` of a file in the axes of ours: x to the right, y up, z towards the camera."""
    if normals == "world":
        return np.asarray(np.einsum("ij,jhw->ihw", turn_of(header, path), normal))
    if normals == "forward" or (normals == "auto" and header.found.forward):
        return normal * np.array([1, 1, -1], np.float32)[:, None, None]
    return normal


def turn_of(header: Header, path: Path) -> Planes:
    """What turns the world's directions into the camera's, `[3 3]`. Raises `UsageError` where the file does not say."""
    if header.turn is None:
        raise UsageError(
            f"{path} has no attribute worldToCamera of a camera, which normals in the world's axes need. "
            "Render normals in the camera's axes."
        )
    return header.turn


def write_exr(path: Path, layers: Mapping[str, Planes]) -> None:
    """Write colour, and albedo and normals if there are any, each `[3 h w]`: half precision, ZIP, whole or not at all.

    The channels are R, G, B, albedo.R, .G, .B and normal.X, .Y, .Z. Values beyond ±65504 are clamped.
    """
    channels = {
        name: np.ascontiguousarray(plane)
        for layer, planes in layers.items()
        for name, plane in zip(COMPONENTS[layer], halved(planes)[0], strict=True)
    }
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    content = io.BytesIO()  # not to a file at once: there the library does not hear of a full disk
    OpenEXR.File(header, channels).write(content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _channels(headers: Sequence[Any]) -> dict[Place, bool]:
    """Every channel, and whether it has fewer values than there are pixels."""
    names = [header.get("name", "") if len(headers) > 1 else "" for header in headers]
    return {
        Place(part, names[part], channel.name): channel.xSampling != 1 or channel.ySampling != 1
        for part, header in enumerate(headers)
        for channel in header["channels"]
    }


def _size(
    path: Path, found: Found, subsampled: Mapping[Place, bool], windows: Sequence[_Window], size_in_memory: int
) -> tuple[int, int]:
    """The height and width of all that is found: the same, and of what the memory holds, or `UsageError`."""
    window = windows[found.colour[0].part]
    for place in found.places():
        if subsampled[place]:
            raise UsageError(f"{path}: {place.path} is subsampled, expected a value at every pixel. Save R, G, B.")
        if windows[place.part] != window:
            raise UsageError(
                f"{path}: {place.path} is of {windows[place.part]}, expected {window} as {found.colour[0].path}. "
                "Save all with one data window."
            )
    if size_in_memory > psutil.virtual_memory().available / 2:
        raise UsageError(
            f"{path} says that it is of {window}, in all {size_in_memory / 2**30:.0f} GiB; expected less than half of "
            "the free memory. Save fewer channels, or a part of it."
        )
    return window.height, window.width


def _turn(matrix: Any) -> Planes | None:
    """Of the standard's worldToCamera: row vectors, and a camera that looks along z; with columns, as PBRT, too."""
    if matrix is None:
        return None
    given = np.asarray(matrix, np.float64).reshape(4, 4)
    turn = given[:3, :3].T
    if not np.allclose(given[:3, 3], 0.0) and np.allclose(given[3, :3], 0.0):  # what moves is in the last column
        turn = given[:3, :3]
    if not np.isfinite(turn).all():
        return None
    scale = np.abs(np.linalg.det(turn)) ** (1 / 3)
    if scale == 0.0 or not np.allclose(turn @ turn.T, scale**2 * np.eye(3), atol=1e-3 * scale**2):
        return None
    return np.asarray(turn / scale * np.array([1.0, 1.0, -1.0])[:, None], np.float32)


def _opened(path: Path, *, header_only: bool) -> Any:
    try:
        with _silenced():
            return OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except UNREADABLE:
        raise UsageError(f"cannot read {path}. {DAMAGED}.") from None


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """The library says what it meets on standard output and on the process's standard error: it is said once, by us."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(io.StringIO()):  # noqa: PTH123
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
