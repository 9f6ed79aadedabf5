"""The measurement and the noisy pair as MONAI transforms, by the same physics that `mri-n2n train` uses."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from numpy.random import RandomState
from torch import Generator, Tensor

from mri_n2n.errors import UsageError
from mri_n2n.kspace.acquisition import Measurement
from mri_n2n.task import Targets, UndersampledPair, Undersampling
from mri_n2n.training.task import Batch

FARTHEST = 0.75  # of an intensity from grey: interpolation and noise lead a little out of [-0.5, 0.5]


class RandUndersample(RandomizableTransform):  # type: ignore[misc]
    """Draw a Bernoulli measurement of a 2-D magnitude image `[1 h w]`, and the noisy pair that training needs.

    Exactly one of `acceleration` and `edge_probability` sets the sampling density, as in `Undersampling`. The image
    should lie in [-0.5, 0.5], black being -0.5; beyond [-0.75, 0.75] it is refused (`UsageError`). Nothing moves and
    nothing is cropped: metadata and the operations that were applied stay true of the input and the target.

    It gives a dictionary of `input` and `target` `[1 h w]`; of both measurements `samples`, `mask`, `target_samples`
    and `target_mask` `[h k]`, half planes of k-space that is orthonormal and unshifted; and of both the `density` p and
    the inverse-probability `weights` 1/p `[h k]`. With clean targets there is no second measurement.
    """

    def __init__(
        self, acceleration: float | None = None, edge_probability: float | None = None, targets: Targets = "noisy"
    ) -> None:
        super().__init__()
        self.sampling = Undersampling(acceleration, edge_probability, targets, translation=0.0, odd_grid=False)
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw what addresses all the randomness of one call from MONAI's random state."""
        del data
        self._seed = int(self.R.randint(2**63 - 1, dtype=np.int64))

    def __call__(self, img: Any, randomize: bool = True) -> dict[str, Tensor]:
        """Draw; with `randomize=False` what was drawn last, of this image."""
        image = img if isinstance(img, Tensor) else torch.as_tensor(img)
        plain: Tensor = image.as_tensor() if isinstance(image, MetaTensor) else image
        if plain.ndim != 3 or len(plain) != 1 or not plain.is_floating_point():
            raise UsageError(
                f"expected a real 2-D image [1 height width], got {plain.dtype} {tuple(plain.shape)}. Take the "
                "magnitude of a slice."
            )
        lowest, highest = (float(value) for value in plain.aminmax())
        if not -FARTHEST <= lowest <= highest <= FARTHEST:  # nor where one is NaN
            raise UsageError(
                f"expected intensities in [-0.5, 0.5], black being -0.5, got {lowest:g} to {highest:g}. Scale "
                "before by ScaleIntensityRange(a_min, a_max, -0.5, 0.5, clip=True) with a_min black and a_max white."
            )
        if randomize:
            self.randomize()
        batch = Batch(plain[None].float(), torch.zeros(1, dtype=torch.long, device=plain.device))
        pair = self.sampling(batch, Generator(plain.device).manual_seed(self._seed))
        first, second = pair.measurement, pair.target_measurement
        drawn = {"input": _like(image, pair.input[0]), "target": _like(image, pair.target[0])}
        drawn |= {"samples": first.samples[0], "mask": first.mask[0]}
        if second is not None:
            drawn |= {"target_samples": second.samples[0], "target_mask": second.mask[0]}
        density = first.density[0].clone()  # that of the corruption is shared
        return drawn | {"density": density, "weights": 1 / density}


class RandUndersampled(MapTransform, Randomizable):  # type: ignore[misc]
    """`RandUndersample` of the image at one key of a dictionary, which gets what is drawn beside what it has.

    Raises `UsageError` where another key has the name of what is drawn: nothing of the user's is overwritten.
    """

    def __init__(
        self,
        keys: KeysCollection,
        acceleration: float | None = None,
        edge_probability: float | None = None,
        targets: Targets = "noisy",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise UsageError(f"one image makes one pair: expected one key, got {len(self.keys)}.")
        self.transform = RandUndersample(acceleration, edge_probability, targets)

    def set_random_state(self, seed: int | None = None, state: RandomState | None = None) -> "RandUndersampled":
        """As of any random transform of MONAI."""
        self.transform.set_random_state(seed, state)
        super().set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw anew."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw, and add what was drawn."""
        found = dict(data)
        for key in self.key_iterator(found):
            drawn = self.transform(found[key])
            if taken := [name for name in drawn if name in found and name != key]:
                raise UsageError(
                    f"{taken[0]!r} is a key of the data already, and one of what is drawn. Rename yours before: "
                    f"CopyItemsd({taken[0]!r}, names='my_{taken[0]}'), DeleteItemsd({taken[0]!r})."
                )
            found.update(drawn)
        return found


def pair_of(batch: Mapping[str, Any], device: torch.device | None = None) -> UndersampledPair:
    """The engine's training pair from a collated batch of what the transforms drew, without metadata, on the device."""

    def plain(name: str) -> Tensor:
        value: Tensor = batch[name]
        return (value.as_tensor() if isinstance(value, MetaTensor) else value).to(device)

    images, density = plain("input"), plain("density")
    grid = (images.shape[-2], images.shape[-1])
    first = Measurement(plain("samples"), plain("mask"), density, grid)
    noisy = "target_samples" in batch
    second = Measurement(plain("target_samples"), plain("target_mask"), density, grid) if noisy else None
    return UndersampledPair(images, plain("target"), first, second)


def _like(image: Tensor, made: Tensor) -> Tensor:
    """What was made of an image, with its metadata."""
    if not (isinstance(image, MetaTensor) and get_track_meta()):
        return made
    meta: Tensor = MetaTensor(made).copy_meta_from(image)
    return meta
