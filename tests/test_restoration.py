import pytest
import torch
from torch import nn

from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import NetworkSpec, RED30Spec, UNetSpec
from mri_n2n.restoration import reach_of, restored

CPU = torch.device("cpu")
SPECS = [UNetSpec(3, 3, width=6), RED30Spec(3, 3, width=4)]


def network_of(spec: NetworkSpec) -> nn.Module:
    torch.manual_seed(0)
    return spec.build().eval()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [(700, 533), (33, 641), (512, 512)])
def test_tiles_leave_no_seam(spec: NetworkSpec, size: tuple[int, int]) -> None:
    network = network_of(spec)
    image = torch.rand((3, *size), generator=torch.Generator().manual_seed(1)) - 0.5
    whole = restored(network, image, CPU, most_values=10**12)
    tiled = restored(network, image, CPU, tile=128, most_values=1)
    assert whole.shape == image.shape
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_the_margin_covers_the_receptive_field(spec: NetworkSpec) -> None:
    """No pixel farther from a 32-pixel tile than the margin has any influence on it."""
    network = network_of(spec)
    margin = reach_of(network).margin
    size = 2 * margin + 96
    image = torch.rand((1, 3, size, size), requires_grad=True)
    network(image)[..., margin + 32 : margin + 64, margin + 32 : margin + 64].square().sum().backward()
    assert image.grad is not None
    seen = image.grad.ne(0).any(dim=1)[0].nonzero()
    assert seen.min() >= 32
    assert seen.max() < size - 32
    assert margin % 32 == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (31, 33)])
@pytest.mark.parametrize("spec", SPECS)
def test_any_size(spec: NetworkSpec, size: tuple[int, int]) -> None:
    assert restored(network_of(spec), torch.zeros((3, *size)), CPU).shape == (3, *size)


def test_a_foreign_network_is_not_tiled() -> None:
    with pytest.raises(UsageError, match="receptive field"):
        restored(nn.Identity(), torch.zeros((3, 64, 64)), CPU, most_values=1)
