"""Which frequencies a scan keeps: the sampling density p(k) and masks drawn from it."""

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from mri_n2n.errors import UsageError
from mri_n2n.kspace.fourier import CPU, Grid, half_plane, indices, opposite

SMALLEST = 1e-9  # rarer frequencies are never seen, and their weight 1/p drowns everything


@lru_cache(maxsize=32)
def radius(grid: Grid) -> Float[Tensor, "h w"]:
    """Euclidean distance from DC of every frequency, in index units, unshifted."""
    rows, columns = (indices(size).double() for size in grid)
    return torch.hypot(rows[:, None], columns[None, :])


@lru_cache(maxsize=32)
def exponential_density(grid: Grid, decay: float, device: torch.device = CPU) -> Float[Tensor, "h w"]:
    """p(k) = exp(-λ|k|) (§3.4): the probability that a frequency is kept; 1 at DC. Shared: do not change."""
    density = torch.exp(-decay * radius(grid))
    if float(density.min()) < SMALLEST:
        raise UsageError(
            f"impossible sampling: on a {grid[0]}×{grid[1]} grid the corners of k-space would never be kept "
            f"(p = {float(density.min()):.1e}). Ask for less acceleration, or a higher edge probability."
        )
    return density.float().to(device)


def decay_for_edge(grid: Grid, edge_probability: float) -> float:
    """The λ for which p is `edge_probability` at the end of the longer axis; the published run has 0.025 on 255×255."""
    if not 0 < edge_probability <= 1:
        raise UsageError(f"edge probability must lie in (0, 1], got {edge_probability:g}.")
    return -math.log(edge_probability) / max(max(grid) // 2, 1)


@lru_cache(maxsize=32)
def decay_for_acceleration(grid: Grid, acceleration: float) -> float:
    """The λ that keeps the share 1/acceleration of all frequencies in expectation, exactly, on this grid."""
    if not acceleration >= 1:
        raise UsageError(f"acceleration must be at least 1 (1 keeps everything), got {acceleration:g}.")
    pixels = grid[0] * grid[1]
    if acceleration >= pixels / 2:  # DC alone is always kept, and something beside it must be
        raise UsageError(
            f"acceleration {acceleration:g} is impossible on a {grid[0]}×{grid[1]} grid: ask for less than "
            f"{pixels // 2}."
        )
    if acceleration == 1:
        return 0.0
    return decay_for_share(radius(grid), 1 / acceleration)


def decay_for_share(distance: Float[Tensor, "h w"], share: float) -> float:
    """The λ for which exp(-λ|k|) is `share` in the mean of these distances; share: less than 1."""
    from scipy.optimize import brentq  # slow to import, and a density is often stated

    return float(brentq(lambda decay: float(torch.exp(-decay * distance).mean()) - share, 0.0, 20.0, xtol=1e-12))


def check_sampling(acceleration: float | None, edge_probability: float | None) -> None:
    """Raise unless exactly one of the two is given, and possible."""
    if (acceleration is None) == (edge_probability is None):
        raise UsageError("give either an acceleration or an edge probability, not both and not neither.")
    if acceleration is not None and not acceleration >= 1:
        raise UsageError(f"acceleration must be at least 1 (1 keeps everything), got {acceleration:g}.")
    if edge_probability is not None:
        decay_for_edge((2, 2), edge_probability)


def decay_for(grid: Grid, acceleration: float | None, edge_probability: float | None) -> float:
    """λ on `grid` for whichever of the two is given."""
    if acceleration is not None:
        return decay_for_acceleration(grid, acceleration)
    assert edge_probability is not None
    return decay_for_edge(grid, edge_probability)


def draw_mask(
    density: Float[Tensor, "h w"], count: int, generator: Generator, *, real: bool = True
) -> Bool[Tensor, "b h k"]:
    """Draw `count` independent masks: P(k kept) = density(k) exactly. Half planes for real images, else whole ones.

    One uniform number decides on each frequency of complex images, and on each conjugate pair of real ones. For these
    the density must be symmetric, as any function of |k| is. It must live on the generator's device.
    """
    height, width = density.shape
    uniform = uniform_numbers((height, width), count, generator, real=real)
    return uniform < (half_plane(density) if real else density)


def uniform_numbers(grid: Grid, count: int, generator: Generator, *, real: bool) -> Float[Tensor, "b h k"]:
    """What decides on masks: uniform numbers in [0, 1), for real images half planes that are the same for k and -k."""
    if real:
        return pair_uniform(grid, count, generator)
    return torch.rand((count, *grid), generator=generator, device=generator.device)


def shared_as_acquired(
    uniform: Float[Tensor, "b h w"], density: Float[Tensor, "#b h w"], mask: Bool[Tensor, "b h w"]
) -> Float[Tensor, "b h w"]:
    """The numbers, made the same wherever one draw decided on what was acquired.

    That is along every line of k-space for scans of whole lines. These are told by a mask that is one of rows and of
    columns (a part of every line may be missing) and a density that is constant along the lines, but for where it is 0.
    Where it is constant everywhere, lines are columns if all rows were acquired that could be. And it is at k and -k
    for scans of points that acquired both or neither: few lines are alike on both sides by chance, and were chosen one
    by one all the same.
    """
    height, width = mask.shape[-2:]
    rows, columns = mask.any(dim=2), mask.any(dim=1)
    of_lines = _everywhere(mask == rows[:, :, None] & columns[:, None, :])  # as that of everything is
    of_pairs = _everywhere(mask == opposite(mask)) & ~of_lines
    places = torch.arange(height * width, device=mask.device).reshape(height, width)
    paired = torch.where(places <= opposite(places), uniform, opposite(uniform))
    uniform = torch.where(of_pairs[:, None, None], paired, uniform)
    never = density == 0
    along_rows, along_columns = (_everywhere(never | (density == density.amax(axis, keepdim=True))) for axis in (2, 1))
    all_rows, all_columns = ((lines | never.all(dim=axis)).all(dim=1) for lines, axis in ((rows, 2), (columns, 1)))
    upright = along_columns & (~along_rows | (all_rows & ~all_columns))
    for axis, lines in ((1, of_lines & upright), (2, of_lines & along_rows & ~upright)):
        uniform = torch.where(lines[:, None, None], uniform.narrow(axis, 0, 1), uniform)
    return uniform


def pair_uniform(grid: Grid, count: int, generator: Generator) -> Float[Tensor, "b h k"]:
    """Half planes of uniform numbers in [0, 1), the same for k and -k, on the generator's device.

    Within the half plane both ends of a pair lie in the columns of DC and, of even widths, Nyquist, each in the
    opposite row; a frequency that is its own opposite is a pair of one.
    """
    height, width = grid
    uniform = torch.rand((count, height, width // 2 + 1), generator=generator, device=generator.device)
    shared = _first_of_pair(height, generator.device)
    for column in (0, width // 2) if width % 2 == 0 else (0,):
        uniform[:, :, column] = uniform[:, shared, column]
    return uniform


@lru_cache(maxsize=32)
def _first_of_pair(height: int, device: torch.device) -> Int[Tensor, " h"]:
    """For every row the smaller of the rows k and -k."""
    rows = torch.arange(height)
    return torch.minimum(rows, -rows % height).to(device)


def _everywhere(found: Bool[Tensor, "b h w"]) -> Bool[Tensor, " b"]:
    whole: Tensor = found.all(dim=2).all(dim=1)
    return whole
