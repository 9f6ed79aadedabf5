"""Real pairs: two noisy scans of each subject, the second registered to the first."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mri_n2n.data.selection import SliceRequest, normalised
from mri_n2n.data.slices import Manifest, SliceWriter, plan_hash
from mri_n2n.data.subjects import SplitRequest, number_of, numbers_so_far, subject_of
from mri_n2n.data.volumes import Volume, common_size, find_volumes, read_volume, stem
from mri_n2n.errors import BadVolume, UsageError, one_line
from mri_n2n.progress import bar, say

LARGEST_ROTATION = 20.0  # degrees
LARGEST_TRANSLATION = 30.0  # mm
SMALLEST_CORRELATION = 0.975  # of the smoothed scans after registration; on real heads 0.99 for one head, 0.955 for two


@dataclass(frozen=True)
class Motion:
    """How the head moved between two scans, and how well they agree once it is undone.

    rotation in degrees, translation of the head's centre in mm, correlation of the smoothed scans, gain of B over A.
    """

    rotation: float
    translation: float
    correlation: float
    gain: float

    def __str__(self) -> str:
        return f"{self.rotation:.2f}°, {self.translation:.2f} mm; correlation {self.correlation:.4f}"


def register(first: Volume, second: Volume) -> tuple[NDArray[np.float32], Motion]:
    """`second` rigidly moved onto the grid of `first` and scaled to its brightness, and the motion found.

    Noise is kept as it is as far as interpolation allows (cubic B-spline); places that the second scan does not cover
    take the value of the first, so that nothing is learned there.
    """
    fixed, moving = _image(first), _image(second)
    transform = _rigid(fixed, moving)
    covered = sitk.Resample(
        sitk.Cast(moving * 0 + 1, sitk.sitkFloat32), fixed, transform, sitk.sitkNearestNeighbor, 0.0
    )
    aligned = sitk.Resample(moving, fixed, transform, sitk.sitkBSpline, 0.0)
    inside = _array(covered) > 0.5
    b = _array(aligned)
    a = first.array
    head = inside & (gaussian_filter(a, 1.5) > 0.2 * np.percentile(a, 99))
    if head.sum() < 0.01 * head.size or not b[head].mean() > 0:
        raise BadVolume("the two scans do not overlap")
    gain = float(b[head].mean() / a[head].mean())
    b = np.where(inside, b / gain, a).astype(np.float32)
    smooth_a, smooth_b = gaussian_filter(a, 1.5), gaussian_filter(b, 1.5)
    correlation = float(np.corrcoef(smooth_a[inside], smooth_b[inside])[0, 1])
    rotation, translation = _size(transform)
    return b, Motion(rotation, translation, correlation, gain)


def prepare_pairs(
    first: Path,
    second: Path,
    destination: Path,
    *,
    split: SplitRequest | None = None,
    slices: SliceRequest | None = None,
    bits: int = 16,
    strict: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """Match the volumes of two folders by name, register each second scan to its first, and store both as real pairs.

    A pair that cannot be read or does not align is reported and skipped, or raised if `strict`.
    """
    split, slices = split or SplitRequest(), slices or SliceRequest()
    pairs, alone = _matched(first, second)
    split.check_enough(len({subject_of(a) for a, _ in pairs}), f"in both {first} and {second}")
    files = [file for pair in pairs for file in pair]
    options = {"kind": "pairs", "split": asdict(split), "slices": asdict(slices), "bits": bits}
    manifest = Manifest("pairs", plan_hash(options, files), bits, common_size([a for a, _ in pairs]))
    writer = SliceWriter(destination, manifest, overwrite=overwrite)
    if writer.complete:
        say(f"{destination} is already prepared: nothing to do.")
        return writer.manifest
    for file in alone:
        say(f"skipped: {file} has no partner of the same name in the other folder.")
    numbers = numbers_so_far(writer.manifest)
    with writer.filling():
        for file_a, file_b in bar(pairs, description="registering", unit="pair"):
            name = str(file_a.relative_to(first))
            part = split.of(subject_of(file_a), writer.manifest, numbers)
            if part is None or writer.has(name):
                continue
            try:
                a, b = read_volume(file_a), read_volume(file_b)
                chosen = slices.within(file_a, a.array.shape[2])
                aligned, motion = register(a, b)
                _refuse_misaligned(motion)
                images, stored = normalised(np.stack([a.array, aligned]), chosen)
            except BadVolume as error:
                if strict:
                    raise
                say(f"skipped: {file_a}: {error}")
                writer.skip(name, str(error))
                continue
            sources = [
                {"file": name, "sha256": a.sha256},
                {"file": str(file_b.relative_to(second)), "sha256": b.sha256},
            ]
            subject = number_of(subject_of(file_a), part, writer.manifest, numbers)
            say(f"{subject}: moved {motion}")
            writer.append(replace(stored, subject=subject, split=part, sources=sources, notes=asdict(motion)), images)
        split.check_filled(writer.manifest, f"in both {first} and {second}")
        return writer.finish()


def _matched(first: Path, second: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pairs of files with the same relative name (the suffix may differ), and files without a partner."""
    if first.resolve() == second.resolve():
        raise UsageError(f"{first} was given twice: real pairs need two scans.")
    a = {file.relative_to(first).with_name(stem(file)): file for file in find_volumes(first)}
    b = {file.relative_to(second).with_name(stem(file)): file for file in find_volumes(second)}
    pairs = [(a[name], b[name]) for name in a if name in b]
    if not pairs:
        raise UsageError(f"no file in {first} has the name of one in {second}. Name the scans of a subject alike.")
    return pairs, [file for one, other in ((a, b), (b, a)) for name, file in one.items() if name not in other]


def _refuse_misaligned(motion: Motion) -> None:
    if motion.rotation > LARGEST_ROTATION or motion.translation > LARGEST_TRANSLATION:
        raise BadVolume(
            f"the head moved by {motion.rotation:.1f}° and {motion.translation:.1f} mm, too far to be believed."
        )
    if not motion.correlation >= SMALLEST_CORRELATION:
        raise BadVolume(
            f"the scans do not align: correlation {motion.correlation:.3f} after registration, "
            f"need {SMALLEST_CORRELATION}."
        )


def _rigid(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    """The rigid transform that takes points of `fixed` to `moving`, by normalised correlation on three scales."""
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in fixed.GetSize()]))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, gradientMagnitudeTolerance=1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 1])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        raise BadVolume(f"the registration failed ({one_line(error)}).") from None
    return start


def _size(transform: sitk.Euler3DTransform) -> tuple[float, float]:
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    angle = math.degrees(math.acos(max(-1.0, min(1.0, (float(np.trace(matrix)) - 1) / 2))))
    return angle, float(np.linalg.norm(transform.GetTranslation()))


def _image(volume: Volume) -> sitk.Image:
    """A volume as SimpleITK sees it: axes reversed in memory, world axes LPS instead of RAS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise BadVolume("its affine is sheared or singular, a rigid registration needs orthogonal axes.")
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(direction.flatten().tolist())
    return image


def _array(image: sitk.Image) -> NDArray[np.float32]:
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).T.astype(np.float32))
