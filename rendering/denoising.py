"""Denoising renders of any size with a trained network."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mri_n2n.restoration import restored
from mri_n2n.run_directory import Run
from mri_n2n.standalone import Standalone
from rendering.radiance import Planes
from rendering.recipes import corruption_of, crops_of
from rendering.tasks import Encoding, Radiance, Render


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


class RenderDenoising(nn.Module):
    """From renders to their denoised radiance."""

    def __init__(self, network: nn.Module, encoding: Encoding) -> None:
        super().__init__()
        self.network, self._encoding = network, encoding

    def forward(self, render: Render) -> Radiance:
        """Each render on its own exposure."""
        exposure = self._encoding.exposure(render)
        output: Tensor = self.network(self._encoding.encoded(render, exposure))
        return self._encoding.radiance(output.float(), exposure)


def standalone(run: Run) -> Standalone:
    """A run's network as one module, for renders of its crops' size: `render denoise` takes larger ones, in tiles."""
    side = crops_of(run.recipe).size
    return Standalone(
        RenderDenoising(run.network(), corruption_of(run.recipe).encoding),
        torch.full((2, 9, side, side), 0.25),
        "renders [b, 9, height, width] float32: linear radiance, albedo, normals in the camera's axes",
        "denoised linear radiance [b, 3, height, width] float32",
    )
