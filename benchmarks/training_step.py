"""Where a training step's time goes, and how close the network comes to the machine's matrix product.

    python -m benchmarks.training_step [--size 256] [--batch-size 16] [--repeats 3] [--device cpu] [--output FILE]

Times are medians in seconds. The network's time is forward, backward and Adam on the paper's U-Net (channels last);
the rest is what the project adds around it: drawing the pair, replacement and loss (forward and backward), and one
record per ten steps. The matrix product is 4096×4096 in float32, in the same process. MONAI's BasicUNet is widened
until a forward pass takes at least as many floating-point operations as ours.
"""

import argparse
import json
import statistics
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mri_n2n import environment
from mri_n2n.networks.unet import UNet
from mri_n2n.run_directory import Journal
from mri_n2n.runs import LOG_EVERY
from mri_n2n.task import Undersampling, data_consistent
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch
from mri_n2n.training.trainer import adam


def measure(size: int, batch_size: int, repeats: int, device: torch.device) -> dict[str, Any]:
    """All measurements, as JSON."""
    images = torch.rand((batch_size, 1, size, size)) - 0.5
    batch = Batch(images.to(device), torch.arange(batch_size))
    corruption, streams = Undersampling(acceleration=10.0, edge_probability=None), RandomStreams(0, device)
    pair = corruption(batch, streams.at("corruption", 0))
    output = pair.target.clone().requires_grad_()

    def consistency_and_loss() -> None:
        prediction = data_consistent(_Given(output), pair)
        torch.autograd.backward(SquaredError()(prediction, pair, progress=0.0).mean())

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "metrics.jsonl")
        parts = {
            "corruption": _seconds(lambda: corruption(batch, streams.at("corruption", 1)), repeats * 3, device),
            "replacement_and_loss": _seconds(consistency_and_loss, repeats * 3, device),
            "logging": _seconds(lambda: journal.write(1, environment.load(device)), repeats * 3, device) / LOG_EVERY,
        }
    result: dict[str, Any] = {
        "grid": list(pair.input.shape[-2:]),
        "batch_size": batch_size,
        "environment": environment.description(device),
        "matrix_product_gflops": _matrix_product(repeats, device),
    }
    ours = UNet().to(device)
    target = _forward_flops(ours, size, device)
    candidates = {
        "unet": ours,
        "monai_basic_unet": _basic_unet(target, size, device),
    }
    for name, network in candidates.items():
        seconds = _seconds(_step(network, pair.input, pair.target), repeats, device)
        forward = _forward_flops(network, size, device)
        result[name] = {
            "seconds_per_step": seconds,
            "images_per_second": batch_size / seconds,
            "forward_gflop_per_image": forward / 1e9,
            "training_gflops": 3 * forward * batch_size / seconds / 1e9,
            "share_of_matrix_product": 3 * forward * batch_size / seconds / 1e9 / result["matrix_product_gflops"],
        }
    network_seconds = result["unet"]["seconds_per_step"]
    result["around_the_network"] = parts | {"share_of_network_time": sum(parts.values()) / network_seconds}
    return result


class _Given(nn.Module):
    """A 'network' with a given output, to time what lies around it."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        del image
        return self.output


def _step(network: nn.Module, image: Tensor, target: Tensor) -> Callable[[], None]:
    optimiser = adam(network)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward((network(image) - target).square().mean())
        optimiser.step()

    return step


def _seconds(function: Callable[[], Any], repeats: int, device: torch.device) -> float:
    function()  # warm up
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _matrix_product(repeats: int, device: torch.device, size: int = 4096) -> float:
    a, b = (torch.rand((size, size), device=device) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: a @ b, repeats, device) / 1e9


def _forward_flops(network: nn.Module, size: int, device: torch.device) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros((1, 1, size, size), device=device))
    return int(counter.get_total_flops())


def _basic_unet(target: int, size: int, device: torch.device) -> nn.Module:
    from monai.networks.nets import BasicUNet

    def build(width: int) -> nn.Module:
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        network: nn.Module = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=features)
        return _Cropping(network).to(device)

    widths = range(8, 96, 2)
    above = bisect_left(widths, target, key=lambda width: _forward_flops(build(width), size, device))
    return build(widths[above])


class _Cropping(nn.Module):
    """Pads to a multiple of 32 and crops back, as ours does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = nn.functional.pad(image, (0, -width % 32, 0, -height % 32), value=-0.5)
        output: Tensor = self.network(padded)
        return output[..., :height, :width]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = environment.chosen_device(arguments.device)
    text = json.dumps(measure(arguments.size, arguments.batch_size, arguments.repeats, device), indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
