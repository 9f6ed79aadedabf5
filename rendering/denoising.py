"""Denoising renders of any size with a trained network."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mri_n2n.restoration import restored
from mri_n2n.run_directory import Run
from rendering.radiance import Planes
from rendering.recipes import corruption_of
from rendering.tasks import Encoding


@dataclass(frozen=True)
class Denoiser:
    """A trained network and how it is spoken to."""

    network: nn.Module
    encoding: Encoding
    device: torch.device

    def __call__(self, colour: Planes, albedo: Planes, normal: Planes) -> Planes:
        """The denoised radiance of a render's planes, each `[3 h w]`, float32; in tiles where it is large."""
        render = torch.from_numpy(np.concatenate([colour, albedo, normal]).astype(np.float32))[None]
        with torch.inference_mode():
            exposure = self.encoding.exposure(render)
            output = restored(self.network, self.encoding.encoded(render, exposure)[0], self.device)
            radiance = self.encoding.radiance(output[None], exposure)
        return np.asarray(radiance[0].numpy())


def denoiser_of(run: Run, device: torch.device) -> Denoiser:
    """A run's network, ready to denoise."""
    return Denoiser(run.network().to(device), corruption_of(run.recipe).encoding, device)
