"""The classical baseline: compressed sensing with total variation, by sigpy."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mri_n2n.kspace.acquisition import Measurement
from mri_n2n.kspace.fourier import whole_plane


@dataclass(frozen=True)
class TotalVariation:
    """min over x of ½‖M(Fx − y)‖² + λ TV(x), for images in [0, 1], by sigpy's primal-dual method.

    The defaults were chosen on training slices of the 2 mm IXI volumes at 10 % (benchmarks/baselines.py): more
    iterations go on helping, at 0.4 s per hundred and slice.
    """

    weight: float = 0.01
    iterations: int = 200

    def __call__(self, measurement: Measurement) -> Float[Tensor, "b h w"]:
        """One image per measurement, in [-0.5, 0.5]; on the CPU."""
        _, width = measurement.grid
        kspace, masks = whole_plane(measurement.samples, width), whole_plane(measurement.mask, width)
        images = [self._solve(samples, mask) for samples, mask in zip(kspace, masks, strict=True)]
        return torch.stack(images).to(measurement.samples.device)

    def _solve(self, samples: Tensor, mask: Tensor) -> Tensor:
        from sigpy.mri.app import TotalVariationRecon

        kspace = samples.cpu().numpy().astype(np.complex64)
        kspace[0, 0] += 0.5 * np.sqrt(kspace.size)  # from [-0.5, 0.5] to [0, 1]: DC alone
        centred = np.fft.fftshift(kspace)[None]  # sigpy's transform has DC in the middle and coils in front
        weights = np.fft.fftshift(mask.cpu().numpy()).astype(np.float32)[None]
        image = TotalVariationRecon(
            centred,
            np.ones_like(centred),
            self.weight,
            weights=weights,
            max_iter=self.iterations,
            show_pbar=False,
            sigma=1.0,
            tau=1 / 9,  # ‖MF‖² + ‖gradient‖² ≤ 1 + 8; sigpy would estimate it from random numbers
        ).run()
        return torch.from_numpy(np.fft.ifftshift(image).real.astype(np.float32) - 0.5)
