"""Images as renderers write them, written by OpenEXR's own library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR

SIZE = (11, 17)
RGB, XYZ = ("R", "G", "B"), ("X", "Y", "Z")


def truth(seed: int = 0) -> dict[str, Any]:
    """Colour beyond 1, albedo, and normals of length 1 whose z is of either sign, each `[3 h w]`, float16."""
    random = np.random.default_rng(seed)
    normal = random.standard_normal((3, *SIZE))
    return {
        "colour": (random.exponential(2.0, (3, *SIZE))).astype(np.float16),
        "albedo": random.random((3, *SIZE)).astype(np.float16),
        "normal": (normal / np.linalg.norm(normal, axis=0)).astype(np.float16),
    }


def layer(name: str, planes: Any, letters: tuple[str, ...] = RGB) -> dict[str, Any]:
    """Channels NAME.R and so on, or R without a name."""
    return {f"{name}.{letter}" if name else letter: plane for letter, plane in zip(letters, planes, strict=True)}


def write(
    path: Path,
    channels: Mapping[str, Any],
    dtype: str = "f2",
    compression: Any = OpenEXR.ZIP_COMPRESSION,
    **header: Any,
) -> Path:
    """A single-part file of scan lines."""
    kept = {name: np.ascontiguousarray(plane.astype(dtype)) for name, plane in channels.items()}
    whole = {"compression": compression, "type": OpenEXR.scanlineimage} | header
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File(whole, kept).write(str(path))
    return path


def write_parts(path: Path, parts: Mapping[str, Mapping[str, Any]]) -> Path:
    """A file of several parts, by their names."""
    height, width = next(plane.shape for plane in next(iter(parts.values())).values())
    display = (np.array([0, 0], np.int32), np.array([width - 1, height - 1], np.int32))  # of all parts
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "displayWindow": display}
    made = [
        OpenEXR.Part(dict(header), {channel: np.ascontiguousarray(plane) for channel, plane in channels.items()}, name)
        for name, channels in parts.items()
    ]
    OpenEXR.File(made).write(str(path))
    return path
