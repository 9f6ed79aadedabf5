"""The report of a run on renderings: scores, a table and pictures in a folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from mri_n2n import environment
from mri_n2n.data.selection import evenly_spread
from mri_n2n.drawing import Picture, draw_strips, illustrated
from mri_n2n.durable import check_writable, clear, write_csv, write_json, write_text
from mri_n2n.errors import UsageError
from mri_n2n.illustrations import ILLUSTRATIONS, write_illustrations
from mri_n2n.recipes import described
from mri_n2n.run_directory import Run
from mri_n2n.run_files import ScoreTable
from rendering.baselines import open_image_denoise, open_image_denoise_version
from rendering.denoising import denoiser_of
from rendering.evaluation import INPUT, INTERVAL, NETWORK, Method, evaluate, mean_of, render_of, table, unit_of
from rendering.frames import FrameStore
from rendering.pictures import shown

EXAMPLES = 4
OWN_FILES = ("views.csv", "summary.json", "results.md", "examples.png", ILLUSTRATIONS)
WITH_FEATURES, WITHOUT = "Open Image Denoise", "Open Image Denoise, colour alone"
CAUTION = (
    "Open Image Denoise (Intel, Apache-2.0) was trained by others, on many other scenes and with clean targets: "
    "it is here to say what such training reaches, not to be beaten on equal terms."
)


def open_image_denoise_methods() -> dict[str, Method]:
    """Open Image Denoise with and without albedo and normals. Raises `UsageError` where it is not installed."""
    open_image_denoise_version()
    return {WITHOUT: lambda colour, *_: open_image_denoise(colour), WITH_FEATURES: open_image_denoise}


def example_row(store: FrameStore, row: int, methods: Mapping[str, Method]) -> tuple[str, dict[str, Picture]]:
    """A frame as a row of a picture: rendered, denoised by every method, and its reference."""
    scene, view = next((name, row - own.start) for name, own in store.rows().items() if row in own)
    render = render_of(store, row)
    images = {INPUT: render[0], **{title: method(*render) for title, method in methods.items()}}
    images["reference"] = store.array("reference")[row]
    return f"{scene}, view {view}", {title: shown(radiance) for title, radiance in images.items()}


def report_on_frames(
    run: Run, store: FrameStore, place: Path, device: torch.device, *, baseline: bool = False, overwrite: bool = False
) -> str:
    """Score `run` on the frames of a store, write tables and pictures into `place`; return the table."""
    store.check_complete()
    clear(place, OWN_FILES, overwrite=overwrite, dry_run=True)
    check_writable(place)
    methods: dict[str, Method] = open_image_denoise_methods() if baseline else {}
    methods[NETWORK] = denoiser_of(run, device)
    if store.fingerprint == run.data["fingerprint"]:
        raise UsageError(f"{store.directory} holds the frames that the run was trained on. Score it on others.")
    seen = len(set(store.scene_hashes()) & set(run.data.get("scenes", ())))
    scores = evaluate(store, methods)
    if not scores:
        raise UsageError(f"every reference in {store.directory} is black. Render scenes with light.")
    write_csv(place / "views.csv", [asdict(score) for score in scores])
    titles = list(dict.fromkeys(score.method for score in scores))
    content = {
        "label": run.domain.caution,
        "tested_on": store.fingerprint,
        "scores": asdict(ScoreTable("views.csv", ("scene", "view"), unit_of(scores), ("psnr", "brightness"), NETWORK)),
        "trained_on": run.data["fingerprint"],
        "recipe": described(run.recipe),
        "environment": environment.description(device),
        **run.provenance(),
        "views": len(scores) // len(titles),
        "interval": INTERVAL,
        "methods": {
            title: {metric: asdict(mean_of(scores, [title], metric)) for metric in ("psnr", "brightness")}
            for title in titles
        },
    }
    write_json(place / "summary.json", content)
    text = table(scores)
    caution = f"\n{CAUTION}\n" if baseline else ""
    if seen:
        caution += f"\nOf these scenes {seen} were trained on: what is found here does not hold for others.\n"
    about = f"PSNR of tone-mapped images of {len(scores) // len(titles)} views. Brackets: {INTERVAL}.\n"
    write_text(place / "results.md", f"{run.name}\n\n{text}\n\n{about}{caution}")
    places = evenly_spread(store.layout.frames, min(EXAMPLES, store.layout.frames))
    rows = [example_row(store, row, methods) for row in places]
    draw_strips(place / "examples.png", rows)
    write_illustrations(place, illustrated(rows))
    return text + caution
