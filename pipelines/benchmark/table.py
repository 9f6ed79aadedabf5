"""The numbers of `mri-n2n benchmark` as a table."""

from collections.abc import Mapping
from typing import Any


def table(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| what | measured |", "| --- | --- |"]
    where = result["environment"]
    lines.append(f"| on | {where['hardware']}, torch {where['torch']}, {result['precision']} |")
    rates = ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in result["matrix_product_gflops"].items())
    lines.append(f"| matrix product | {rates} |")
    lines.append(f"| copy within memory | {result['memory_gigabytes_per_second']:,.0f} GB/s |")
    if part := result.get("train"):
        lines += _trained("training", "slices", part)
        lines += [f"| – {name} | {_seconds(timing)} |" for name, timing in part["stages"].items()]
        lines += [
            f"| all but the network | {part['share_around_the_network']:.1%} of the stages |",
            f"| with slices read from disk | {part['streamed_speed']:.0%} of that speed |",
        ]
    if part := result.get("photographs"):
        lines += _trained("photographs", "colour crops", part)
    if part := result.get("reconstruct"):
        lines += [
            f"| inference | {part['network_slices_per_second']:.1f} slices/s, {part['network_gflops']:,.0f} GFLOP/s, "
            f"{part['network_share_of_matrix_product']:.0%} of the matrix product |",
            f"| volume {'×'.join(map(str, part['volume']))}, file to file | {_seconds(part['volume_seconds'])} each "
            f"({part['volumes']} in a folder), "
            f"{part['volume_to_matrix_product']:.2f} times the network's operations at the matrix product's rate |",
        ]
    for name, label in (("load", "loading"), ("corrupt", "drawing pairs")):
        if part := result.get(name):
            lines.append(
                f"| {label} | {part['slices_per_second']:,.0f} slices/s, {_seconds(part['seconds_per_batch'])} per "
                "batch |"
            )
    if part := result.get("start"):
        first = part["first_step_seconds"]
        lines.append(f"| `mri-n2n --help` | {_seconds(part['help_seconds'])} |")
        lines.append(f"| `mri-n2n train` on 64×64, batch 4, until the first step is done | {_seconds(first)} |")
    peaks = {name: part["peak_memory_mb"] for name, part in result.items() if "peak_memory_mb" in _mapping(part)}
    for kind in next(iter(peaks.values()), {}):
        each = ", ".join(f"{name} {peak[kind]:,.0f} MB" for name, peak in peaks.items())
        lines.append(f"| peak memory of the {kind}, one part after the other | {each} |")
    return "\n".join(lines)


def _trained(label: str, images: str, part: Mapping[str, Any]) -> list[str]:
    return [
        f"| {label} | {part['images_per_second']:.1f} {images}/s, {_seconds(part['seconds_per_step'])} per step of "
        f"{part['images_per_step']} |",
        f"| | {part['gflops']:,.0f} GFLOP/s, {part['share_of_matrix_product']:.0%} of the matrix product |",
    ]


def _mapping(part: Any) -> Mapping[str, Any]:
    return part if isinstance(part, Mapping) else {}


def _seconds(timing: Mapping[str, float]) -> str:
    unit, scale = ("s", 1.0) if timing["median"] >= 1 else ("ms", 1e3)
    low, middle, high = (f"{timing[name] * scale:.3g}" for name in ("low", "median", "high"))
    return f"{middle} {unit} [{low}, {high}]"
