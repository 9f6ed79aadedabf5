"""Scenes to render: files of Mitsuba's XML, their names, and a hash of all they are made of."""

import hashlib
import html
import re
from dataclasses import dataclass
from pathlib import Path

from mri_n2n.durable import reading, sha256_of
from mri_n2n.errors import UsageError

USUAL = "scene.xml"
PARTIAL = ".partial-"  # how a folder is named that is being written


@dataclass(frozen=True)
class SceneFile:
    """A scene on disk. sha256: of its text and of every file beside it that it names."""

    name: str
    path: Path
    sha256: str


def find_scenes(place: Path) -> list[SceneFile]:
    """A scene's file, or every scene.xml below a folder, by name. Raises `UsageError` if there is none."""
    with reading(place):
        if place.is_dir():
            paths = sorted(path for path in place.rglob(USUAL) if not path.parent.name.startswith(PARTIAL))
            if not paths:
                raise UsageError(f"no {USUAL} in {place} or below. Name a scene's .xml, or a folder of scenes.")
        elif place.is_file():
            paths = [place]
        else:
            raise UsageError(f"no scene at {place}. Check the path.")
    scenes = [SceneFile(_name(path, place), path, _hash(path)) for path in paths]
    if len({scene.name for scene in scenes}) < len(scenes):
        raise UsageError(f"{paths[0]} and the scene in {scenes[0].name} below have one name. Rename that folder.")
    return scenes


def _name(path: Path, place: Path) -> str:
    if path.name != USUAL:
        return path.stem
    below = path.parent.relative_to(place).as_posix() if place.is_dir() else "."
    return path.resolve().parent.name if below == "." else below


def _hash(path: Path) -> str:
    with reading(path):
        text = path.read_bytes()
        named = re.findall(r"""(?:value|filename)\s*=\s*["']([^"']+)["']""", text.decode("utf-8", "replace"))
        names = sorted({html.unescape(name) for name in named if "." in name and len(name) < 255})
        whole = hashlib.sha256(text)
        for name in names:
            if (path.parent / name).is_file():
                whole.update(f"{name} {sha256_of(path.parent / name)}\n".encode())
    return whole.hexdigest()
