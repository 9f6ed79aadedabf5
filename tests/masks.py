"""Masks drawn from known densities, for tests."""

import numpy as np
import torch

from mri_n2n.kspace.fourier import whole_plane
from mri_n2n.kspace.sampling import decay_for_acceleration, draw_mask, exponential_density


def points(grid: tuple[int, int], acceleration: float, count: int, seed: int, *, twins: bool) -> np.ndarray:
    """Masks `[draw row column]` of the exponential density; twins: k and -k together, as for real images."""
    density = exponential_density(grid, decay_for_acceleration(grid, acceleration))
    generator = torch.Generator().manual_seed(seed)
    if twins:
        return whole_plane(draw_mask(density, count, generator), grid[1]).numpy()
    return (torch.rand((count, *grid), generator=generator) < density).numpy()


def profile(lines: int, centre: int, outside: float, decay: float) -> np.ndarray:
    """1 in the centre, a·exp(-λ|k|) outside, unshifted."""
    frequency = np.abs(np.fft.fftfreq(lines) * lines)
    return np.where(frequency <= centre // 2, 1.0, outside * np.exp(-decay * (frequency - centre // 2)))


def lines(truth: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Masks `[draw line]`."""
    return np.random.default_rng(seed).random((count, len(truth))) < truth
