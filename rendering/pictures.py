"""Radiance as the drawing code takes it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rendering.radiance import Planes, tone_map


def shown(radiance: Planes) -> Float[Tensor, "3 h w"]:
    """The tone-mapped image, in [-0.5, 0.5)."""
    return torch.from_numpy(tone_map(radiance).astype(np.float32) - 0.5)
