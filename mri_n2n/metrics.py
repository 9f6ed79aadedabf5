"""How good an image is, per image; nothing is averaged, dropped or repaired here."""

import torch
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "b h w"]


def psnr(prediction: Images, reference: Images) -> Float[Tensor, " b"]:
    """The paper's PSNR in dB: both clamped to [-0.5, 0.5], peak 1."""
    error = (prediction.clamp(-0.5, 0.5) - reference.clamp(-0.5, 0.5)).double()
    return -10 * torch.log10(error.square().mean(dim=(1, 2)))


def ssim(prediction: Images, reference: Images) -> Float[Tensor, " b"]:
    """Structural similarity (Gaussian window of 11 pixels, σ = 1.5, data range 1) of the clamped images, by MONAI."""
    from monai.metrics.regression import SSIMMetric

    similarity: Tensor = SSIMMetric(spatial_dims=2, data_range=1.0, reduction="none")(
        prediction.clamp(-0.5, 0.5)[:, None] + 0.5, reference.clamp(-0.5, 0.5)[:, None] + 0.5
    )
    return similarity[:, 0].double()


def nmse(prediction: Images, reference: Images) -> Float[Tensor, " b"]:
    """Squared error divided by the reference's energy, both as intensities in [0, 1]."""
    error = (prediction - reference).double().square().sum(dim=(1, 2))
    return error / (reference.double() + 0.5).square().sum(dim=(1, 2))


def in_8_bit(image: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The image as an 8-bit file would hold it: rounded and clipped; still in [-0.5, 0.5]."""
    return ((image + 0.5) * 255).round().clamp(0, 255) / 255 - 0.5


def quality_of(result: Float[Tensor, "c h w"], reference: Float[Tensor, "c h w"]) -> float:
    """PSNR in dB over all channels, both as 8 bit."""
    return float(psnr(in_8_bit(result).flatten(0, 1)[None], in_8_bit(reference).flatten(0, 1)[None]))
