"""The same work by others' means, in one process: their networks, their loop, the way the published code feeds.

    python -m benchmarks.peers [--size 256] [--batch-size 16] [--repeats 3] [--device auto] [--precision fp32]
                               [--output FILE]

Networks are widened until a forward pass takes at least as many floating-point operations as ours; each is trained
(forward, backward, Adam) on the same pairs in the same precision, in whichever order of memory (channels first or last)
suits it better. The loops run one small network on ready pairs, so that what is timed is the loop. The feeds draw the
same pairs: ours a batch at a time, the naive one image by image in numpy behind a DataLoader.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mri_n2n import environment
from mri_n2n.kspace.sampling import decay_for_edge, exponential_density
from mri_n2n.networks.unet import UNet
from mri_n2n.task import Undersampling
from mri_n2n.training.losses import SquaredError
from mri_n2n.training.schedules import RampedRate
from mri_n2n.training.seeding import RandomStreams
from mri_n2n.training.task import Batch, Task, TrainingPair
from mri_n2n.training.trainer import Request, TrainingPlan, TrainState, adam, train
from pipelines.benchmark.stopwatch import Timing, forward_flops, matrix_rates, timed
from pipelines.benchmark.workload import Workload, rate_for

ORDERS = (torch.contiguous_format, torch.channels_last)
LOOP_STEPS = 50
LOOP_SIZE = 32


def measure(work: Workload) -> dict[str, Any]:
    """All comparisons, as JSON."""
    rates = matrix_rates(work.device)
    return {
        "environment": environment.description(work.device),
        "size": work.size,
        "batch_size": work.batch_size,
        "precision": "bf16" if work.bf16 else "fp32",
        "matrix_product_gflops": rates,
        "networks": networks(work, rate_for(rates, bf16=work.bf16)),
        "loops": loops(work),
        "feeds": feeds(work),
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown: the networks, the loops, the feeds."""
    head = ("network", "GFLOP forward", *("slices/s", "GFLOP/s", "of the matrix product") * 2)
    lines = ["Training, then inference:", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for name, own in result["networks"].items():
        rates = " | ".join(
            f"{part['slices_per_second']:.2f} | {part['gflops']:.0f} | {part['share_of_matrix_product']:.0%}"
            for part in (own["training"], own["inference"])
        )
        lines.append(f"| {name} | {own['forward_gflop_per_slice']:.1f} | {rates} |")
    lines += ["", "| loop | ms per step of a small network |", "| --- | --- |"]
    for name, own in result["loops"].items():
        low, middle, high = (own["milliseconds_per_step"][part] for part in ("low", "median", "high"))
        lines.append(f"| {name} | {middle:.2f} [{low:.2f}, {high:.2f}] |")
    lines += ["", "| feed | pairs per second |", "| --- | --- |"]
    lines += [f"| {name} | {own['slices_per_second']:.0f} |" for name, own in result["feeds"].items()]
    return "\n".join(lines)


def networks(work: Workload, rate: float) -> dict[str, Any]:
    """Training steps and inference of our U-Net and of others."""
    ours = UNet()
    least = forward_flops(ours, torch.zeros(1, 1, work.size, work.size))
    candidates = {
        "ours": ours,
        "MONAI BasicUNet": _widened(_basic_unet, least, work.size),
        "fastMRI-style U-Net": _widened(FastMRIUNet, least, work.size),
    }
    image, target = (torch.rand((work.batch_size, 1, work.size, work.size), device=work.device) for _ in range(2))
    result: dict[str, dict[str, Any]] = {}
    for name, candidate in candidates.items():
        operations = forward_flops(candidate, image[:1].cpu())  # in its plain form: a GPU may take fewer
        candidate.to(work.device)
        each = []
        for order in ORDERS:
            candidate.to(memory_format=order)  # type: ignore[call-overload]
            each.append(_seconds(work, candidate, image, target))
        seconds = {what: min((one[what] for one in each), key=lambda timing: timing.median) for what in each[0]}
        result[name] = {"forward_gflop_per_slice": operations / 1e9}
        for what, factor in (("training", 3), ("inference", 1)):
            gflops = factor * operations * work.batch_size / seconds[what].median / 1e9
            result[name][what] = {
                "seconds": asdict(seconds[what]),
                "slices_per_second": work.batch_size / seconds[what].median,
                "gflops": gflops,
                "share_of_matrix_product": gflops / rate,
            }
    return result


def _seconds(work: Workload, network: nn.Module, image: Tensor, target: Tensor) -> dict[str, Timing]:
    """Of a training step, and of a forward pass."""
    network.train()
    step = timed(_step(network, image, target, work.bf16), work.repeats, work.device)
    network.eval()
    with torch.inference_mode(), torch.autocast(work.device.type, torch.bfloat16, enabled=work.bf16):
        return {"training": step, "inference": timed(partial(network, image), work.repeats, work.device)}


def loops(work: Workload) -> dict[str, Any]:
    """Milliseconds per step of our loop and of MONAI's, around the same network and pairs."""
    pair = TrainingPair(*(torch.rand((2, 1, LOOP_SIZE, LOOP_SIZE), device=work.device) for _ in range(2)))

    def our_loop() -> None:
        network = UNet(width=6).to(work.device)
        plan = TrainingPlan(
            Task(lambda *_: pair, SquaredError()),
            lambda _: Batch(pair.input[:, None], torch.arange(2)),
            LOOP_STEPS,
            RampedRate(),
            RandomStreams(0, work.device),
        )
        train(
            TrainState(network, adam(network)),
            plan,
            record=lambda *_: None,
            evaluate=lambda _: None,
            save=lambda: None,
            poll=lambda _: Request.GO_ON,
        )

    def monais_loop() -> None:
        from monai.engines import SupervisedTrainer

        network = UNet(width=6).to(work.device)
        batches = list(repeat({"image": pair.input, "label": pair.target}, LOOP_STEPS))
        SupervisedTrainer(
            device=work.device,
            max_epochs=1,
            train_data_loader=batches,
            network=network,
            optimizer=adam(network),
            loss_function=nn.MSELoss(),
            decollate=False,
        ).run()

    return {
        name: {"milliseconds_per_step": _scaled(timed(loop, work.repeats, work.device), 1e3 / LOOP_STEPS)}
        for name, loop in {"ours": our_loop, "MONAI SupervisedTrainer": monais_loop}.items()
    }


def feeds(work: Workload) -> dict[str, Any]:
    """Slices per second that become training pairs on the device."""
    images = torch.rand((work.batch_size, 1, work.size - 1, work.size - 1)) - 0.5
    batch = Batch(images.to(work.device), torch.arange(work.batch_size))
    draw, streams = Undersampling(), RandomStreams(0, work.device)
    naive = DataLoader(NaivePairs(images[:, 0].numpy()), batch_size=work.batch_size)

    def fed() -> None:
        for pair in naive:
            for side in pair:
                side.to(work.device)

    both = {"ours": lambda: draw(batch, streams.at("corruption", 0)), "naive": fed}
    return {
        name: {"slices_per_second": work.batch_size / timed(feed, work.repeats, work.device).median}
        for name, feed in both.items()
    }


def _scaled(timing: Timing, factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in asdict(timing).items()}


class NaivePairs(Dataset[tuple[NDArray[np.float32], NDArray[np.float32]]]):
    """Pairs as the published code draws them, one image at a time: our own wording of that way of feeding."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._images = images
        height, width = images.shape[1:]
        self._density = exponential_density((height, width), decay_for_edge((height, width), 0.025)).double().numpy()
        flat = np.arange(height * width).reshape(height, width)
        self._pairs = np.minimum(flat, np.roll(flat[::-1, ::-1], (1, 1), (0, 1)))
        self._rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        moved = np.roll(self._images[place], self._rng.integers(-64, 65, 2), (0, 1))
        spectrum = np.fft.fft2(moved)
        return self._measured(spectrum), self._measured(spectrum)

    def _measured(self, spectrum: NDArray[np.complex128]) -> NDArray[np.float32]:
        uniform = self._rng.random(spectrum.size)[self._pairs]
        kept = np.where(uniform < self._density, spectrum / self._density, 0)
        return np.fft.ifft2(kept).real.astype(np.float32)[None]


class FastMRIUNet(nn.Module):
    """A U-Net as the users of fastMRI train it: instance norms, doubling widths, four pools, learnt upsampling."""

    POOLS = 4

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(self.POOLS + 1)]
        self.down = nn.ModuleList(_block(i, o) for i, o in zip([1, *widths[:-1]], widths, strict=True))
        deeper = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2, bias=False) for i, o in deeper)
        self.after = nn.ModuleList(_block(i, o) for i, o in deeper)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """The output, of the input's size."""
        skips = []
        x = self.down[0](image)
        for block in list(self.down)[1:]:
            skips.append(x)
            x = block(nn.functional.avg_pool2d(x, 2))
        for up, after in zip(self.up, self.after, strict=True):
            x = after(torch.cat([up(x), skips.pop()], dim=1))
        output: Tensor = self.last(x)
        return output


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.InstanceNorm2d(outputs)]
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers)


def _basic_unet(width: int) -> nn.Module:
    from monai.networks.nets import BasicUNet

    features = (width, width, 2 * width, 4 * width, 8 * width, width)
    network: nn.Module = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=features)
    return network


def _widened(build: Callable[[int], nn.Module], least: int, size: int) -> nn.Module:
    """The narrowest network with at least so many operations."""
    image = torch.zeros(1, 1, size, size)
    widths = range(8, 96, 2)
    return build(widths[bisect_left(widths, least, key=lambda width: forward_flops(build(width), image))])


def _step(network: nn.Module, image: Tensor, target: Tensor, bf16: bool) -> Callable[[], None]:
    optimiser = adam(network)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
            output = network(image)
        torch.autograd.backward((output.float() - target).square().mean())
        optimiser.step()

    return step


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    bf16 = arguments.precision == "bf16"
    device = environment.chosen_device(arguments.device)
    work = Workload(arguments.size, arguments.batch_size, arguments.repeats, bf16=bf16, device=device)
    result = measure(work)
    print(table(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
