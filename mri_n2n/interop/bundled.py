"""What a bundle's configuration is made of beside MONAI's own parts: reading, reconstructing and writing volumes."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor

from mri_n2n.data.volumes import FLOAT_RANGE, Volume, read_volume, write_volume
from mri_n2n.durable import read_json
from mri_n2n.errors import UsageError
from mri_n2n.progress import say
from mri_n2n.recipes import rebuilt
from mri_n2n.reconstruction import Reconstructor


class ReadVolumed(MapTransform):  # type: ignore[misc]
    """Read the volumes at these keys as `mri-n2n reconstruct` does: checked, `[1 x y z]`, in their own intensities.

    Their metadata are the path, the affine and the file's SHA-256, which addresses the masks of its slices.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace paths by volumes; raises `BadVolume`."""
        found = dict(data)
        for key in self.key_iterator(found):
            volume = read_volume(Path(found[key]))
            meta = {"filename_or_obj": str(found[key]), "sha256": volume.sha256}
            found[key] = MetaTensor(torch.from_numpy(volume.array[None]), affine=volume.affine, meta=meta)
        return found


class VolumeInferer(Inferer):  # type: ignore[misc]
    """A network with the physics it was trained with, on volumes `[b 1 x y z]` that `ReadVolumed` read.

    recipe: the path of what `described` gave of the run's recipe. simulate: undersample first, as in training.
    """

    def __init__(self, recipe: str, simulate: bool) -> None:
        super().__init__()
        self.recipe, self.simulate = rebuilt(read_json(Path(recipe), "recipe")), simulate

    def __call__(self, inputs: Tensor, network: torch.nn.Module) -> Tensor:
        """Reconstruct every slice of the third axis of every volume."""
        if not isinstance(inputs, MetaTensor) or "sha256" not in inputs.meta:
            raise UsageError("expected volumes that ReadVolumed read: their hashes decide on the masks.")
        reconstructor = Reconstructor(network, self.recipe, inputs.device, self.simulate)
        made = []
        for image, sha256 in zip(inputs.as_tensor()[:, 0].cpu().numpy(), inputs.meta["sha256"], strict=True):
            volume = Volume(np.ascontiguousarray(image), np.eye(4), None, FLOAT_RANGE, sha256)
            reconstructor.check(volume)
            made.append(torch.from_numpy(reconstructor(volume).array))
        return torch.stack(made)[:, None].to(inputs.device)


class WriteVolumed(MapTransform):  # type: ignore[misc]
    """Write what was made of the volumes at `source` with their geometry, at their places below another folder.

    label: what the files say of themselves, at most 79 characters. A file that exists is refused unless `overwrite`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source: str,
        dataset_dir: str,
        output_dir: str,
        label: str,
        overwrite: bool = False,
    ) -> None:
        super().__init__(keys)
        self.source, self.label, self.overwrite = source, label, overwrite
        self.dataset_dir, self.output_dir = Path(dataset_dir), Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write, and pass on."""
        found = dict(data)
        path = Path(found[self.source].meta["filename_or_obj"])
        target = self.output_dir / path.relative_to(self.dataset_dir)
        for key in self.key_iterator(found):
            if target.exists() and (not self.overwrite or target.samefile(path)):
                raise UsageError(f"{target} exists. Choose another --output_dir, or add --overwrite True.")
            write_volume(target, found[key][0].cpu().numpy(), read_volume(path), self.label)
            say(f"{target}: {self.label}")
        return found
