"""What is drawn for a network that restores photographs: two independent corruptions of one image."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from mri_n2n.training.task import Batch, TrainingPair
from natural_images.noise import NoiseModel, drawn_levels

Targets = Literal["noisy", "clean"]


@dataclass(frozen=True, slots=True)
class CorruptedPair(TrainingPair):
    """A training pair, and where its target was replaced or lost (None: nowhere, or everywhere a little)."""

    target_corrupted: Bool[Tensor, "b 1 h w"] | None = None


@dataclass(frozen=True)
class SyntheticNoise:
    """Corrupts each clean image twice, independently; with clean targets once.

    The level (σ, λ, p) is drawn anew for each image. With `one_level` both sides of a pair have the same one, as
    where p is "randomized separately for each pair" (§3.2, impulses); else each side has its own. `target_noise` is the
    noise of noisy targets where it is another one than the input's.
    """

    noise: NoiseModel
    targets: Targets = "noisy"
    one_level: bool = False
    target_noise: NoiseModel | None = None

    def __call__(self, batch: Batch, generator: Generator) -> CorruptedPair:
        """Draw the pair. The batch holds one clean image `[1 c h w]` per row."""
        clean = batch.images[:, 0]
        levels = drawn_levels(self.noise, len(clean), generator)
        first = self.noise(clean, levels, generator)
        if self.targets == "clean":
            return CorruptedPair(first.image, clean)
        other = self.target_noise or self.noise
        if not self.one_level:
            levels = drawn_levels(other, len(clean), generator)
        second = other(clean, levels, generator)
        return CorruptedPair(first.image, second.image, second.corrupted)


@dataclass(frozen=True)
class StoredRealisations:
    """Pairs of realisations that were captured once and are never drawn anew: real exposures, or a capture budget.

    "noisy" targets: any two different realisations of the image, in either order. "clean" targets: the first
    realisation, and the mean of all others (Fig 1c, case 1).
    """

    targets: Targets = "noisy"

    def __call__(self, batch: Batch, generator: Generator) -> TrainingPair:
        """Pick the pair. The batch holds the realisations `[s c h w]` of each row, two at least."""
        images = batch.images
        count, stored = images.shape[:2]
        if self.targets == "clean":
            return TrainingPair(images[:, 0], images[:, 1:].mean(dim=1))
        uniform = torch.rand((count, stored), generator=generator, device=images.device)
        chosen = uniform.argsort(dim=1)
        which = torch.arange(count, device=images.device)
        return TrainingPair(images[which, chosen[:, 0]], images[which, chosen[:, 1]])
