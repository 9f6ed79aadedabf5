"""A share of all studies, so that several machines work on one folder of them."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mri_n2n.errors import UsageError

TOTAL = "MRI_N2N_SHARDS"


@dataclass(frozen=True)
class Shard:
    """One of `count` shares, counted from 0. Which studies it has depends on their names alone, and not on others."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise UsageError(f"there is no shard {self}: give i/n with i from 0 to n - 1.")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def named(cls, name: str) -> "Shard":
        """The one with this `name`."""
        return _parsed(name.replace("-of-", "/"))

    @property
    def name(self) -> str:
        """As a file name: 2-of-8."""
        return f"{self.number}-of-{self.count}"

    def has(self, study: str) -> bool:
        """Whether the study of this name is this shard's: every study is exactly one's."""
        return int(study, 16) % self.count == self.number


WHOLE = Shard(0, 1)


def chosen_shard(said: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that is asked for as i/n, or else the one that a job array gives to this process; else the whole.

    Kubernetes says the number alone (JOB_COMPLETION_INDEX), so the manifest says how many there are (MRI_N2N_SHARDS);
    with that, Slurm's SLURM_ARRAY_TASK_ID counts from 0, too. Without, Slurm's own count and smallest number are used.
    """
    if said is not None:
        return _parsed(said)
    total = environment.get(TOTAL)
    for variable in ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"):
        number = environment.get(variable)
        if number is not None and total is not None:
            return _parsed(f"{number}/{total}", f" ({variable}/{TOTAL})")
        if number is not None and variable == "SLURM_ARRAY_TASK_ID":
            return _of_slurm(environment)
        if number is not None:
            raise UsageError(
                f"{variable} is set, but not how many there are: set {TOTAL}, or give --shard 0/1 for all."
            )
    return WHOLE


def _of_slurm(environment: Mapping[str, str]) -> Shard:
    asked = [environment.get(f"SLURM_ARRAY_TASK_{name}", "") for name in ("ID", "MIN", "MAX", "COUNT")]
    if not all(text.isdecimal() for text in asked):
        raise UsageError(f"SLURM_ARRAY_TASK_ID is set, but not how many there are: set {TOTAL}, or give --shard i/n.")
    number, least, most, count = map(int, asked)
    if most - least + 1 != count:
        raise UsageError(f"the job array has gaps, which says nothing about shards: set {TOTAL}, or give --shard i/n.")
    return Shard(number - least, count)


def _parsed(said: str, source: str = "") -> Shard:
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", said, re.ASCII)
    if not found:
        raise UsageError(f"there is no shard {said}{source}: give i/n with i from 0 to n - 1, such as 0/4.")
    return Shard(int(found[1]), int(found[2]))
