"""Frames to and from OpenEXR images: a folder per scene, a file per render, so that any renderer's frames train too."""

import glob
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mri_n2n.durable import alone, check_writable, clear, read_json, reading, sha256_of, sha256_of_all, write_json
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar
from rendering.contact_sheet import write_contact_sheet
from rendering.exr import Header, Normals, read_exr, read_header, turn_of, write_exr
from rendering.frames import MANIFEST, OWN, FrameStore, Layout, read_manifest

EXPORTED = "export.json"  # what an exported folder holds, and of which frames
NAMED = re.compile(r"(.+)-(\d+|reference)")
REFERENCE = "reference"


@dataclass(frozen=True)
class View:
    """Images of one view: its renders, by number, and a clean reference or `None`."""

    name: str
    renders: tuple[Path, ...]
    reference: Path | None

    def files(self) -> tuple[Path, ...]:
        """All of them, the reference last."""
        return self.renders if self.reference is None else (*self.renders, self.reference)


def export_frames(frames: Path, output: Path, *, overwrite: bool = False) -> int:
    """Write a store's frames as images, SCENE/view-000-0.exr, view-000-1.exr and view-000-reference.exr; how many.

    Interrupted, the same call goes on. Raises `UsageError` for frames that are not all rendered.
    """
    store = FrameStore.open(frames)
    store.check_complete()
    check_writable(output)
    asked = {"frames": sha256_of(frames / MANIFEST), "scenes": list(store.manifest["views"])}
    if any(PurePosixPath(scene).is_absolute() or ".." in PurePosixPath(scene).parts for scene in asked["scenes"]):
        raise UsageError(f"{frames / MANIFEST} names a scene outside of its folder. Render it again.")
    record = output / EXPORTED
    there = read_json(record, "record of exported frames") if record.exists() else None
    if there != asked or overwrite:
        clear(output, _own(there), overwrite=overwrite)
        write_json(record, asked)
    arrays = {name: store.array(name) for name in store.layout.arrays()}
    views = [f"{scene}/view-{view:03}" for scene, rows in store.rows().items() for view in range(len(rows))]
    written = 0
    with alone(output):
        for place, view in enumerate(bar(views, description="exporting", unit="frame")):
            images = {
                str(replicate): {name: arrays[name][place, replicate] for name in ("colour", "albedo", "normal")}
                for replicate in range(store.layout.replicates)
            }
            if store.layout.reference:
                images[REFERENCE] = {"colour": arrays["reference"][place]}
            for which, layers in images.items():
                path = output / f"{view}-{which}.exr"
                if not path.exists():  # whole if it is there
                    write_exr(path, layers)
                written += 1
    return written


def import_frames(folder: Path, output: Path, *, normals: Normals = "auto", overwrite: bool = False) -> FrameStore:
    """Make a store of images: subfolders are scenes, VIEW-NUMBER.exr the renders of a view, VIEW-reference.exr clean.

    All images are of one size; each view has equally many renders, at least two, or one and a reference, and each of
    them albedo and normals. Interrupted, the same call goes on. Raises `UsageError` that names the first image that is
    otherwise.
    """
    scenes = find_images(folder)
    check_writable(output)
    size = _check(scenes, normals)
    first = next(iter(scenes.values()))[0]
    views = [view for views in scenes.values() for view in views]
    hashed = bar(scenes.items(), description="hashing", unit="scene")
    asked: dict[str, Any] = {
        "request": {"normals": normals},
        "scenes": [
            {"name": scene, "sha256": sha256_of_all(path for view in views for path in view.files())}
            for scene, views in hashed
        ],
        "variant": "imported",
        "views": {scene: [{"name": view.name} for view in views] for scene, views in scenes.items()},
    }
    if (output / MANIFEST).exists() and not overwrite:
        kept, layout = read_manifest(output)
        if any(kept.get(key) != value for key, value in asked.items()):
            raise UsageError(
                f"{output} holds other frames, or these with other --normals. Choose another place, or add --overwrite."
            )
    else:
        clear(output, OWN, overwrite=overwrite)
        layout = Layout(len(views), len(first.renders), size, first.reference is not None)
        kept = asked
    with FrameStore.held(output, kept, layout) as store:
        missing = [place for place in range(len(views)) if place not in store.complete]
        done = len(views) - len(missing)
        for place in bar(missing, description="importing", unit="frame", total=len(views), initial=done):
            _store(store, place, views[place], normals)
        write_contact_sheet(store)
    return store


