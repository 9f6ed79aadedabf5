"""Phases and receive coils: simulated ones, and the combination of the coils' images."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Generator, Tensor

WAVES, PERIODS = 6, 1.0  # of the phase: how many, and the most of them across the field of view


def smooth_phase(shape: tuple[int, int, int], generator: Generator) -> Complex[Tensor, "n h w"]:
    """A random smooth phase of magnitude 1: a few cosines across the field of view, up to a turn or so in all."""
    axes = [torch.arange(size) / size for size in shape]
    radians = torch.zeros(shape)
    for _ in range(WAVES):
        turns = (2 * torch.rand(3, generator=generator) - 1) * PERIODS
        amplitude, start = (float(number) for number in torch.rand(2, generator=generator) * math.tau)
        along = [turn * axis for turn, axis in zip(turns, axes, strict=True)]
        place = along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :]
        radians += amplitude / WAVES * torch.cos(math.tau * place + start)
    return torch.polar(torch.ones(shape), radians)


def ring_sensitivities(coils: int, shape: tuple[int, int, int]) -> Complex[Tensor, "c n h w"]:
    """Sensitivities of coils on a ring around the third axis, each with a phase; their squares add up to 1."""
    rows, columns = (torch.linspace(-1, 1, size) for size in shape[1:])
    angles = torch.arange(coils) * math.tau / coils
    distance = (rows[None, :, None] - 1.2 * angles.cos()[:, None, None]).square() + (
        columns[None, None, :] - 1.2 * angles.sin()[:, None, None]
    ).square()
    profile = torch.exp(-distance / 2)
    profile = profile / profile.square().sum(0).sqrt()
    phases = angles[:, None, None] + 0.5 * distance
    return torch.polar(profile, phases)[:, None].expand(coils, *shape)


def root_sum_of_squares(images: Complex[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
    """The coils' images combined into magnitudes."""
    combined: Tensor = torch.linalg.vector_norm(images, dim=1)
    return combined
