"""Which rows of a data set make up which batch, and how they reach the device."""

from functools import lru_cache

import torch
from torch import Tensor

from mri_n2n.training.seeding import RandomStreams


def batch_rows(step: int, batch_size: int, population: int, seed: int) -> Tensor:
    """The rows of one step: consecutive places in an endless chain of permutations of range(population), one per epoch.

    Every image is seen once per epoch, whatever the batch size, and a step's rows depend on nothing but the arguments.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    return torch.stack([_permutation(place // population, population, seed)[place % population] for place in places])


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A GPU takes it through pinned memory, without which the CPU would wait for the step."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


@lru_cache(maxsize=4)
def _permutation(epoch: int, population: int, seed: int) -> Tensor:
    return torch.randperm(population, generator=RandomStreams(seed).at("batches", epoch))
