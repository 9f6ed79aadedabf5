"""Frames of scenes, rendered into a store: what is missing is made, and nothing twice."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mri_n2n.durable import check_writable, clear, sha256_of
from mri_n2n.errors import UsageError
from mri_n2n.progress import bar
from rendering.contact_sheet import write_contact_sheet
from rendering.frames import MANIFEST, OWN, FrameStore, Layout, read_manifest
from rendering.jobs import Job, Renderers
from rendering.processes import MOST, rendered_by_processes
from rendering.renderer import Pose, chosen_variant, seeds_of, vector, version
from rendering.scenes import SceneFile, find_scenes
from rendering.views import draw_views, read_views


@dataclass(frozen=True)
class FrameRequest:
    """What is asked for. size: (height, width); spp: samples per pixel, of a reference 0 for none; one seed for all."""

    views: int = 8
    replicates: int = 2
    spp: int = 8
    reference_spp: int = 256
    size: tuple[int, int] = (256, 256)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("views", 1), ("replicates", 1), ("spp", 1), ("reference_spp", 0), ("seed", 0)):
            if getattr(self, name) < least:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is at least {least}, got {getattr(self, name)}.")
        if not all(16 <= side <= 8192 for side in self.size):
            raise UsageError(f"--size is 16 to 8192 pixels a side, got {self.size[1]}x{self.size[0]}.")


def render_frames(
    place: Path,
    output: Path,
    request: FrameRequest,
    *,
    views_file: Path | None = None,
    variant: str = "auto",
    processes: int = 1,
    overwrite: bool = False,
) -> FrameStore:
    """Render a scene, or a folder of them, into `output`; interrupted, the same call goes on with the same bytes.

    Every render has a seed of its own, from (seed, scene, view, replicate); how many processes render changes no bytes.
    Raises `UsageError` for scenes that cannot be rendered, and for an output that holds anything else.
    """
    if not 1 <= processes <= MOST:
        raise UsageError(f"--processes is 1 to {MOST}, got {processes}.")
    scenes = find_scenes(place)
    if views_file is not None and len(scenes) > 1:
        raise UsageError(f"--views-file is of one scene, but {place} holds {len(scenes)}. Name one.")
    if views_file is not None:
        read_views(views_file, (0.0, 1.0, 0.0))  # before anything is rendered
    check_writable(output)
    asked = {
        "request": asdict(request) | {"size": list(request.size)},
        "scenes": [{"name": scene.name, "sha256": scene.sha256} for scene in scenes],
        "views_file": None if views_file is None else sha256_of(views_file),
        "variant": chosen_variant(variant),
        "renderer": version(),
    }
    renderers = Renderers(request.size, chosen_variant(variant))
    if (output / MANIFEST).exists() and not overwrite:
        manifest, layout = read_manifest(output)
        _check_same(output, manifest, asked)
    else:
        clear(output, OWN, overwrite=overwrite, dry_run=True)
        views = {}
        for scene in bar(scenes, description="looking around", unit="scene"):
            renderer = renderers.of(scene)
            if views_file is None:
                drawn = draw_views(renderer, scene.name, request.views, request.seed)
            else:
                drawn = read_views(views_file, renderer.pose.up)
            views[scene.name] = [asdict(view) for view in drawn]
        clear(output, OWN, overwrite=overwrite)
        layout = Layout(sum(map(len, views.values())), request.replicates, request.size, request.reference_spp > 0)
        manifest = asked | {"views": views}
    with FrameStore.held(output, manifest, layout) as store:
        _fill(store, _jobs(store, scenes, request), renderers, processes, chosen_variant(variant))
        write_contact_sheet(store)
    return store


def _check_same(output: Path, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name, value in (asked["request"] | {key: asked[key] for key in asked if key != "request"}).items():
        there = kept.get("request", {}).get(name) if name in asked["request"] else kept.get(name)
        if there != value:
            raise UsageError(
                f"{output} holds frames made otherwise ({name.replace('_', '-')}). "
                "Give the options they were made with, choose another place, or add --overwrite."
            )


def _jobs(store: FrameStore, scenes: Sequence[SceneFile], request: FrameRequest) -> list[Job]:
    """The frames that the store is to have, in its order."""
    by_name = {scene.name: scene for scene in scenes}
    jobs: list[Job] = []
    for name, poses in store.manifest["views"].items():
        for view, pose in enumerate(poses):
            *seeds, last = seeds_of(request.replicates + 1, request.seed, name, view)
            reference = (request.reference_spp, last)
            camera = Pose(*map(vector, (pose["origin"], pose["target"], pose["up"])))
            clean = reference if request.reference_spp else None
            jobs.append(Job(len(jobs), by_name[name], camera, request.spp, tuple(seeds), clean))
    return jobs


def _fill(store: FrameStore, jobs: Sequence[Job], renderers: Renderers, processes: int, variant: str) -> None:
    missing = [job for job in jobs if job.place not in store.complete]
    if min(processes, len(missing)) > 1:
        renderers.let_go()
        made = rendered_by_processes(missing, processes, store.layout.size, variant)
    else:
        made = (renderers.rendered(job) for job in missing)
    with closing(made):
        for frame in bar(
            made, description="rendering", unit="frame", total=len(jobs), initial=len(jobs) - len(missing)
        ):
            store.write(frame.place, frame.planes, frame.replaced)
