"""Several processes that train one network: who is who, what they share out, what they agree on."""

import atexit
import gc
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed.nn  # before a group is made: its defaults would hold the group for ever
from torch import Tensor, distributed, nn

from mri_n2n.errors import UsageError

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees it: alone, unless `torchrun` started several.

    All of them call the same methods in the same order: most wait for the others.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes, draws and talks."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """This process's part of every batch. The parts are equal: only so is the mean of their means the whole's."""
        if batch_size % self.size:
            raise UsageError(
                f"a batch of {batch_size} cannot be shared equally by {self.size} processes. Choose a --batch-size "
                f"that is a multiple of {self.size}."
            )
        part = batch_size // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def stream(self, name: str) -> str:
        """The random stream that is this process's own: its part of a batch is corrupted unlike the others'."""
        return name if self.leads else f"{name}/{self.rank}"

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network as it is to be called while training: its gradients are the means over all processes."""
        if self.size == 1:
            return network
        # Weights of one channel have two ways to say the same strides, and torch warns of a copy where there is none.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return nn.parallel.DistributedDataParallel(network)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, element by element."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
            values /= self.size
        return values

    def most(self, value: int) -> int:
        """The largest of all processes' values: what one of them asks for, all do."""
        if self.size == 1:
            return value
        held = torch.tensor(value)
        distributed.all_reduce(held, distributed.ReduceOp.MAX)
        return int(held)

    def mapped(self, function: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """`function` of every item, in order; each process computes a part, all have the result.

        A `UsageError` of one is raised by all: none waits for what does not come.
        """
        if self.size == 1:
            return [function(item) for item in items]
        gathered = self._gathered(lambda: [function(item) for item in items[self.rank :: self.size]])
        return list(chain.from_iterable(zip_longest(*gathered)))[: len(items)]

    def first(self, make: Callable[[], T], find: Callable[[], T]) -> T:
        """What one process makes, and the others find once it is made; its `UsageError` is raised by all."""
        if self.size == 1:
            return make()
        made: list[T] = []
        self._gathered(lambda: made.append(make()) if self.leads else None)
        return made[0] if made else find()

    def _gathered(self, own: Callable[[], Any]) -> list[Any]:
        """What the function gives in each process, in all of them."""
        try:
            result: tuple[Any, str | None] = own(), None
        except UsageError as error:
            result = None, str(error)
        gathered: list[tuple[Any, str | None]] = [result] * self.size
        distributed.all_gather_object(gathered, result)
        if trouble := next((error for _, error in gathered if error is not None), None):
            raise UsageError(trouble)
        return [values for values, _ in gathered]


ALONE = World()


def joined(device: torch.device) -> tuple[World, torch.device]:
    """The world that `torchrun` started this process in, if it did, and the device that is this process's."""
    if not distributed.is_torchelastic_launched():
        return ALONE, device
    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise UsageError(f"process {local} of this machine has no GPU: torch sees {torch.cuda.device_count()}.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    atexit.register(left)
    return world, device


def left() -> None:
    """End the group's threads: one that is at work while Python ends would abort the process."""
    gc.collect()  # networks that trained in parallel hold the group
    if distributed.is_initialized():
        distributed.destroy_process_group()
