"""Random numbers addressed by (seed, stream, position): a resumed run draws what an uninterrupted one would."""

import hashlib
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class RandomStreams:
    """All the randomness of one run. `device` is where the drawn tensors will live."""

    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def at(self, stream: str, position: int) -> torch.Generator:
        """A fresh generator for one use, the same for the same (seed, stream, position)."""
        digest = hashlib.blake2b(f"{self.seed}/{stream}/{position}".encode(), digest_size=8).digest()
        return torch.Generator(self.device).manual_seed(int.from_bytes(digest, "big") >> 1)
