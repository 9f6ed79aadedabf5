"""Learning rate and momentum over a run, as functions of its progress."""

import math
from dataclasses import dataclass

from mri_n2n.errors import UsageError


@dataclass(frozen=True)
class RampedRate:
    """Smooth ramp-up, constant, smooth ramp-down.

    The defaults are the published MRI configuration: of 300 epochs the first 10 ramp up as exp(-5(1-t)²), the
    last 30 ramp down as exp(-(e/2)²/30), e in epochs, while Adam's β₁ goes from 0.9 to 0.5. Here both are shares of
    the run, so that short runs keep the shape.
    """

    peak: float = 1e-3
    ramp_up: float = 10 / 300
    ramp_down: float = 30 / 300
    first_momentum: float = 0.9
    last_momentum: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.peak < math.inf:
            raise UsageError(f"the learning rate must be positive, got {self.peak:g}.")
        if not (0 <= self.ramp_up <= 1 and 0 <= self.ramp_down <= 1):
            raise UsageError(f"ramps are shares of the run in [0, 1], got {self.ramp_up:g} and {self.ramp_down:g}.")

    def rate(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1]."""
        return self.peak * self._up(progress) * self._down(progress)

    def momentum(self, progress: float) -> float:
        """Adam's β₁ at `progress` in [0, 1]."""
        down = self._down(progress)
        return down * self.first_momentum + (1 - down) * self.last_momentum

    def _up(self, progress: float) -> float:
        if progress >= self.ramp_up:
            return 1.0
        return math.exp(-5 * (1 - progress / self.ramp_up) ** 2)

    def _down(self, progress: float) -> float:
        begin = 1 - self.ramp_down
        if progress <= begin:
            return 1.0
        epochs = 30 * (progress - begin) / self.ramp_down
        return math.exp(-((epochs / 2) ** 2) / 30)
