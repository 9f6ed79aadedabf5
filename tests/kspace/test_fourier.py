import torch
from hypothesis import given
from hypothesis import strategies as st

from mri_n2n.kspace.fourier import (
    half_plane,
    multiplicity,
    opposite,
    readout_decoded,
    readout_encoded,
    to_image,
    to_kspace,
    translated,
    whole_plane,
)

sizes = st.integers(2, 24)


@given(sizes, sizes)
def test_orthonormal_and_invertible(height: int, width: int) -> None:
    image = torch.randn(2, height, width)
    kspace = to_kspace(image)
    energy = (kspace.abs().square() * multiplicity(width)).sum()
    torch.testing.assert_close(energy, image.square().sum(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(to_image(kspace, (height, width)), image, rtol=1e-4, atol=1e-5)


@given(sizes, sizes)
def test_adjoint(height: int, width: int) -> None:
    """⟨F x, F y⟩ = ⟨x, y⟩ over the whole plane, and so F⁻¹ is F's adjoint."""
    image, other = torch.randn(1, height, width), torch.randn(1, height, width)
    kspace = to_kspace(other)
    left = (to_kspace(image).conj() * kspace * multiplicity(width)).sum().real
    right = (image * to_image(kspace, (height, width))).sum()
    torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)


@given(sizes, sizes, st.integers(-30, 30), st.integers(-30, 30))
def test_of_complex_images_the_whole_plane(height: int, width: int, down: int, right: int) -> None:
    """Orthonormal, invertible, and of a real image what its half plane says; translation is a roll."""
    image = torch.randn(2, height, width, dtype=torch.complex64)
    kspace, grid = to_kspace(image), (height, width)
    torch.testing.assert_close(kspace.norm(), image.norm())
    torch.testing.assert_close(to_image(kspace, grid, real=False), image, rtol=1e-4, atol=1e-5)
    whole = whole_plane(to_kspace(image.real), width)
    torch.testing.assert_close(to_kspace(torch.complex(image.real, 0 * image.imag)), whole, rtol=1e-4, atol=1e-4)
    shift = torch.tensor([[float(down), float(right)]] * 2)
    moved = to_image(translated(kspace, shift, grid), grid, real=False)
    torch.testing.assert_close(moved, image.roll((down, right), (1, 2)), rtol=1e-3, atol=1e-4)


@given(sizes, sizes)
def test_the_half_plane_tells_the_whole(height: int, width: int) -> None:
    image = torch.randn(2, height, width)
    whole = torch.fft.fft2(image, norm="ortho")
    torch.testing.assert_close(to_kspace(image), half_plane(whole), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole_plane(to_kspace(image), width), whole, rtol=1e-4, atol=1e-5)
    counted = whole_plane(torch.ones(1, width // 2 + 1), width).sum()
    assert counted == width == multiplicity(width).sum()


def test_dc_is_first() -> None:
    kspace = to_kspace(torch.ones(1, 6, 5))
    assert kspace[0, 0, 0].abs() == kspace.abs().max()
    torch.testing.assert_close(kspace[0, 0, 0].real, torch.tensor(30.0).sqrt())


@given(sizes, sizes, st.integers(-30, 30), st.integers(-30, 30))
def test_translation_is_a_roll(height: int, width: int, down: int, right: int) -> None:
    image = torch.randn(1, height, width)
    grid = (height, width)
    moved = to_image(translated(to_kspace(image), torch.tensor([[float(down), float(right)]]), grid), grid)
    torch.testing.assert_close(moved, image.roll((down, right), (1, 2)), rtol=1e-3, atol=1e-4)


@given(sizes, sizes)
def test_a_real_image_has_conjugates_at_opposites(height: int, width: int) -> None:
    whole = whole_plane(to_kspace(torch.randn(2, height, width)), width)
    torch.testing.assert_close(opposite(whole).conj(), whole, rtol=1e-4, atol=1e-4)


@given(sizes, sizes)
def test_the_readout_is_unitary_and_its_origin_is_in_the_middle(depth: int, height: int) -> None:
    slices = torch.randn(depth, height, 3, dtype=torch.complex64)
    samples = readout_encoded(slices)
    torch.testing.assert_close(samples.norm(), slices.norm())
    torch.testing.assert_close(readout_decoded(samples), slices, rtol=1e-4, atol=1e-5)
    point = torch.zeros(depth, 1, 1, dtype=torch.complex64)
    point[depth // 2] = 1
    torch.testing.assert_close(readout_encoded(point), torch.full_like(point, depth**-0.5))
