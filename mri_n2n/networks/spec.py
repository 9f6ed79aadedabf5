"""What is stored of a trained network: its shape as JSON, its weights as safetensors, a hash that binds them."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from mri_n2n.durable import read_json, replacing, write_json
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.networks.red30 import RED30
from mri_n2n.networks.unet import UNet


@dataclass(frozen=True)
class UNetSpec:
    """The paper's U-Net for images of `in_channels`; `width` scales the whole network (48 in the paper)."""

    in_channels: int = 1
    out_channels: int = 1
    width: int = 48
    padding: float = -0.5

    def __post_init__(self) -> None:
        _check_width(self.width)

    def build(self) -> nn.Module:
        """A new network with random weights from torch's global generator."""
        return UNet(self.in_channels, self.out_channels, width=self.width, padding=self.padding)


@dataclass(frozen=True)
class RED30Spec:
    """RED30 (Mao et al. 2016), the network of the paper's first experiment; `width` feature maps (128 in the paper)."""

    in_channels: int = 3
    out_channels: int = 3
    width: int = 128

    def __post_init__(self) -> None:
        _check_width(self.width)

    def build(self) -> nn.Module:
        """A new network with random weights from torch's global generator."""
        return RED30(self.in_channels, self.out_channels, width=self.width)


def _check_width(width: int) -> None:
    if not 2 <= width <= 1024:
        raise UsageError(f"a network's width lies in 2 .. 1024 feature maps, got {width}.")


NetworkSpec = UNetSpec | RED30Spec
NETWORKS: dict[str, type[NetworkSpec]] = {"UNetSpec": UNetSpec, "RED30Spec": RED30Spec}


def save_network(path: Path, network: nn.Module, spec: NetworkSpec, **about: Any) -> None:
    """Write the weights beside `path` (.json) as safetensors, then `path` itself.

    The spec, `about`, the weights' name and SHA-256.

    The weights' file carries their hash in its name, so the one rename of `path` exchanges both at once.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = save_tensors(weights)
    digest = hashlib.sha256(content).hexdigest()
    weights_path = path.with_name(f"{path.stem}-{digest[:12]}.safetensors")
    with replacing(weights_path) as temporary:
        temporary.write_bytes(content)
    network_description = {"kind": type(spec).__name__, **asdict(spec)}
    write_json(path, {"network": network_description, "weights": weights_path.name, "sha256": digest, **about})
    for older in path.parent.glob(f"{path.stem}-*.safetensors"):
        if older != weights_path:
            older.unlink(missing_ok=True)


def load_network(path: Path, weights_sha256: str | None = None) -> nn.Module:
    """Rebuild the network that `path` (.json) describes, on the CPU, ready for inference.

    weights_sha256: the only weights that will do, whatever the description says.
    """
    description = read_json(path, "network description")
    try:
        content = path.with_name(Path(description["weights"]).name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != description["sha256"]:
            raise ValueError("the weights' SHA-256 differs")
        if weights_sha256 is not None and digest != weights_sha256.lower():
            raise UsageError(f"the weights beside {path} are {digest}, expected {weights_sha256} (SHA-256). Use those.")
        arguments = dict(description["network"])
        network = NETWORKS[arguments.pop("kind", "UNetSpec")](**arguments).build()
        network.load_state_dict(load_tensors(content))
    except (*UNREADABLE, SafetensorError) as error:
        what = f"{path} or its weights are damaged or not of this program"
        raise UsageError(f"{what} ({one_line(error)}). Train again.") from None
    return network.eval()
