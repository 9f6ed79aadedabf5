"""Running the flight of Fig 8: rendered once, then learnt from frame by frame with each kind of target. It goes on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mri_n2n import environment
from mri_n2n.durable import read_json, write_csv, write_json, write_text
from mri_n2n.intervals import Estimate, estimate
from mri_n2n.parent_run import announce_experiment
from mri_n2n.progress import say
from mri_n2n.run_directory import Run, check_own, check_same_recipe, create_run, open_run
from pipelines.experiments import tell_tracker
from pipelines.figures import Curve, Panel, draw_curves
from pipelines.paper.fig8 import ARMS, LAST, SCORED, SPP
from pipelines.paper.renderings import RenderingScale
from pipelines.rendering_experiments import Studio, slug
from rendering.evaluation import INPUT, NETWORK
from rendering.flights import PARTS, planned_flight
from rendering.flythrough import Flight, FlightRequest, stored
from rendering.frames import FrameStore
from rendering.online import BOTH, keep_pictures, online_recipe, train_online, write_video
from rendering.production import FrameRequest
from rendering.recipes import RENDERINGS
from rendering.renderer import Renderer, chosen_variant, seed_of

TIMED = 3  # frames


def run_flight(scale: RenderingScale, studio: Studio, scene: Path, folder: Path) -> str | None:
    """Render a flight, learn from it frame by frame with noisy and with clean targets, write table, curves and video.

    Returns the text of results.md, or None if a signal stopped a training: the same call then goes on with it.
    """
    check_own(folder)
    announce_experiment(folder)
    variant = chosen_variant(studio.variant)
    asked = FlightRequest(scale.flight_size, SPP, scale.reference_spp, SCORED, scale.flight_clean_spp)
    flight = planned_flight(scene, None, scale.frames, asked, variant)
    ways = {"flight": flight.poses, "scored": flight.poses[::SCORED]}
    for name, poses in ways.items():
        write_json(folder / f"{name}.json", [asdict(pose) for pose in poses])
    request = FrameRequest(1, 2, SPP, scale.flight_clean_spp, scale.flight_size, seed=3)
    store = studio.rendered(scene, request, "flight", folder / "flight.json")
    to_score = FrameRequest(1, 1, 1, scale.reference_spp, scale.flight_size, seed=4)  # its one render is not used
    references = studio.rendered(scene, to_score, "flight-scored", folder / "scored.json")
    source = stored(store, references, SCORED)
    trained: dict[str, list[Run]] = {}
    for title, targets in ARMS.items():
        for seed in scale.seeds:
            recipe = online_recipe(
                scale.frames, targets=targets, crop=scale.crop, width=scale.width, seed=seed, rate=scale.rate
            )
            directory = folder / f"{slug(title)}-seed-{seed}"
            say(f"{directory.name}:")
            if (directory / "run.json").exists():
                run = open_run(directory, RENDERINGS)
                check_same_recipe(run, recipe)
            else:
                about = {"fingerprint": store.fingerprint, "scene": flight.scene.name, "frames": scale.frames}
                run = create_run(directory, recipe, about, studio.device, RENDERINGS)
            run.check_data(store.fingerprint)
            begun = run.state_path.exists()
            if not train_online(run, source, studio.device, resume=begun, watch=keep_pictures(run)):
                return None
            trained.setdefault(title, []).append(run)
    seconds = _seconds(flight, variant, store, studio.device)
    text = _results(trained, scale, flight, seconds, store)
    rows = [
        {"targets": title, "seed": run.recipe.seed, "frame": SCORED * frame, "method": name, "psnr": value[1]}
        for title, runs in trained.items()
        for run in runs
        for name in (INPUT, BOTH, NETWORK)
        for frame, value in enumerate(run.metric(f"online/psnr/{name}"))
    ]
    write_csv(folder / "frames.csv", rows)
    _draw(trained, folder / "fig8.png")
    write_video(trained["noisy targets"][0])
    write_text(folder / "results.md", text)
    tell_tracker(folder, folder)
    return text


def _seconds(flight: Flight, variant: str, store: FrameStore, device: torch.device) -> dict[str, Any]:
    """The seconds that a noisy and a clean target take to render, and on what; kept beside the frames."""
    hardware = environment.description(device)["hardware"]
    kept = store.directory.with_name(store.directory.name + "-seconds.json")
    if kept.exists():
        found: dict[str, Any] = read_json(kept, "record of seconds")
        if found.get("hardware") == hardware:
            return found
    renderer = Renderer(flight.scene.path, flight.request.size, variant)
    poses = flight.poses[:TIMED]
    renderer.colour(poses[0], SPP, 0)  # compiles
    seconds: dict[str, Any] = {"hardware": hardware}
    for name, spp in (("noisy", SPP), ("clean", flight.request.clean_spp)):
        began = time.monotonic()
        for place, pose in enumerate(poses):
            renderer.colour(pose, spp, seed_of("seconds", name, place))
        seconds[name] = (time.monotonic() - began) / len(poses)
    write_json(kept, seconds)
    return seconds


def _courses(runs: Sequence[Run], name: str) -> NDArray[Any]:
    """PSNR of every frame that is scored, `[seed, frame]`."""
    return np.array([[value for _, value in run.metric(f"online/psnr/{name}")] for run in runs])


def _over_frames(values: NDArray[Any]) -> Estimate:
    """The mean over the end of the flight, with its interval over frames; `[seed, frame]`."""
    last = range(int(values.shape[1] * (1 - LAST)), values.shape[1])
    return estimate([(str(frame), float(own)) for frame in last for own in values[:, frame]])


def _results(
    trained: Mapping[str, Sequence[Run]],
    scale: RenderingScale,
    flight: Flight,
    seconds: Mapping[str, Any],
    store: FrameStore,
) -> str:
    lines = ["# fig8", "", *([scale.caution, ""] if scale.caution else [])]
    lines += ["| method | first quarter, dB | last quarter, dB |", "| --- | --- | --- |"]
    runs = next(iter(trained.values()))
    known = {name: _courses(runs, name) for name in (INPUT, BOTH)}
    known |= {title: _courses(own, NETWORK) for title, own in trained.items()}
    for title, values in known.items():
        early = values[:, : max(1, int(values.shape[1] * LAST))]
        lines.append(f"| {title} | {fmean(early.ravel()):.2f} | {_over_frames(values)} |")
    noisy, clean = (known[title] for title in ARMS)
    lines += ["", "| difference in the last quarter | dB |", "| --- | --- |"]
    for name, gap in (
        ("noisy targets − clean targets", noisy - clean),
        ("noisy targets − input", noisy - known[INPUT]),
        ("noisy targets − mean of both", noisy - known[BOTH]),
    ):
        lines.append(f"| {name} | {_over_frames(gap):+.2f} |")
    parts = {name: fmean(v for run in runs for _, v in run.metric(f"seconds/{name}")) for name in PARTS}
    height, width = flight.request.size
    where = runs[0].environment
    return "\n".join(
        [
            *lines,
            "",
            f"A noisy target ({SPP} samples per pixel) takes {seconds['noisy']:.2f} s to render, a clean one "
            f"({scale.flight_clean_spp}) {seconds['clean']:.2f} s: {seconds['clean'] / seconds['noisy']:.0f} times as "
            f"long. Per frame training takes {parts['train']:.2f} s, denoising both renders {parts['denoise']:.2f} s.",
            "",
            f"{flight.scene.name}, {scale.frames} frames of {width}×{height}, eight steps of one crop of {scale.crop} "
            f"each, width {scale.width}, rate {scale.rate:g}, {len(scale.seeds)} seeds. Brackets: 95 % bootstrap over "
            f"frames. PSNR of tone-mapped images at every {SCORED}th frame, against {scale.reference_spp} samples per "
            f"pixel that no target has. On {where['hardware']} (torch {where['torch']}). Pixels that the renderer left "
            f"without a number: {store.counted('replaced')}; values clamped: {store.counted('clamped')}.",
            "",
        ]
    )


def _draw(trained: Mapping[str, Sequence[Run]], path: Path) -> None:
    curves = []
    for title, runs in trained.items():
        values = _courses(runs, NETWORK)
        frames = [SCORED * frame for frame in range(values.shape[1])]
        curves.append(Curve(title, frames, values.mean(axis=0), values.min(axis=0), values.max(axis=0)))
    first = next(iter(trained.values()))[0]
    for name in (INPUT, BOTH):
        values = _courses([first], name)
        curves.append(Curve(name, [SCORED * frame for frame in range(values.shape[1])], values[0], style="dashed"))
    panel = Panel("a flight through one scene", "frame", "PSNR, dB", curves)
    draw_curves(path, [panel], "PSNR of tone-mapped images while training online; bands: all seeds.")
