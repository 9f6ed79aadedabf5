"""Every operator, for real images (half planes of k-space) and complex ones (whole planes)."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mri_n2n.kspace.acquisition import (
    Measurement,
    acquire,
    density_compensated_adjoint,
    replace_acquired,
    split,
    zero_filled,
)
from mri_n2n.kspace.channels import as_channels, from_channels, magnitude
from mri_n2n.kspace.fourier import to_kspace, whole_plane
from mri_n2n.kspace.sampling import draw_mask, exponential_density, uniform_numbers

sizes = st.integers(4, 20)
both_kinds = pytest.mark.parametrize("real", [True, False])
SIX_SIGMA = 6.0


def some_image(shape: tuple[int, int, int], real: bool) -> torch.Tensor:
    image = torch.rand(shape) - 0.5
    return image if real else torch.complex(image, torch.rand(shape) - 0.5)


def measured(height: int, width: int, real: bool = True, decay: float = 0.3) -> tuple[torch.Tensor, Measurement]:
    image = some_image((3, height, width), real)
    density = exponential_density((height, width), decay)
    mask = draw_mask(density, 3, torch.Generator().manual_seed(3), real=real)
    return image, acquire(to_kspace(image), mask, density, real=real)


@given(sizes, sizes, st.booleans())
@settings(deadline=None)
def test_replacement_is_a_projection(height: int, width: int, real: bool) -> None:
    image, measurement = measured(height, width, real)
    guess = some_image((3, height, width), real)
    once = replace_acquired(guess, measurement)
    torch.testing.assert_close(replace_acquired(once, measurement), once, rtol=1e-4, atol=1e-5)
    # What was acquired is there, and what was right stays: the truth is a fixed point, and no guess moves away from it.
    kept = to_kspace(once)[measurement.mask]
    torch.testing.assert_close(kept, measurement.samples[measurement.mask], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(replace_acquired(image, measurement), image, rtol=1e-4, atol=1e-5)
    after, before = ((each - image).abs().square().sum((1, 2)) for each in (once, guess))
    assert (after <= before + 1e-4).all()


@given(sizes, sizes)
@settings(deadline=None)
def test_the_half_plane_is_the_whole_acquisition(height: int, width: int) -> None:
    """The images are those of the whole masked k-space, whose transform is real."""
    image, measurement = measured(height, width)
    masked = torch.fft.fft2(image, norm="ortho") * whole_plane(measurement.mask, width)
    for kspace, found in (
        (masked, zero_filled(measurement)),
        (masked / whole_plane(measurement.density, width), density_compensated_adjoint(measurement)),
    ):
        expected = torch.fft.ifft2(kspace, norm="ortho")
        assert expected.imag.abs().max() < 1e-4
        torch.testing.assert_close(found, expected.real, rtol=1e-4, atol=1e-4)


@given(sizes, sizes)
@settings(deadline=None)
def test_a_complex_acquisition_is_the_masked_plane(height: int, width: int) -> None:
    """Real and imaginary part are measured under one mask, which has no symmetry; each plane is all of k-space."""
    image, measurement = measured(height, width, real=False)
    masked = torch.fft.fft2(image, norm="ortho") * measurement.mask
    torch.testing.assert_close(zero_filled(measurement), torch.fft.ifft2(masked, norm="ortho"), rtol=1e-4, atol=1e-4)
    compensated = torch.fft.ifft2(masked / measurement.density, norm="ortho")
    torch.testing.assert_close(density_compensated_adjoint(measurement), compensated, rtol=1e-4, atol=1e-4)
    assert torch.equal(measurement.multiplicity, torch.ones(width))


@given(sizes, sizes, st.booleans())
@settings(deadline=None)
def test_the_adjoint_is_the_adjoint(height: int, width: int, real: bool) -> None:
    """⟨W M F x, y⟩ = ⟨x, F⁻¹ M W y⟩ over the whole plane, W = 1/p: with it both naive images are adjoints."""
    image, measurement = measured(height, width, real)
    other = to_kspace(some_image((3, height, width), real))
    for weight, adjoint in ((1, zero_filled), (1 / measurement.density, density_compensated_adjoint)):
        forward = torch.where(measurement.mask, to_kspace(image), 0) * weight
        left = (forward.conj() * other * measurement.multiplicity).sum().real
        again = acquire_like(measurement, other)
        right = (image.conj() * adjoint(again)).sum().real
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-2)


def acquire_like(measurement: Measurement, kspace: torch.Tensor) -> Measurement:
    return replace(measurement, samples=torch.where(measurement.mask, kspace, 0))


@both_kinds
def test_full_sampling_is_the_identity(real: bool) -> None:
    image, measurement = measured(12, 11, real, decay=0.0)
    torch.testing.assert_close(density_compensated_adjoint(measurement), image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(zero_filled(measurement), image, rtol=1e-4, atol=1e-5)


@both_kinds
def test_compensated_adjoint_is_unbiased(real: bool) -> None:
    """E[x̂] = y. False-alarm rate: 120,000 masks, threshold 6 standard errors at any of 99 pixels: below 1e-6."""
    height, width, count = 9, 11, 120_000
    image = some_image((1, height, width), real)
    density = exponential_density((height, width), 0.4)
    mask = draw_mask(density, count, torch.Generator().manual_seed(4), real=real)
    kspace = to_kspace(image)
    measurement = acquire(kspace.expand(count, *kspace.shape[1:]), mask, density, real=real)
    estimates = as_channels(density_compensated_adjoint(measurement)).double()
    error = estimates.mean(0) - as_channels(image)[0].double()
    deviation = estimates.std(0) / count**0.5
    assert (error.abs() < SIX_SIGMA * deviation).all()
    assert (error.abs() < 0.05).all()  # and the test could have seen a wrong weight


def test_masks_of_complex_images_have_no_symmetry() -> None:
    """Each frequency with its probability, and k and -k kept together as often as two independent ones."""
    count, grid = 40_000, (6, 5)
    density = exponential_density(grid, 0.4)
    mask = draw_mask(density, count, torch.Generator().manual_seed(1), real=False).float()
    opposite = mask.flip(1, 2).roll((1, 1), (1, 2))
    for found, expected in ((mask, density), (mask * opposite, density.square())):
        spread = (expected * (1 - expected) / count).sqrt()
        off = (found.mean(0) - expected).abs() <= SIX_SIGMA * spread + 1e-6
        # DC, and of six rows Nyquist's first column, are their own opposites
        own = torch.zeros(grid, dtype=torch.bool)
        own[0, 0] = own[3, 0] = found is not mask
        assert (off | own).all()


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("lines", [torch.linspace(1, 0.2, 6), torch.full((24,), 0.5)])
def test_lines_are_split_whole_and_independently(axis: int, lines: torch.Tensor) -> None:
    """Phase-encode lines, denser in the middle or alike: each goes to either part by p', to both by p'²."""
    count, grid = 40_000, (5, len(lines)) if axis == 1 else (len(lines), 5)
    density = (lines[None, :] if axis == 1 else lines[:, None]).expand(grid)
    uniform = torch.rand((count, *grid), generator=torch.Generator().manual_seed(2)).narrow(axis, 0, 1)
    mask = (uniform < density.narrow(axis - 1, 0, 1)).expand(count, *grid)
    whole = acquire(torch.ones(count, *grid, dtype=torch.complex64), mask, density, real=False)
    numbers = uniform_numbers(grid, count, torch.Generator().manual_seed(3), real=False)
    first, second = split(whole, numbers)
    for part in (first, second):
        assert torch.equal(part.mask, part.mask.narrow(axis, 0, 1).expand(count, *grid))
    assert torch.equal(first.mask | second.mask, whole.mask)
    one, two = (part.mask.narrow(axis, 0, 1).flatten(1).double() for part in (first, second))
    each = (1 - (1 - lines).sqrt()).double()
    for found, expected in ((one, each), (two, each), (one * two, each.square())):
        spread = (expected * (1 - expected) / count).sqrt()
        assert ((found.mean(0) - expected).abs() <= SIX_SIGMA * spread + 1e-6).all()
    # Between different lines, too: nothing that is in the second part can be told from the first.
    cross = (one - each).T @ (two - each) / count
    expected_spread = ((each * (1 - each))[:, None] * (each * (1 - each))[None, :] / count).sqrt()
    assert (cross.abs() <= SIX_SIGMA * expected_spread + 1e-6).all()


def test_a_part_of_every_line_may_be_missing() -> None:
    """Asymmetric echoes: the columns at one end are never acquired, and lines are still split whole."""
    density = torch.linspace(1, 0.5, 8)[:, None].expand(8, 6)
    mask = torch.zeros(50, 8, 6, dtype=torch.bool)
    mask[:, :, :4] = torch.rand(50, 8, 1, generator=torch.Generator().manual_seed(1)) < density[:, :1]
    whole = acquire(torch.ones(50, 8, 6, dtype=torch.complex64), mask, density, real=False)
    for part in split(whole, torch.rand(50, 8, 6)):
        assert torch.equal(part.mask[:, :, :4], part.mask[:, :, :1].expand(50, 8, 4))
        assert 0 < part.mask.sum() < mask.sum()


def test_frequencies_that_are_never_acquired_stay_empty() -> None:
    """A scanner that leaves out the corners: their density is zero, and nothing becomes NaN."""
    image = some_image((2, 8, 8), real=False)
    density = torch.ones(8, 8)
    density[3:6, 3:6] = 0
    mask = (density > 0).expand(2, 8, 8)
    measurement = acquire(to_kspace(image), mask, density, real=False)
    torch.testing.assert_close(density_compensated_adjoint(measurement), zero_filled(measurement))
    first, second = split(measurement, torch.rand(2, 8, 8))
    assert torch.equal(first.mask, mask)
    assert torch.equal(second.mask, mask)
    assert density_compensated_adjoint(first).isfinite().all()


@given(sizes, sizes, st.booleans())
@settings(deadline=None)
def test_channels_are_the_image(height: int, width: int, real: bool) -> None:
    image = some_image((2, height, width), real)
    channels = as_channels(image)
    assert channels.shape == (2, 1 if real else 2, height, width)
    assert torch.equal(from_channels(channels), image)
    assert torch.equal(magnitude(image), image if real else image.abs() - 0.5)
