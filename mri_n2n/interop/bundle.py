"""A trained run as a MONAI bundle: weights, metadata, and an inference that `python -m monai.bundle run` does."""

import importlib.metadata
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from mri_n2n import __version__
from mri_n2n.comparison.curves import PSNR
from mri_n2n.durable import making, read_json, sha256_of, write_json, write_text
from mri_n2n.errors import UsageError
from mri_n2n.evaluation import CONSISTENT, PLAIN
from mri_n2n.measured_kspace import MeasuredKspace
from mri_n2n.recipes import described
from mri_n2n.reconstruction import label
from mri_n2n.run_directory import Run
from mri_n2n.task import Undersampling

OWN_FILES = ("configs", "docs", "models")
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
NEEDED = ("fire", "jsonschema", "nibabel", "pytorch-ignite")  # beside MONAI and this package: the extra `monai`
INTENDED = "Research on image reconstruction. Not for diagnostic use."
PAPER = "Lehtinen et al., Noise2Noise: Learning Image Restoration without Clean Data, ICML 2018"
UNSTATED = "not stated"
CODE = ("$", "@", "%")  # what strings of a configuration begin with that MONAI evaluates


def export_bundle(run: Run, directory: Path, *, authors: str = UNSTATED, overwrite: bool = False) -> None:
    """Write the bundle of a run that was trained on images: whole, or not at all."""
    if isinstance(run.recipe.task.corruption, MeasuredKspace):
        raise UsageError(
            f"{run.directory} was trained on raw k-space, and a bundle takes volumes. Use `mri-n2n reconstruct`, or "
            "export the network alone."
        )
    if authors.startswith(CODE):
        raise UsageError(
            f"--authors {authors!r}: MONAI would execute what begins with {authors[0]}. Begin with a name."
        )
    network = run.network()
    metadata_path = directory / "configs" / "metadata.json"
    if metadata_path.exists() and "mri-n2n" not in read_json(metadata_path, "bundle's metadata"):
        raise UsageError(f"{directory} holds a bundle of other software. Choose another place.")
    with making(directory, OWN_FILES, overwrite=overwrite) as folder:
        for name in OWN_FILES:
            (folder / name).mkdir()
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        buffer = io.BytesIO()  # torch's own writer reports a full disk as a RuntimeError
        torch.save(weights, buffer)
        (folder / "models" / "model.pt").write_bytes(buffer.getbuffer())
        metadata = _metadata(run, authors, sha256_of(folder / "models" / "model.pt"))
        write_json(folder / "configs" / "metadata.json", metadata)
        write_json(folder / "configs" / "recipe.json", described(run.recipe))
        write_json(folder / "configs" / "inference.json", _inference(run, network))
        write_text(folder / "docs" / "README.md", _readme(run, metadata))
        write_text(folder / "docs" / "license.txt", f"{metadata['license']}\n")


def _simulates(run: Run) -> bool:
    return isinstance(run.recipe.task.corruption, Undersampling)


def _inference(run: Run, network: torch.nn.Module) -> dict[str, Any]:
    """MONAI's workflow: its evaluator around our reading, reconstructing and writing."""
    kind, ours = type(network), "mri_n2n.interop.bundled"
    spec = asdict(run.recipe.network)
    if not all(isinstance(value, int | float) for value in spec.values()):  # text of somebody else's run may be code
        raise UsageError(f"{run.directory} describes a network by {spec}, expected numbers. It is damaged.")
    return {
        "imports": ["$import torch", "$from pathlib import Path", "$from mri_n2n.data.volumes import find_volumes"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "overwrite": False,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{kind.__module__}.{kind.__qualname__}", **spec},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": f"{ours}.ReadVolumed", "keys": "image"},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': str(path)} for path in find_volumes(Path(@dataset_dir))]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {
            "_target_": f"{ours}.VolumeInferer",
            "recipe": "$@bundle_root + '/configs/recipe.json'",
            "simulate": _simulates(run),
        },
        "postprocessing": {
            "_target_": f"{ours}.WriteVolumed",
            "keys": "pred",
            "source": "image",
            "dataset_dir": "@dataset_dir",
            "output_dir": "@output_dir",
            "label": label(simulated=_simulates(run)),
            "overwrite": "@overwrite",
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def _metadata(run: Run, authors: str, weights_sha256: str) -> dict[str, Any]:
    made_of = "one undersampled measurement" if _simulates(run) else "a noisy scan"
    scores = run.metric(PSNR + (CONSISTENT if _simulates(run) else PLAIN))
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"exported from the run {run.name}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"mri-n2n": __version__}
        | {name: importlib.metadata.version(name) for name in NEEDED},
        "name": f"mri-n2n {run.name}",
        "task": f"Reconstruction of a 2-D MR slice from {made_of}",
        "description": "A network trained by Noise2Noise, applied slice by slice. "
        + (
            "The volume is undersampled first, as in training, and the acquired frequencies are put back: a simulation."
            if _simulates(run)
            else "It removes noise as that between repeated scans."
        ),
        "authors": authors,
        "copyright": UNSTATED if authors == UNSTATED else f"Copyright (c) {authors}",
        "license": "Software: Apache-2.0. Weights: as who trained them says, and as the training data allow.",
        "data_source": f"prepared data of fingerprint {run.data['fingerprint']}",
        "data_type": "nibabel",
        "intended_use": INTENDED,
        "eval_metrics": {"validation PSNR, dB": scores[-1][1]} if scores else {},
        "references": [PAPER],
        "network_data_format": {
            "inputs": {"image": _format(run.recipe.network.in_channels, "undersampled or noisy image")},
            "outputs": {"pred": _format(run.recipe.network.out_channels, "reconstructed image")},
        },
        "model_pt_sha256": weights_sha256,
        "mri-n2n": "made by " + ", ".join(f"{name} {value}" for name, value in run.provenance().items()),
    }


def _format(channels: int, content: str) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": channels,
        "spatial_shape": ["*", "*"],
        "dtype": "float32",
        "value_range": [-0.5, 0.5],
        "is_patch_data": False,
        "channel_def": {str(channel): content for channel in range(channels)},
    }


def _readme(run: Run, metadata: dict[str, Any]) -> str:
    return f"""# {metadata["name"]}

**{metadata["intended_use"]}**

{metadata["task"]}. {metadata["description"]}

It needs Python with `pip install 'mri-n2n[monai]'` and nothing else. In this folder:

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir VOLUMES --output_dir OUTPUT

VOLUMES is a folder of NIfTI volumes (or .mgz). OUTPUT gets a volume of the same name and geometry for each, which says
of itself: "{label(simulated=_simulates(run))}".
It is what `mri-n2n reconstruct` makes{" with --simulate" if _simulates(run) else ""}.

To check the bundle (MONAI fetches its schema; without a network, give the file's place to `--filepath`):

    python -m monai.bundle verify_metadata --meta_file configs/metadata.json --filepath schema.json
    python -m monai.bundle verify_net_in_out --net_id network_def --meta_file configs/metadata.json \\
        --config_file configs/inference.json

The network sees slices `[batch 1 height width]` in [-0.5, 0.5], black being -0.5, of any size.
`models/model.pt` holds its weights and nothing else: a state dict, loaded with `weights_only=True`. A bundle's
configuration is code, as MONAI says: run only those that you trust.

{metadata["license"]} Reference: {PAPER}.
"""
