from itertools import pairwise

import torch
from torch import nn

from mri_n2n.networks.spec import RED30Spec


def test_thirty_layers_of_128_maps() -> None:
    network = RED30Spec().build()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert [type(layer) for layer in layers] == [nn.Conv2d] * 15 + [nn.ConvTranspose2d] * 15
    inner = 28 * (128 * 128 * 9 + 128)
    assert sum(weight.numel() for weight in network.parameters()) == inner + (3 * 128 * 9 + 128) + (128 * 3 * 9 + 3)


def test_skips_join_every_second_layer_with_its_mirror_image() -> None:
    """With a transposed convolution and all before it cut off, the image is seen where a skip joins at or after."""
    torch.manual_seed(0)
    network = RED30Spec(1, 1, width=8).build()
    image = torch.rand((1, 1, 8, 8), requires_grad=True)
    sensitivities = []
    for layer in network.up[:-1]:
        with torch.no_grad():
            layer.weight.zero_()
        (gradient,) = torch.autograd.grad((network(image) - image).sum(), image)
        sensitivities.append(float(gradient.abs().sum()))
    lost = [before != after for before, after in pairwise(sensitivities)]
    assert lost == [number % 2 == 0 for number in range(2, 15)]  # each odd one's output is a skip's alone, kept
    assert sensitivities[-2] > 0
    assert sensitivities[-1] == 0  # nothing joins at the fourteenth


def test_it_begins_near_the_identity_and_keeps_the_size() -> None:
    torch.manual_seed(0)
    image = torch.rand((2, 3, 17, 23)) - 0.5
    assert (RED30Spec(width=16).build()(image) - image).std() < 0.5 * image.std()
