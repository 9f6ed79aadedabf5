"""Which classical method a noise is given to."""

import pytest
import torch

from natural_images.noise import Bernoulli, BrownGaussian, Gaussian, Impulses, NoiseModel, Poisson
from natural_images.report import classical


@pytest.mark.parametrize(
    ("noise", "names"),
    [
        (Gaussian(25, 25), ["BM3D"]),
        (BrownGaussian(3), []),
        (Poisson(30, 30), ["Anscombe + BM3D"]),
        (Bernoulli(0.5, 0.5), ["deep image prior"]),
        (Impulses(0.1, 0.1), ["median 3×3"]),
        (Impulses(0.7, 0.7), ["median 5×5"]),
    ],
)
def test_each_noise_has_its_method_or_none(noise: NoiseModel, names: list[str]) -> None:
    assert list(classical(noise, torch.device("cpu"))) == names


def test_a_prior_without_steps_is_left_out() -> None:
    assert not classical(Bernoulli(0.5, 0.5), torch.device("cpu"), prior_steps=0)
