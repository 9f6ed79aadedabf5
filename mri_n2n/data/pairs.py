"""Real pairs: two noisy scans of each subject, the second registered to the first."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mri_n2n.data.folders import closed_places
from mri_n2n.data.manifest import Manifest, StoredVolume
from mri_n2n.data.preparation import PrepareRequest, prepare
from mri_n2n.data.selection import normalised
from mri_n2n.data.volumes import Volume, find_volumes, named, read_volume, stem
from mri_n2n.errors import BadVolume, UsageError, one_line
from mri_n2n.progress import say

LARGEST_ROTATION = 20.0  # degrees
LARGEST_TRANSLATION = 30.0  # mm
SMALLEST_CORRELATION = 0.975  # of the smoothed scans after registration; on real heads 0.99 for one head, 0.955 for two


@dataclass(frozen=True)
class Motion:
    """How the head moved between two scans, and how well they agree once it is undone.

    The translation is that of the head's centre, the correlation that of the smoothed scans, the gain that of B over A.
    """

    rotation_degrees: float
    translation_mm: float
    correlation: float
    gain: float


def register(first: Volume, second: Volume) -> tuple[NDArray[np.float32], Motion]:
    """Both scans `[2 x y z]` on the grid of `first`, and the motion found and undone.

    `second` is rigidly moved and scaled to the brightness of `first`. Noise is kept as far as interpolation allows
    (cubic B-spline). Places that the second scan does not cover are black in both: there is nothing to learn.
    """
    fixed, moving = _image(first), _image(second)
    transform = _rigid(fixed, moving)
    everywhere = sitk.Cast(moving * 0 + 1, sitk.sitkFloat32)
    inside = _array(sitk.Resample(everywhere, fixed, transform, sitk.sitkNearestNeighbor, 0.0)) > 0.5
    a, b = first.array, _array(sitk.Resample(moving, fixed, transform, sitk.sitkBSpline, 0.0))
    head = inside & (gaussian_filter(a, 1.5) > 0.2 * np.percentile(a, 99))
    if head.sum() < 0.01 * head.size or not b[head].mean() > 0:
        raise BadVolume("the two scans do not overlap.")
    gain = float(b[head].mean() / a[head].mean())
    pair = np.where(inside, np.stack([a, b / gain]), 0).astype(np.float32)
    smooth = [gaussian_filter(scan, 1.5)[inside] for scan in pair]
    correlation = float(np.corrcoef(smooth)[0, 1])
    return pair, Motion(*_size(transform), correlation, gain)


def prepare_pairs(first: Path, second: Path, destination: Path, request: PrepareRequest | None = None) -> Manifest:
    """Match the volumes of two folders by name, register each second scan to its first, and store both as real pairs.

    A pair that cannot be read or does not align is reported and skipped, or raised if strict.
    """
    request = request or PrepareRequest(bits=16)
    pairs, alone = _matched(first, second)
    for file in alone:
        say(f"skipped: {file} has no partner of the same name in the other folder.")

    def load(name: str) -> tuple[NDArray[np.float32], StoredVolume]:
        a, b = (read_volume(file) for file in pairs[name])
        chosen = request.slices.within(pairs[name][0], a.array.shape[2])
        try:
            if a.sha256 == b.sha256:
                raise BadVolume("both files are the same scan, a pair needs two.")
            both, motion = register(a, b)
            _refuse_misaligned(motion)
        except BadVolume as error:
            raise BadVolume(f"{pairs[name][0]} and its partner: {error}") from None
        images, stored = normalised(both, chosen)
        sources = [{"file": name, "sha256": a.sha256}, {"file": name, "sha256": b.sha256}]
        return images, replace(stored, sources=sources, notes=asdict(motion))

    sources = {name: pair[0] for name, pair in pairs.items()}
    where, partners = f"in both {first} and {second}", [pair[1] for pair in pairs.values()]
    closed = closed_places(first, second)
    return prepare("pairs", sources, load, destination, request, where=where, partners=partners, closed=closed)


def _matched(first: Path, second: Path) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """Pairs of files with the same relative name (the suffix may differ), and files without a partner."""
    if first.resolve() == second.resolve():
        raise UsageError(f"{first} was given twice: real pairs need two scans.")
    names = {name: file.relative_to(first).with_name(stem(file)) for name, file in named(first).items()}
    others = {file.relative_to(second).with_name(stem(file)): file for file in find_volumes(second)}
    pairs = {name: (first / name, others[key]) for name, key in names.items() if key in others}
    if not pairs:
        raise UsageError(f"no file in {first} has the name of one in {second}. Name the scans of a subject alike.")
    alone = [first / name for name in names if name not in pairs]
    return pairs, alone + [file for key, file in others.items() if key not in names.values()]


def _refuse_misaligned(motion: Motion) -> None:
    if motion.rotation_degrees > LARGEST_ROTATION or motion.translation_mm > LARGEST_TRANSLATION:
        raise BadVolume(
            f"the head moved by {motion.rotation_degrees:.1f}° and {motion.translation_mm:.1f} mm, too far."
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
