import pickle
from pathlib import Path

import pytest
import torch

from mri_n2n.errors import UsageError
from mri_n2n.networks.spec import UNetSpec, load_network, save_network


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "network.json"
    save_network(path, UNetSpec(width=6).build(), UNetSpec(width=6), step=3)
    return path


def test_round_trip(tmp_path: Path) -> None:
    spec = UNetSpec(2, 3, width=6)
    network = spec.build()
    for step in (1, 2):  # the second save replaces the first
        save_network(tmp_path / "network.json", network, spec, step=step)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    again = load_network(tmp_path / "network.json")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])


def test_exchanged_weights(saved: Path) -> None:
    weights = next(saved.parent.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UsageError, match="SHA-256"):
        load_network(saved)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1, 2]", b"\x80\x04junk", b'{"weights": "x", "sha256": "", "network": 3}']
)
def test_foreign_description(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(UsageError):
        load_network(saved)


def test_weights_that_are_a_pickle_are_not_run(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    weights = next(saved.parent.glob("*.safetensors"))
    weights.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UsageError):
        load_network(saved)
    assert not (tmp_path / "ran").exists()
