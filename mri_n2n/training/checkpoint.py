"""The training state on disk: everything needed to go on as if nothing had happened."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from mri_n2n.durable import replacing
from mri_n2n.errors import UNREADABLE, UsageError, one_line
from mri_n2n.training.trainer import TrainState

FORMAT = "mri-n2n training state 1"


def save_state(path: Path, state: TrainState, **also: int) -> None:
    """Replace the checkpoint at `path` by `state`, atomically, with the integers in `also`."""
    content = {
        "format": FORMAT,
        "step": state.step,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "pending": state.pending,
        "also": also,
    }
    buffer = io.BytesIO()  # torch's own writer reports a full disk as a RuntimeError
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_state(path: Path, state: TrainState, device: torch.device) -> dict[str, int]:
    """Fill `state` from the checkpoint at `path` and return the integers saved with it."""
    content = read_state(path, device)
    try:
        state.network.load_state_dict(content["network"])
        state.optimiser.load_state_dict(content["optimiser"])
        state.step = int(content["step"])
        state.pending = list(content["pending"])
        return {name: int(value) for name, value in content["also"].items()}
    except UNREADABLE as error:
        raise _damaged(path, error) from None


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of a checkpoint, read with `weights_only=True`: a pickle payload is refused, never run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of foreign pickles: they are refused below
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
    except FileNotFoundError:
        raise UsageError(f"no checkpoint at {path}: the run stopped before its first one. Start it again.") from None
    except pickle.UnpicklingError:
        raise _damaged(path, ValueError("it holds objects that are not tensors")) from None
    except UNREADABLE as error:
        raise _damaged(path, error) from None
    return content


def _damaged(path: Path, error: BaseException) -> UsageError:
    return UsageError(f"{path} is damaged or not a checkpoint of this program ({one_line(error)}). Train again.")