def find_images(folder: Path) -> dict[str, list[View]]:
    """The views of each scene, numbers in names in their order. Raises `UsageError` for names of any other kind."""
    with reading(folder):
        if not folder.is_dir():
            raise UsageError(f"no folder at {folder}. Check the path.")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".exr" and path.name[0] != ".")
    if not paths:
        raise UsageError(f"no .exr in {folder} or below. Name a folder of OpenEXR images.")
    found: dict[Path, dict[str, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))
    for path in paths:
        name = NAMED.fullmatch(path.stem)
        if name is None:
            raise UsageError(
                f"{path} is not named VIEW-NUMBER.exr or VIEW-{REFERENCE}.exr. Rename it, or move it away."
            )
        which = name[2] if name[2] == REFERENCE else str(int(name[2]))
        if which in found[path.parent][name[1]]:
            raise UsageError(f"{path} and {found[path.parent][name[1]][which].name} have one number. Remove one.")
        found[path.parent][name[1]][which] = path
    names = [_scene(place, folder) for place in found]
    if len(set(names)) < len(names):
        raise UsageError(f"{folder} and a folder in it have one name. Move the images of {folder} into a folder, too.")
    return {
        _scene(place, folder): [_view(name, views[name]) for name in sorted(views, key=_by_number)]
        for place, views in found.items()
    }


def facing_away(store: FrameStore) -> int:
    """Frames whose normals look away from the camera on average, which those in the camera's axes hardly do."""
    depth = store.array("normal")
    return sum(float(depth[place, 0, 2].astype(np.float32).mean()) < 0.0 for place in sorted(store.complete))


def _own(record: Any) -> list[str]:
    scenes = record.get("scenes", []) if isinstance(record, dict) else []
    return (
        [EXPORTED, *sorted({glob.escape(str(scene).split("/")[0]) for scene in scenes})]
        if isinstance(scenes, list)
        else [EXPORTED]
    )


def _scene(place: Path, folder: Path) -> str:
    return folder.resolve().name if place == folder else place.relative_to(folder).as_posix()


def _view(name: str, files: Mapping[str, Path]) -> View:
    renders = tuple(files[which] for which in sorted((key for key in files if key != REFERENCE), key=int))
    return View(name, renders, files.get(REFERENCE))


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def _check(scenes: Mapping[str, Sequence[View]], normals: Normals) -> tuple[int, int]:
    """The size of all images. Looks at every header, so that nothing is found wrong after hours."""
    first = next(iter(scenes.values()))[0]
    size: tuple[int, int] | None = None
    for view in bar([view for views in scenes.values() for view in views], description="looking", unit="view"):
        at = view.files()[0]
        if len(view.renders) != len(first.renders):
            there, expected = len(view.renders), len(first.renders)
            raise UsageError(
                f"{at}: its view has {there} renders, expected {expected} as the first. Render or remove it."
            )
        if (view.reference is None) != (first.reference is None):
            has = "no reference" if view.reference is None else f"a {REFERENCE}, but the first view has none"
            raise UsageError(f"{at}: its view has {has}. All views have one, or none.")
        if len(view.renders) < (1 if view.reference is not None else 2):
            raise UsageError(
                f"{at}: its view has {len(view.renders)} renders, expected two, with other seeds, or one and a "
                f"{REFERENCE}. Render it once more."
            )
        for path in view.files():
            header = read_header(path)
            size = size or header.size
            if header.size != size:
                sizes = [f"{width}×{height}" for height, width in (header.size, size)]
                raise UsageError(f"{path} is {sizes[0]} pixels, expected {sizes[1]} as the first. Leave it out.")
            if path != view.reference:
                _check_features(path, header, normals)
    assert size is not None
    return size


def _check_features(path: Path, header: Header, normals: Normals) -> None:
    lacking = [name for name in ("albedo", "normal") if getattr(header.found, name) is None]
    if lacking:
        raise UsageError(
            f"{path} has no {' and no '.join(lacking)}: expected channels such as albedo.R, .G, .B and normal.X, .Y, "
            ".Z, which the network sees beside colour. Render them, too."
        )
    if normals == "world":
        turn_of(header, path)


def _store(store: FrameStore, place: int, view: View, normals: Normals) -> None:
    made = [read_exr(path, normals) for path in view.renders]
    for one, other in combinations(range(len(made)), 2):
        if np.array_equal(made[one].colour, made[other].colour):
            raise UsageError(
                f"{view.renders[one]} and {view.renders[other]} are the same image, expected independent noise. Render "
                "each with a seed of its own."
            )
    replaced = sum(layers.replaced for layers in made)
    albedo = [layers.albedo for layers in made if layers.albedo is not None]
    normal = [layers.normal for layers in made if layers.normal is not None]
    planes = {
        "colour": np.stack([layers.colour for layers in made]),
        "albedo": np.stack(albedo),
        "normal": np.stack(normal),
    }
    if view.reference is not None:
        clean = read_exr(view.reference)
        planes["reference"] = clean.colour
        replaced += clean.replaced
    store.write(place, planes, replaced)
