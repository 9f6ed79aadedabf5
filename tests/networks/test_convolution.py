"""The forms of a convolution are the same function: outputs and gradients, to rounding."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from mri_n2n.networks import convolution
from mri_n2n.networks.convolution import from_few, to_few, upsampling_convolution
from mri_n2n.networks.unet import UNet

sides = st.integers(1, 9)
few = st.integers(1, 7)


def with_gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """The output, and the gradients of a sum with fixed weights over it."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), leaves)]


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(sum(shape) for shape in shapes))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def plain(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return conv2d(image, weight, bias, padding=1)


@given(sides, sides, few, st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_from_few_channels(height: int, width: int, inputs: int, outputs: int) -> None:
    given_ = drawn((2, inputs, height, width), (outputs, inputs, 3, 3), (outputs,))
    torch.testing.assert_close(with_gradients(from_few, given_), with_gradients(plain, given_), rtol=1e-4, atol=1e-4)


@given(sides, sides, st.integers(1, 20), few)
@settings(max_examples=20, deadline=None)
def test_to_few_channels(height: int, width: int, inputs: int, outputs: int) -> None:
    given_ = drawn((2, inputs, height, width), (outputs, inputs, 3, 3), (outputs,))
    torch.testing.assert_close(with_gradients(to_few, given_), with_gradients(plain, given_), rtol=1e-4, atol=1e-4)


@given(sides, sides, st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_upsampling_convolution(height: int, width: int, inputs: int, outputs: int) -> None:
    def upsampled(small: Tensor, weight: Tensor) -> Tensor:
        return conv2d(interpolate(small, scale_factor=2, mode="nearest"), weight, padding=1)

    given_ = drawn((2, inputs, height, width), (outputs, inputs, 3, 3))
    one, other = with_gradients(upsampling_convolution, given_), with_gradients(upsampled, given_)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def unets(channels: int, like: Tensor) -> Callable[[bool], list[Tensor]]:
    """Output and gradients of one U-Net on one image, by the plain forms or those for matrix units."""
    torch.manual_seed(0)
    network = UNet(channels, channels, width=12).to(like)
    image = (torch.rand(2, channels, 63, 64) - 0.5).to(like)

    def answer(matrix_units: bool) -> list[Tensor]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "_has_matrix_units", lambda _: matrix_units)
            output = network(image)
            loss = output.square().mean()
            return [output.detach(), *torch.autograd.grad(loss, list(network.parameters()))]

    return answer


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_the_same_in_every_form(channels: int) -> None:
    answer = unets(channels, torch.zeros((), dtype=torch.float64))
    for plain_one, other in zip(answer(False), answer(True), strict=True):
        torch.testing.assert_close(plain_one, other)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_the_same_in_every_form_on_a_gpu(channels: int) -> None:
    answer = unets(channels, torch.zeros((), device="cuda"))
    for plain_one, other in zip(answer(False), answer(True), strict=True):
        assert float((plain_one - other).norm()) <= 1e-2 * float(plain_one.norm())  # cuDNN works in TF32
