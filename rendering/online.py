"""Training while the camera flies: each frame is learnt from, then shown denoised (§3.3, Fig 8)."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mri_n2n.durable import replacing
from mri_n2n.errors import UsageError
from mri_n2n.overlap import Overlap
from mri_n2n.recipes import Recipe
from mri_n2n.run_directory import Run
from mri_n2n.runs import run_training
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from rendering.crops import check_fit, cropped
from rendering.denoising import Denoiser
from rendering.evaluation import INPUT, NETWORK, psnr
from rendering.flythrough import Shot, Source
from rendering.radiance import Planes, in_8_bit, tone_map
from rendering.recipes import corruption_of, crops_of, rendering_recipe, rendering_task
from rendering.tasks import ALBEDO, COLOUR, NORMAL, Encoding, Targets

STEPS = 8  # per frame (§3.3)
BOTH = "mean of both"
VIDEO = "flythrough.webp"
MILLISECONDS = 100  # that a frame of the video is shown
GAP = 4  # pixels between pictures


def online_recipe(
    frames: int,
    *,
    targets: Targets = "noisy",
    encoding: Encoding | None = None,
    crop: int = 256,
    width: int = 48,
    seed: int = 0,
    rate: float = 3e-4,
) -> Recipe[Any]:
    """Eight steps of one crop per frame, at a constant rate: nobody knows when a flight ends."""
    if frames < 1:
        raise UsageError(f"--frames is at least 1, got {frames}.")
    task = rendering_task(encoding, targets)
    return rendering_recipe(
        task, STEPS * frames, crop=crop, batch_size=1, width=width, rate=rate, ramp_down=0.0, seed=seed
    )


def train_online(
    run: Run,
    source: Source,
    device: torch.device,
    *,
    resume: bool = False,
    save_seconds: float = 60.0,
    track: bool = True,
    watch: Callable[[int, Shot, Planes], None] | None = None,
) -> bool:
    """Train `run` (of an `online_recipe`) frame by frame; return whether it got to the end of its flight.

    `source` is called in a thread of its own, one frame ahead of what is learnt from. After a frame's steps both of its
    renders are denoised and averaged: `watch` gets the frame's number, what was rendered, and that radiance `[3 h w]`.
    In metrics.jsonl each frame leaves the seconds of its parts and, where it has a reference, PSNRs.
    """
    frames = run.recipe.optimisation.steps // STEPS
    with FlightCrops(source, frames, run.recipe, device) as load:

        def monitor(network: nn.Module) -> Viewer:
            return Viewer(load, Denoiser(network, corruption_of(run.recipe).encoding, device), watch)

        return run_training(
            run,
            load,
            monitor,
            device,
            resume=resume,
            save_seconds=save_seconds,
            track=track,
            evaluate_every=STEPS,
        )


class FlightCrops:
    """Batches of one crop of the frame that the camera is at. The next frame is made meanwhile."""

    def __init__(self, source: Source, frames: int, recipe: Recipe[Any], device: torch.device) -> None:
        self._source, self._frames, self._device = source, frames, device
        self._crops = crops_of(recipe)
        self._clean = corruption_of(recipe).targets == "clean"
        self._streams = RandomStreams(recipe.seed)
        self._overlap = Overlap(1)
        self._coming: Iterator[tuple[int, Callable[[], Shot]]] | None = None
        self.frame, self.shot = -1, Shot(np.zeros(0), 0.0)
        self.waited, self.since = 0.0, time.monotonic()

    def __enter__(self) -> "FlightCrops":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._overlap.__exit__(kind, error, trace)

    def __call__(self, step: int) -> Batch:
        """A crop of the frame of a step, `[1 2 9 h w]`; with clean targets its clean render last."""
        if step // STEPS != self.frame:
            self._advance(step // STEPS)
        renders, clean = self.shot.renders, self.shot.clean if self._clean else None
        if self._clean and clean is None:
            raise UsageError(f"frame {self.frame} has no clean target. Give every frame one.")
        check_fit(self._crops, renders.shape[-2:])
        crop = cropped([renders], clean, self._crops, self._streams.at("crop", step))
        return Batch(torch.from_numpy(crop[None]).to(self._device), torch.tensor([self.frame]))

    def _advance(self, frame: int) -> None:
        began = time.monotonic()
        if self._coming is None or frame != self.frame + 1:
            self._coming = self._overlap.ahead(self._source, range(frame, self._frames))
        self.frame, wait = next(self._coming)
        self.shot = wait()
        self.since = time.monotonic()
        self.waited = self.since - began


class Viewer:
    """Shows what the camera sees now, denoised by what was learnt until now."""

    def __init__(
        self, frames: FlightCrops, denoise: Denoiser, watch: Callable[[int, Shot, Planes], None] | None = None
    ) -> None:
        self.latest = "not measured"
        self._frames, self._denoise, self._watch = frames, denoise, watch

    def assess(self, step: int, *, draw: bool) -> dict[str, float]:
        """Denoise both renders of the frame and average them; the seconds of its parts, and PSNRs."""
        del draw
        if step == 0:
            return {}
        began, shot = time.monotonic(), self._frames.shot
        results = [self._denoise(one[COLOUR], one[ALBEDO], one[NORMAL]) for one in shot.renders]
        result = np.mean(results, axis=0)
        seconds = {
            "seconds/render": shot.seconds,
            "seconds/wait": self._frames.waited,
            "seconds/train": began - self._frames.since,
            "seconds/denoise": time.monotonic() - began,
        }
        if self._watch is not None:
            self._watch(self._frames.frame, shot, result)
        if shot.reference is None:
            return seconds
        colours = shot.renders[:, COLOUR]
        shown = {INPUT: colours[0], BOTH: colours.mean(axis=0), NETWORK: result}
        quality = {f"online/psnr/{name}": psnr(radiance, shot.reference) for name, radiance in shown.items()}
        self.latest = f"{quality[f'online/psnr/{NETWORK}']:.2f} dB"
        return quality | seconds


def keep_pictures(run: Run) -> Callable[[int, Shot, Planes], None]:
    """A watcher that keeps frames with a reference as pictures: noisy, denoised and reference beside each other."""
    folder = run.examples_path(0).parent

    def watch(frame: int, shot: Shot, result: Planes) -> None:
        if shot.reference is None:
            return
        pictures = [_pixels(planes) for planes in (shot.renders[0, COLOUR], result, shot.reference)]
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"frame-{frame:05d}.png") as temporary:
            Image.fromarray(np.concatenate(pictures, axis=1)[:, :-GAP]).save(temporary, "png")

    return watch


def write_video(run: Run) -> Path | None:
    """An animated image of the pictures that were kept; None if there are none."""
    folder = run.examples_path(0).parent
    paths = sorted(folder.glob("frame-*.png"))
    if not paths:
        return None
    images = [Image.open(path).convert("RGB") for path in paths]
    with replacing(folder / VIDEO) as temporary:
        images[0].save(
            temporary, "webp", save_all=True, append_images=images[1:], duration=MILLISECONDS, loop=0, quality=80
        )
    return folder / VIDEO


def _pixels(radiance: Planes) -> NDArray[np.uint8]:
    return np.pad(in_8_bit(tone_map(radiance)), ((0, 0), (0, GAP), (0, 0)), constant_values=255)
