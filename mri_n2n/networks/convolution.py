"""3×3 convolutions in the form that suits the device: the same function of the same weights.

GPUs have fast kernels for many channels side by side. A convolution from or to a few channels becomes a matrix product
there, and the upsampled image before a convolution is never made. docs/results/performance.md has what each is worth.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, linear, pad

FEW = 8  # channels, below which kernels for matrix units work on padding
ALIGNED = 16  # channels that they take at a time
SIDE = 3


def convolved(image: Float[Tensor, "b c h w"], layer: nn.Conv2d) -> Float[Tensor, "b m h w"]:
    """The layer's output."""
    if _has_matrix_units(image) and layer.in_channels < FEW:
        return from_few(image, layer.weight, layer.bias)
    if _has_matrix_units(image) and layer.out_channels < FEW:
        return to_few(image, layer.weight, layer.bias)
    output: Tensor = layer(image)
    return output


def upsampled_and_convolved(
    small: Float[Tensor, "b d h2 w2"], skip: Float[Tensor, "b s h w"], layer: nn.Conv2d
) -> Float[Tensor, "b m h w"]:
    """The layer's output for the small image, each of its pixels made four, and the skip's channels behind it."""
    if _has_matrix_units(small):
        deep, shallow = layer.weight[:, : small.shape[1]], layer.weight[:, small.shape[1] :]
        shallow_part = from_few if skip.shape[1] < FEW else same_convolution
        return upsampling_convolution(small, deep) + shallow_part(skip, shallow, layer.bias)
    output: Tensor = layer(torch.cat([interpolate(small, scale_factor=2, mode="nearest"), skip], dim=1))
    return output


def same_convolution(
    image: Float[Tensor, "b c h w"], weight: Float[Tensor, "m c 3 3"], bias: Float[Tensor, " m"] | None
) -> Float[Tensor, "b m h w"]:
    """The plain convolution, zero outside of the image."""
    return conv2d(image, weight, bias, padding=1)


def upsampling_convolution(
    small: Float[Tensor, "b c h2 w2"], weight: Float[Tensor, "m c 3 3"]
) -> Float[Tensor, "b m h w"]:
    """The convolution of an image of twice the size, in which every pixel of the small one is four alike.

    Upsampling puts a pixel's value into a square of two by two; to convolve that is to put 4×4 values around it, at a
    distance of two: 16 products per pixel of the small image and not 36.
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    squares = [pad(turned, (column, 1 - column, row, 1 - row)) for row in (0, 1) for column in (0, 1)]
    kernel = torch.stack(squares).sum(0).contiguous(memory_format=torch.channels_last)
    return conv_transpose2d(small, kernel, stride=2, padding=1)


def from_few(
    image: Float[Tensor, "b c h w"], weight: Float[Tensor, "m c 3 3"], bias: Float[Tensor, " m"] | None
) -> Float[Tensor, "b m h w"]:
    """The plain convolution as a product of every pixel's neighbourhood with the weights."""
    height, width = image.shape[-2:]
    wide = pad(image, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    moved = [wide[:, row : row + height, column : column + width] for row in range(SIDE) for column in range(SIDE)]
    neighbourhoods = torch.stack(moved, dim=-1).flatten(3)
    missing = -neighbourhoods.shape[-1] % ALIGNED
    product = linear(pad(neighbourhoods, (0, missing)), pad(weight.flatten(1), (0, missing)), bias)
    return product.permute(0, 3, 1, 2)


def to_few(
    image: Float[Tensor, "b c h w"], weight: Float[Tensor, "m c 3 3"], bias: Float[Tensor, " m"] | None
) -> Float[Tensor, "b m h w"]:
    """The plain convolution as products of every pixel with each of the nine weights, moved and added.

    The sum is one of float32 numbers, if not of longer ones.
    """
    height, width = image.shape[-2:]
    channels = weight.shape[0]
    ninefold = weight.permute(0, 2, 3, 1).flatten(0, 2)
    product = linear(image.permute(0, 2, 3, 1), pad(ninefold, (0, 0, 0, -len(ninefold) % ALIGNED)))
    longer = torch.promote_types(product.dtype, torch.float32)
    parts = product[..., : len(ninefold)].to(longer).reshape(*product.shape[:3], channels, SIDE * SIDE)
    wide = pad(parts, (0, 0, 0, 0, 1, 1, 1, 1))
    output = torch.zeros(channels, device=image.device) if bias is None else bias
    for place in range(SIDE * SIDE):
        row, column = divmod(place, SIDE)
        output = output + wide[:, row : row + height, column : column + width, :, place]
    return output.permute(0, 3, 1, 2)


def _has_matrix_units(image: Tensor) -> bool:
    return image.is_cuda
