import math

import pytest
import torch

from mri_n2n.metrics import nmse, psnr, ssim


def test_psnr_by_hand() -> None:
    reference = torch.zeros(2, 16, 16)
    prediction = torch.stack([torch.full((16, 16), 0.1), torch.full((16, 16), 5.0)])  # 5 is clamped to 0.5
    torch.testing.assert_close(
        psnr(prediction, reference), torch.tensor([20.0, 20 * math.log10(2)], dtype=torch.double)
    )


def test_ssim_knows_order() -> None:
    reference = torch.rand(1, 32, 32) - 0.5
    noise = torch.randn(1, 32, 32)
    values = [float(ssim(reference + sigma * noise, reference)) for sigma in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values[0] > values[1] > values[2]


def test_nmse_is_relative_to_the_intensity() -> None:
    reference = torch.full((1, 8, 8), 0.3)  # intensity 0.8
    assert float(nmse(reference + 0.08, reference)) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("metric", [psnr, ssim, nmse])
def test_nan_is_never_dropped(metric) -> None:
    prediction = torch.zeros(3, 16, 16)
    prediction[1, 4, 4] = math.nan
    values = metric(prediction, torch.rand(3, 16, 16) - 0.5)
    assert values.shape == (3,)
    assert values.isnan().tolist() == [False, True, False]
