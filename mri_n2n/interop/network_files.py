"""A trained network, without the physics around it, as one file that needs none of this package: torch.export, ONNX."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from mri_n2n.durable import check_writable, replacing
from mri_n2n.errors import UsageError
from mri_n2n.networks.unet import LEVELS, UNet
from mri_n2n.run_directory import Run

MULTIPLE = 2**LEVELS  # of pixels, that the U-Net halves and doubles
ABOUT = "mri-n2n.json"  # in a torch.export file; in ONNX's metadata: "mri-n2n"


def export_torch(run: Run, path: Path, *, overwrite: bool = False) -> str:
    """Write the network for `torch.export.load`; return what to know about its sizes."""
    _check_new(path, ".pt2", overwrite=overwrite)
    with _quietly():
        program, about = _program(run)
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about)})
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return str(about["sizes"])


def export_onnx(run: Run, path: Path, *, overwrite: bool = False) -> str:
    """Write the network as ONNX, input `image`, output `prediction`; return what to know about its sizes."""
    import onnx  # noqa: F401 (torch's exporter needs both, and says so in ten lines)
    import onnxscript  # noqa: F401

    _check_new(path, ".onnx", overwrite=overwrite)
    with _quietly():
        program, about = _program(run)
        made = torch.onnx.export(
            program, (), dynamo=True, input_names=["image"], output_names=["prediction"], verbose=False
        )
        assert made is not None
        proto = made.model_proto
    proto.metadata_props.add(key="mri-n2n", value=json.dumps(about))
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    return str(about["sizes"])


def _program(run: Run) -> tuple[ExportedProgram, dict[str, Any]]:
    """The network for any batch, height and width that it takes, and what is said of it."""
    network, spec = run.network(), run.recipe.network
    height, width = (Dim(name, min=1) for name in ("height", "width"))
    sizes = "any batch, height and width"
    if isinstance(network, UNet):
        height, width = (MULTIPLE * Dim(name, min=2) for name in ("rows", "columns"))
        sizes = (
            f"any batch; height and width multiples of {MULTIPLE}, at least {2 * MULTIPLE}: pad others at their far "
            f"ends with {network.padding:g}, and crop the output"
        )
    example = torch.zeros(2, spec.in_channels, 2 * MULTIPLE, 3 * MULTIPLE)
    shapes = ({0: Dim("batch", min=1), 2: height, 3: width},)
    program = torch.export.export(network, (example,), dynamic_shapes=shapes)
    return program, {"intended_use": "Research. Not for diagnostic use.", "sizes": sizes, **run.provenance()}


def _check_new(path: Path, suffix: str, *, overwrite: bool) -> None:
    if path.suffix != suffix:
        raise UsageError(f"{path} should end in {suffix}.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise UsageError(f"{path} exists. Choose another place or add --overwrite.")
    check_writable(path.parent)


@contextmanager
def _quietly() -> Iterator[None]:
    """torch's exporters warn of their own insides, and of packages that nobody needs here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
