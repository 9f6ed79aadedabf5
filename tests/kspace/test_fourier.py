import torch
from hypothesis import given
from hypothesis import strategies as st

from mri_n2n.kspace.fourier import to_image, to_kspace, translated

sizes = st.integers(2, 24)


@given(sizes, sizes)
def test_orthonormal_and_invertible(height: int, width: int) -> None:
    image = torch.randn(2, height, width)
    kspace = to_kspace(image)
    torch.testing.assert_close(kspace.abs().square().sum(), image.square().sum(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(to_image(kspace), image, rtol=1e-4, atol=1e-5)


@given(sizes, sizes)
def test_adjoint(height: int, width: int) -> None:
    image, kspace = torch.randn(1, height, width), torch.randn(1, height, width, dtype=torch.complex64)
    left = (to_kspace(image).conj() * kspace).sum().real
    right = (image * to_image(kspace)).sum()  # the real part of F⁻¹ is the adjoint on real images
    torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)


def test_dc_is_first() -> None:
    kspace = to_kspace(torch.ones(1, 6, 5))
    assert kspace[0, 0, 0].abs() == kspace.abs().max()
    torch.testing.assert_close(kspace[0, 0, 0].real, torch.tensor(30.0).sqrt())


@given(sizes, sizes, st.integers(-30, 30), st.integers(-30, 30))
def test_translation_is_a_roll(height: int, width: int, down: int, right: int) -> None:
    image = torch.randn(1, height, width)
    moved = to_image(translated(to_kspace(image), torch.tensor([[float(down), float(right)]])))
    torch.testing.assert_close(moved, image.roll((down, right), (1, 2)), rtol=1e-3, atol=1e-4)
