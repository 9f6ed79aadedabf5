"""Whole volumes and scans through a trained network, slice by slice, into volumes with the geometry they came with."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from mri_n2n.data import raw, series, volumes
from mri_n2n.data.selection import evenly_spread
from mri_n2n.data.volumes import Volume, read_volume, suffix
from mri_n2n.densities import GivenDensity, with_density
from mri_n2n.environment import slices_at_once
from mri_n2n.errors import BadVolume, Problem, UsageError
from mri_n2n.kspace.acquisition import Measurement, density_compensated_adjoint
from mri_n2n.kspace.channels import from_channels
from mri_n2n.measured_kspace import MeasuredKspace
from mri_n2n.metrics import psnr
from mri_n2n.quality import SLICES, Residual, held_out_psnr
from mri_n2n.recipes import Recipe
from mri_n2n.scans import ScannedVolume, complex_volume, scanned_volume
from mri_n2n.task import Undersampling, evaluation_generator, undersampled_pair
from mri_n2n.training.task import TrainingPair, network_output

T = TypeVar("T")
KNOWN = volumes.SUFFIXES + raw.SUFFIXES
IMAGES_OR_SCANS = (
    f"this run reconstructs raw k-space ({', '.join(raw.SUFFIXES)}): add --simulate for a fully sampled volume, or "
    "--white with the intensity that is white in a volume made of density-compensated k-space."
)


def label(*, simulated: bool) -> str:
    """What a reconstructed volume says of itself, at most 79 characters."""
    how = "SIMULATED undersampling, " if simulated else ""
    return f"mri-n2n: {how}made by a network; not for diagnostic use"


@dataclass(frozen=True)
class Reconstruction:
    """A volume `[row column slice]` in its source's intensities.

    psnr: in dB, the mean over slices, where the undersampling was simulated here. residual: how far the images of the
    coils are from the acquired samples (see `Residual`), where there are any.
    """

    array: NDArray[np.float32]
    psnr: float | None
    residual: float | None


@dataclass(frozen=True)
class Reconstructor:
    """A trained network with the physics it was trained with.

    A run trained on undersampling reconstructs scans: files of raw k-space. With `simulate` it takes fully sampled
    volumes, and undersamples them as in training. In both the acquired frequencies are put back. A run trained on raw
    k-space takes scans alone: each coil is reconstructed for itself, and their magnitudes are combined.

    With `white`, or for a run trained on real pairs, a volume is what the network sees: for a network trained on
    undersampling, an image from density-compensated k-space, whose samples are not known, so that nothing can be put
    back. Such an image does not show its own scale: `white` is the intensity that training would have scaled to 1, the
    maximum of the fully sampled volume. For a scan it takes the place of what the file states. density: of scans whose
    files do not state it.
    """

    network: nn.Module
    recipe: Recipe[Any]
    device: torch.device
    simulate: bool = False
    batch_size: int | None = None
    white: float | None = None
    density: GivenDensity = field(default_factory=GivenDensity)

    def __post_init__(self) -> None:
        if self.complex and (self.simulate or self.white is not None):
            raise UsageError(
                "this run was trained on raw k-space: leave out --simulate and --white. To try it on volumes, make "
                "scans of them with `mri-n2n simulate --values complex`."
            )
        if self.white is not None and (self.simulate or not self.white > 0):
            raise UsageError("--white must be a positive intensity, and goes without --simulate.")
        if self.density.said and (self.simulate or not (self.undersampled or self.complex)):
            raise UsageError("--edge-probability and --density are for raw k-space. Leave them out.")
        if self.simulate and not self.undersampled:
            raise UsageError(
                "--simulate needs a run that was trained on undersampling; this one was trained on real pairs."
            )

    @property
    def undersampled(self) -> bool:
        """Whether the network was trained on undersampling."""
        return isinstance(self.recipe.task.corruption, Undersampling)

    @property
    def complex(self) -> bool:
        """Whether the network was trained on raw k-space."""
        return isinstance(self.recipe.task.corruption, MeasuredKspace)

    @property
    def takes_images(self) -> bool:
        """Whether volumes can be reconstructed as asked."""
        return not self.complex and (not self.undersampled or self.simulate or self.white is not None)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that can be reconstructed."""
        scans = raw.SUFFIXES if self.complex or (self.undersampled and not self.simulate) else ()
        return (volumes.SUFFIXES if self.takes_images else ()) + scans

    def read(self, path: Path) -> Volume | ScannedVolume:
        """Read a file, and check that it can be reconstructed; raises `BadVolume`."""
        if suffix(path, raw.SUFFIXES):
            scan = raw.read_scan(path)
            try:
                known = with_density(scan, self.density)
                scanned = complex_volume(known) if self.complex else scanned_volume(known)
            except BadVolume as error:
                raise error.of(path) from None
            if not (self.white or scanned.white):
                raise BadVolume(f"{path} does not state what is white. Give it with --white.", Problem.INCOMPATIBLE)
            return replace(scanned, white=self.white or scanned.white)
        volume = read_volume(path)
        try:
            self.check(volume)
        except BadVolume as error:
            raise error.of(path) from None
        return volume

    def read_series(self, files: tuple[Path, ...]) -> Volume:
        """Read the files of a DICOM series, and check that it can be reconstructed; raises `BadVolume`."""
        volume = series.read_series(files)
        try:
            self.check(volume)
        except BadVolume as error:
            raise error.of(series.folder_of(files)) from None
        return volume

    def check(self, volume: Volume) -> None:
        """Raise `BadVolume` (without a path) if slices of this size cannot be undersampled as asked."""
        corruption = self.recipe.task.corruption
        if self.simulate and isinstance(corruption, Undersampling):
            height, width, _ = volume.array.shape
            try:
                corruption.density((height, width))
            except UsageError as error:
                raise BadVolume(f"is too small: {error}", Problem.INCOMPATIBLE) from None

    def label(self, source: Volume | ScannedVolume) -> str:
        """What the output says of itself, at most 79 characters."""
        simulated = source.simulated if isinstance(source, ScannedVolume) else self.simulate
        return label(simulated=simulated)

    @torch.inference_mode()
    def __call__(self, source: Volume | ScannedVolume) -> Reconstruction:
        """Reconstruct every slice of the third axis."""
        network = self.network.to(self.device).eval()
        volume = source.volume if isinstance(source, ScannedVolume) else source
        output = np.empty(volume.array.shape, np.float32)
        qualities = []
        residual = Residual()
        depth = volume.array.shape[2]
        batch_size = self._at_once(source)
        for start in range(0, depth, batch_size):
            chosen = range(start, min(start + batch_size, depth))
            if isinstance(source, ScannedVolume):
                images = self._scanned(network, source, chosen, residual)
            else:
                images, known = self._sliced(network, source, chosen, residual)
                qualities.append(known)
            output[:, :, chosen] = np.moveaxis(images.numpy(), 0, -1)
        if not np.isfinite(output).all():
            raise UsageError("the network's output is not finite: its weights are damaged or do not fit this volume.")
        quality = float(torch.cat(qualities).mean()) if qualities else math.nan
        return Reconstruction(output, quality if math.isfinite(quality) else None, residual.share)

    def held_out_psnr(self, source: Volume | ScannedVolume) -> float | None:
        """What can be said without a reference of a reconstruction from about half the samples; None for plain images.

        Of some slices, evenly spread.
        """
        corruption = self.recipe.task.corruption
        if not (isinstance(source, ScannedVolume) or (self.simulate and isinstance(corruption, Undersampling))):
            return None
        network = self.network.to(self.device).eval()
        coils = source.coils if isinstance(source, ScannedVolume) else 1
        return held_out_psnr(network, self.recipe.task.predict, self._measured(source), coils)

    def _measured(self, source: Volume | ScannedVolume) -> Iterator[tuple[Measurement, Sequence[str]]]:
        """The measurements of some slices, a few at a time, and their identities."""
        corruption = self.recipe.task.corruption
        volume = source.volume if isinstance(source, ScannedVolume) else source
        places = evenly_spread(volume.array.shape[2], SLICES)
        at_once = self._at_once(source)
        for start in range(0, len(places), at_once):
            chosen = places[start : start + at_once]
            identities = [f"{volume.sha256}/{place}" for place in chosen]
            if isinstance(source, ScannedVolume):
                names = [name for name in identities for _ in range(source.coils)]
                yield from self._pieces(self._scaled(source, chosen), names)
            elif isinstance(corruption, Undersampling):
                images, _, _ = self._seen(source, chosen)
                yield corruption.measure_each(images, [evaluation_generator(name) for name in identities]), identities

    def _at_once(self, source: Volume | ScannedVolume) -> int:
        coils = source.coils if isinstance(source, ScannedVolume) else 1
        return max(1, (self.batch_size or slices_at_once(self.device)) // coils)

    def _scaled(self, scanned: ScannedVolume, chosen: Sequence[int]) -> Measurement:
        """The measurements of some slices, white being 0.5 and black -0.5, or of complex ones white 1 and black 0."""
        assert scanned.white
        part, rows = scanned.measurement, scanned.rows(chosen)
        samples = part.samples[rows].to(self.device) / scanned.white
        if part.real:
            samples[:, 0, 0] -= 0.5 * math.sqrt(math.prod(part.grid))
        mask, density = part.mask[rows].to(self.device), part.density.to(self.device)
        return replace(part, samples=samples, mask=mask, density=density)

    def _scanned(
        self, network: nn.Module, scanned: ScannedVolume, chosen: Sequence[int], residual: Residual
    ) -> Float[Tensor, "b h w"]:
        images = []
        for piece, _ in self._pieces(self._scaled(scanned, chosen), scanned.rows(chosen)):
            pair = undersampled_pair(piece, density_compensated_adjoint(piece))
            predicted = self.recipe.task.predict(network, pair)
            residual.add(predicted, piece)
            images.append(from_channels(predicted))
        return scanned.intensities(torch.cat(images)).cpu()

    def _pieces(self, whole: Measurement, names: Sequence[T]) -> Iterator[tuple[Measurement, Sequence[T]]]:
        """Few enough images at a time: a slice may have many coils. names: of each image."""
        most = self.batch_size or slices_at_once(self.device)
        for start in range(0, len(names), most):
            rows = slice(start, start + most)
            yield replace(whole, samples=whole.samples[rows], mask=whole.mask[rows]), names[rows]

    def _seen(self, volume: Volume, chosen: Sequence[int]) -> tuple[Float[Tensor, "b h w"], float, float]:
        """Some slices as the network sees them, and scale and offset that this took."""
        offset = 0.0 if self.white is not None else min(float(volume.array.min()), 0.0)
        scale = self.white or float(volume.array.max()) - offset
        slices = torch.from_numpy(np.moveaxis(volume.array[:, :, list(chosen)], -1, 0).copy())
        return ((slices - offset) / scale - 0.5).to(self.device), scale, offset

    def _sliced(
        self, network: nn.Module, volume: Volume, chosen: Sequence[int], residual: Residual
    ) -> tuple[Float[Tensor, "b h w"], Float[Tensor, " n"]]:
        if not self.takes_images:
            raise UsageError(IMAGES_OR_SCANS)
        seen, scale, offset = self._seen(volume, chosen)
        corruption = self.recipe.task.corruption
        if not self.simulate or not isinstance(corruption, Undersampling):
            result = network_output(network, TrainingPair(seen[:, None], seen[:, None]))[:, 0].cpu()
            return (result + 0.5) * scale + offset, torch.zeros(0)
        generators = [evaluation_generator(f"{volume.sha256}/{place}") for place in chosen]
        pair = undersampled_pair(corruption.measure_each(seen, generators), seen)
        predicted = self.recipe.task.predict(network, pair)
        residual.add(predicted, pair.measurement)
        result = predicted[:, 0].cpu()
        images = seen.cpu()
        shown = images.amax((1, 2)) > images.amin((1, 2))  # a blank slice has no quality
        return (result + 0.5) * scale + offset, psnr(result, images)[shown]
