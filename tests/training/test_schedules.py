import math

import pytest

from mri_n2n.errors import UsageError
from mri_n2n.training.schedules import RampedRate


def test_published_shape() -> None:
    """§A.2, in epochs of 300: up exp(-5(1-t)²) over 10, down exp(-(e/2)²/30) over the last 30, β₁ to 0.5."""
    schedule = RampedRate()
    assert schedule.rate(0.0) == pytest.approx(1e-3 * math.exp(-5))
    assert schedule.rate(5 / 300) == pytest.approx(1e-3 * math.exp(-5 / 4))
    for epoch in (10, 150, 270):
        assert schedule.rate(epoch / 300) == pytest.approx(1e-3)
        assert schedule.momentum(epoch / 300) == pytest.approx(0.9)
    assert schedule.rate(280 / 300) == pytest.approx(1e-3 * math.exp(-(5**2) / 30))
    assert schedule.rate(1.0) == pytest.approx(1e-3 * math.exp(-7.5))
    assert schedule.momentum(1.0) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("wrong", [{"peak": 0.0}, {"peak": -1.0}, {"ramp_down": 1.5}, {"ramp_up": -0.1}])
def test_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must|shares"):
        RampedRate(**wrong)


def test_no_ramps() -> None:
    schedule = RampedRate(peak=1.0, ramp_up=0.0, ramp_down=0.0)
    assert [schedule.rate(progress) for progress in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
