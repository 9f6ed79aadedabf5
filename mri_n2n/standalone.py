"""A trained network with all that it takes around it, as one module from an array to images.

For programs that know a network by its input and its output: MLflow's models, other frameworks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mri_n2n.kspace.acquisition import Measurement
from mri_n2n.kspace.fourier import Grid, to_kspace
from mri_n2n.measured_kspace import MeasuredKspace, stored_planes
from mri_n2n.recipes import Recipe
from mri_n2n.task import Undersampling, evaluation_generator, undersampled_pair
from mri_n2n.training.task import Predict, TrainingPair, network_output

PARTS = 256  # of one: what the samples of an example are rounded to, so that few digits say them


@dataclass(frozen=True)
class Standalone:
    """A module, two inputs that show what it takes, and what these and its output are, in words."""

    module: nn.Module
    example: Float[Tensor, "2 c h w"]
    input: str
    output: str


class ImagePrediction(nn.Module):
    """From images to images: the network's own prediction."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m h w"]:
        """The prediction, in float32."""
        return network_output(self.network, TrainingPair(image, image))


class KspaceReconstruction(nn.Module):
    """From acquired k-space to images: naive reconstruction, network, and the acquired frequencies put back."""

    def __init__(self, network: nn.Module, predict: Predict[Any], grid: Grid, *, real: bool) -> None:
        super().__init__()
        self.network, self._predict, self._grid, self._real = network, predict, grid, real

    def forward(self, planes: Float[Tensor, "b 3 h k"]) -> Float[Tensor, "b c h w"]:
        """The images of measurements as `stored_planes` gives them."""
        mask = planes[:, 2] > 0
        samples = torch.where(mask, torch.complex(planes[:, 0], planes[:, 1]), 0)
        measurement = Measurement(samples, mask, planes[:, 2].abs(), self._grid, self._real)
        nothing = samples.real.new_zeros((planes.shape[0], *self._grid))
        image: Tensor = self._predict(self.network, undersampled_pair(measurement, nothing))
        return image


def standalone(network: nn.Module, recipe: Recipe[Any], size: Sequence[int]) -> Standalone:
    """An MRI network with the physics that it was trained with. size: height and width of its data."""
    height, width = size
    corruption = recipe.task.corruption
    head = torch.full((2, height, width), -0.5)
    head[:, height // 4 : -height // 4, width // 4 : -width // 4] = 0.25
    if not isinstance(corruption, Undersampling | MeasuredKspace):
        images = "[b, 1, height, width] float32, black -0.5, white 0.5"
        return Standalone(
            ImagePrediction(network), head[:, None], f"noisy images {images}", f"denoised images {images}"
        )
    generators = [evaluation_generator(f"example/{number}") for number in range(2)]
    real = isinstance(corruption, Undersampling)
    if real:
        measurement = corruption.measured(head[:, None], generators)
        kind = "the half plane of a real image (numpy.fft.rfft2, norm='ortho'), black -0.5, white 0.5"
        image = "images [b, 1, height, width] float32, black -0.5, white 0.5"
    else:
        kspace = to_kspace(torch.complex(head + 0.5, torch.zeros_like(head)))
        whole = torch.stack([kspace.real, kspace.imag, torch.ones_like(kspace.real)], dim=1)
        measurement = corruption.measured(whole, generators)
        kind = "the whole plane of a complex image (numpy.fft.fft2, norm='ortho'), black 0, white 1"
        image = "real and imaginary part of images [b, 2, height, width] float32, black 0, white 1"
    module = KspaceReconstruction(network, recipe.task.predict, measurement.grid, real=real)
    planes = stored_planes(measurement)
    planes[:, :2] = (planes[:, :2] * PARTS).round() / PARTS
    said = f"acquired k-space [b, 3, rows, columns] float32, unshifted: real part, imaginary part, density; {kind}. "
    return Standalone(module, planes, said + "Where nothing was acquired the density p(k) is negative.", image)
