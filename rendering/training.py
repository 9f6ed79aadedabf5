"""Training on frames: how runs are begun, fed and watched over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mri_n2n.data.selection import evenly_spread
from mri_n2n.drawing import Picture, draw_strips, illustrated
from mri_n2n.errors import UsageError
from mri_n2n.illustrations import Illustration, Watch, watching
from mri_n2n.recipes import Recipe
from mri_n2n.run_directory import Run, create_run
from mri_n2n.runs import run_training
from mri_n2n.scores import as_metrics
from mri_n2n.training.world import ALONE, World
from rendering.crops import FrameLoader, check_fit
from rendering.denoising import Denoiser
from rendering.evaluation import INPUT, NETWORK, evaluate, mean_of, render_of
from rendering.frames import FrameStore
from rendering.pictures import shown
from rendering.recipes import RENDERINGS, corruption_of, crops_of

HELD_OUT_SCENES, HELD_OUT_VIEWS = 10, 8  # one scene in so many, or of a single scene one view in so many
MONITORED, DRAWN = 16, 3


@dataclass(frozen=True)
class Split:
    """Frames to train on, rows of one store, and others to watch over it, rows of the same or of another."""

    training: tuple[int, ...]
    watched: FrameStore
    held_out: tuple[int, ...]
    about: str


def split(store: FrameStore, validation: FrameStore | None = None) -> Split:
    """All frames for training where there are others for validation; else the last scenes are held out.

    Of a single scene it is the last views.
    """
    everything = tuple(range(store.layout.frames))
    if validation is not None:
        held_out = tuple(range(validation.layout.frames))
        return Split(everything, validation, held_out, f"{len(validation.rows())} other scenes")
    scenes = list(store.rows().values())
    if len(everything) < 2:
        raise UsageError(f"{store.directory} has one frame, expected two at least: one is held out. Render more views.")
    if len(scenes) > 1:
        last = max(1, len(scenes) // HELD_OUT_SCENES)
        first, about = scenes[-last].start, f"{last} of {len(scenes)} scenes"
    else:
        last = max(1, len(everything) // HELD_OUT_VIEWS)
        first, about = len(everything) - last, f"{last} of {len(everything)} views of the only scene"
    return Split(everything[:first], store, everything[first:], about)


def frames_to_train_on(directory: Path, recipe: Recipe[Any]) -> FrameStore:
    """A store that has what a recipe needs. Raises `UsageError` if it is not complete, or has too little."""
    store = FrameStore.open(directory)
    store.check_complete()
    check_fit(crops_of(recipe), store.layout.size)
    targets = corruption_of(recipe).targets
    if targets == "clean" and not store.layout.reference:
        raise UsageError(f"{directory} has no references for clean targets. Render with --reference-spp 1024.")
    if targets == "noisy" and store.layout.replicates < 2:
        raise UsageError(f"{directory} has one render of each view, noisy targets need two. Add --targets clean.")
    return store


def create_frames_run(
    directory: Path,
    recipe: Recipe[Any],
    store: FrameStore,
    device: torch.device,
    *,
    validation: FrameStore | None = None,
    overwrite: bool = False,
) -> Run:
    """A new run on the frames of a store."""
    parts = split(store, validation)
    place = {"path": str(store.directory.resolve())} if validation is None else {}  # else an experiment goes on with it
    about = place | {
        "scenes": store.scene_hashes(),
        "fingerprint": store.fingerprint,
        "training_frames": len(parts.training),
        "held_out_frames": len(parts.held_out),
        "held_out": parts.about,
        "spp": store.manifest.get("request", {}).get("spp"),
    }
    return create_run(directory, recipe, about, device, RENDERINGS, overwrite=overwrite)


def train_on_frames(
    run: Run,
    store: FrameStore,
    device: torch.device,
    *,
    validation: FrameStore | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
    track: bool = True,
    world: World = ALONE,
    report: Watch | None = None,
) -> bool:
    """Train `run` on the frames it was begun with; see `run_training`."""
    run.check_data(store.fingerprint)
    recipe, parts = run.recipe, split(store, validation)
    clean = corruption_of(recipe).targets == "clean"
    batch_size = recipe.optimisation.batch_size
    loader = FrameLoader(
        store, parts.training, crops_of(recipe), batch_size, recipe.seed, device, reference=clean, world=world
    )

    def monitor(network: nn.Module) -> FrameMonitor:
        return FrameMonitor(run, parts.watched, parts.held_out, network, device, world)

    with loader:
        return run_training(
            run,
            loader,
            monitor,
            device,
            resume=resume,
            save_seconds=save_seconds,
            track=track,
            world=world,
            watch=watching(report),
        )


class FrameMonitor:
    """Scores some held-out frames while training, and draws a few of them: always the same ones.

    Where the store has no references, nothing is scored and the second render is drawn in their place.
    """

    def __init__(
        self,
        run: Run,
        store: FrameStore,
        held_out: Sequence[int],
        network: nn.Module,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self.latest = "not measured"
        self._run, self._store, self._world = run, store, world
        self._rows = [held_out[place] for place in evenly_spread(len(held_out), min(MONITORED, len(held_out)))]
        self._denoise = Denoiser(network, corruption_of(run.recipe).encoding, device)

    def assess(self, step: int, *, draw: bool) -> dict[str, float]:
        """Mean PSNR of inputs and network with its interval, and the network's brightness."""
        if draw and self._world.leads:
            draw_strips(self._run.examples_path(step), [("", images) for images in self._images()])
        if not self._store.layout.reference:
            return {}
        scores = evaluate(self._store, {NETWORK: self._denoise}, self._rows, quiet=True)
        if not scores:
            return {}
        quality = {method: mean_of(scores, [method]) for method in (INPUT, NETWORK)}
        self.latest = f"{quality[NETWORK].mean:.2f} dB"
        brightness = mean_of(scores, [NETWORK], "brightness").mean
        return as_metrics(quality) | {f"validation/brightness/{NETWORK}": brightness}

    def examples(self) -> list[Illustration]:
        """The frames that are drawn, as they are denoised now."""
        rows = [(f"held-out frame {number}", images) for number, images in enumerate(self._images(), 1)]
        return illustrated(rows, judged=bool(self._store.layout.reference))

    def _images(self) -> list[dict[str, Picture]]:
        rows = []
        for row in self._rows[:DRAWN]:
            render = render_of(self._store, row)
            last = "reference" if self._store.layout.reference else "another render"
            other = self._store.array("reference")[row] if last == "reference" else self._store.array("colour")[row, -1]
            pictures = {INPUT: render[0], NETWORK: self._denoise(*render), last: other}
            rows.append({title: shown(radiance) for title, radiance in pictures.items()})
        return rows
