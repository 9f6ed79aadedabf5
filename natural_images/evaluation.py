"""Scoring on test sets: each image corrupted once, restored by every method, compared with the truth in 8 bit."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from mri_n2n.durable import read_json, write_json
from mri_n2n.errors import UNREADABLE, UsageError
from mri_n2n.intervals import Estimate, estimate
from mri_n2n.metrics import in_8_bit, quality_of, ssim
from mri_n2n.progress import bar, say
from mri_n2n.recipes import described
from mri_n2n.restoration import restored
from mri_n2n.training.seeding import RandomStreams
from natural_images.datasets import Channels, as_images
from natural_images.image_files import BadImage, digest, find_images, read_pixels
from natural_images.noise import NoiseModel, Realisation
from natural_images.recipes import slug, spoken

INPUT = "input"
FORMAT = "photograph scores 1"
RESAMPLES = 10_000
SMALLEST = 11  # pixels: the window of the SSIM

Image = Float[Tensor, "c h w"]


@dataclass(frozen=True)
class Method:
    """A way to restore an image. identity: what its results depend on besides the image, its noise and the title."""

    identity: str
    restore: Callable[[Realisation], Float[Tensor, "1 c h w"]]


@dataclass(frozen=True)
class Reference:
    """A clean image `[c h w]` in [-0.5, 0.5], its set and its name in it."""

    set: str
    name: str
    image: Image


@dataclass(frozen=True)
class Score:
    """One method on one image. psnr in dB over all channels, of 8-bit values; ssim the mean over channels."""

    set: str
    image: str
    method: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class TestImage:
    """A file of a test set: the set is called after its folder, the image by its place in it."""

    __test__ = False  # not a test of pytest's

    set: str
    name: str
    path: Path

    @property
    def label(self) -> str:
        """What tells it from all others."""
        return f"{self.set}/{self.name}"


def read_reference(test: TestImage, channels: Channels) -> Reference:
    """Decode a test image. Raises `BadImage` if that fails."""
    return Reference(test.set, test.name, as_images([read_pixels(test.path)], channels)[0])


def realisation_of(noise: NoiseModel, reference: Reference) -> Realisation:
    """The image's corruption: it depends on the image's content alone, and is the same on every machine."""
    identity = hashlib.sha256(np.ascontiguousarray(reference.image.numpy()).tobytes()).hexdigest()
    generator = RandomStreams(0).at(f"evaluation/{identity}", 0)
    return noise(reference.image[None], torch.tensor([float(noise.low)]), generator)


def network_method(network: nn.Module, weights: str, device: torch.device) -> Method:
    """Restoring by a network on `device`. weights: their SHA-256."""
    return Method(weights, lambda realisation: restored(network, realisation.image[0], device)[None])


@torch.inference_mode()
def evaluate(
    tests: Sequence[TestImage], channels: Channels, noise: NoiseModel, methods: Mapping[str, Method], kept: Path
) -> list[Score]:
    """Score the corrupted input and every method, by its title, on every image, one image in memory at a time.

    noise: at one fixed level. kept: a folder for the scores, written image by image: an evaluation that was stopped
    goes on, and what it holds of the same methods and images is not measured again. Images that cannot be scored are
    told and left out. Raises if none can.
    """
    digests = digests_of(tests)
    usable = [test for test in tests if test.label in digests]
    scores: list[Score] = []
    for title, method in methods.items():
        path = kept / f"{slug(noise, title)}.json"
        key = {
            "format": FORMAT,
            "channels": channels,
            "method": method.identity,
            "noise": described(noise),
            "images": digests,
        }
        own = _known(path, key)
        done = {(score.set, score.image) for score in own}
        missing = [test for test in usable if (test.set, test.name) not in done]
        if missing:
            say(f"{spoken(noise)}: {title}")
        for test in bar(missing, description="evaluating", unit="image", shown=bool(missing)):
            try:
                reference = read_reference(test, channels)
                own += scored(reference, realisation_of(noise, reference), {title: method})
            except BadImage as error:
                say(f"left out: {error}")
                continue
            write_json(path, {"key": key, "scores": [asdict(score) for score in own]})
        if not own:
            raise UsageError("none of the test images can be used. What is wrong with each is told above.")
        scores += own if not scores else [score for score in own if score.method != INPUT]
        scorable = {(score.set, score.image) for score in own}
        usable = [test for test in usable if (test.set, test.name) in scorable]  # each is told once
    return scores


def digests_of(tests: Sequence[TestImage]) -> dict[str, str]:
    """The SHA-256 of every test image's file, by its label; those that cannot be read are told and left out."""
    digests = {}
    for test in tests:
        try:
            digests[test.label] = digest(test.path)
        except BadImage as error:
            say(f"left out: {error}")
    return digests


def _known(path: Path, key: Mapping[str, object]) -> list[Score]:
    try:
        content = read_json(path, "scores")
        same = content["key"] == json.loads(json.dumps(key))
        return [Score(**score) for score in content["scores"]] if same else []
    except (UsageError, *UNREADABLE):
        return []


def covered_share(tests: Sequence[TestImage], channels: Channels, noise: NoiseModel) -> float | None:
    """The share of pixels that a noise replaces or loses, averaged over test images; None if it touches them all."""
    shares = []
    for test in tests:
        corrupted = realisation_of(noise, read_reference(test, channels)).corrupted
        if corrupted is None:
            return None
        shares.append(float(corrupted.float().mean()))
    return sum(shares) / len(shares)


def scored(reference: Reference, realisation: Realisation, methods: Mapping[str, Method]) -> list[Score]:
    """The scores of all methods on one image, the input's first. Raises `BadImage` if it cannot be scored."""
    if min(reference.image.shape[-2:]) < SMALLEST:
        raise BadImage(
            f"{reference.set}/{reference.name} is too small to be scored: expected {SMALLEST} pixels a side."
        )
    results = {INPUT: realisation.image} | {name: method.restore(realisation) for name, method in methods.items()}
    return [_score(reference, name, result[0]) for name, result in results.items()]


def _score(reference: Reference, method: str, result: Image) -> Score:
    quality = quality_of(result, reference.image)
    if math.isinf(quality):
        raise BadImage(f"{reference.set}/{reference.name} is not changed by {method!r}: it has no PSNR.")
    similarity = float(ssim(in_8_bit(result), in_8_bit(reference.image)).mean())
    if not (math.isfinite(quality) and math.isfinite(similarity)):
        raise UsageError(
            f"the PSNR of {method!r} is {quality} on {reference.set}/{reference.name}. Look at that image."
        )
    return Score(reference.set, reference.name, method, quality, similarity)


def by_set(scores: Sequence[Score], method: str, metric: str = "psnr") -> dict[str, Estimate]:
    """A method's mean over each set's images, with 95 % bootstrap intervals over images."""
    return {
        name: estimate([(s.image, getattr(s, metric)) for s in scores if s.set == name and s.method == method])
        for name in dict.fromkeys(score.set for score in scores)
    }


def average(scores: Sequence[Score], method: str) -> Estimate:
    """The paper's average: the mean of the sets' means, with a 95 % bootstrap interval over the images of each set."""
    own = [score for score in scores if score.method == method]
    sets = dict.fromkeys(score.set for score in own)
    return stratified([np.array([score.psnr for score in own if score.set == name]) for name in sets])


def difference(scores: Sequence[Score], first: str, second: str) -> Estimate:
    """First minus second method's PSNR on the images that both have: the mean of the sets' means, as `average`.

    With a 95 % bootstrap interval over the images of each set; none where a set has one image.
    """
    known = {(s.method, s.set, s.image): s.psnr for s in scores}
    gains: dict[str, list[float]] = {}
    for score in scores:
        if score.method == first and (second, score.set, score.image) in known:
            gains.setdefault(score.set, []).append(score.psnr - known[second, score.set, score.image])
    return stratified([np.array(own) for own in gains.values()])


def stratified(sets: Sequence[NDArray[np.float64]]) -> Estimate:
    """The mean of the means of several sets, with its 95 % percentile interval under resampling within each set."""
    mean = float(np.mean([own.mean() for own in sets]))
    if min(len(own) for own in sets) < 2:
        return Estimate(mean, None, None)
    generator = np.random.default_rng(0)
    drawn = [own[generator.integers(len(own), size=(RESAMPLES, len(own)))].mean(axis=1) for own in sets]
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return Estimate(mean, float(low), float(high))


def images_of_sets(folders: Sequence[Path]) -> list[TestImage]:
    """The images of several test sets, which must be called differently."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError(f"two test sets have one name ({', '.join(names)}): scores are told by it. Rename a folder.")
    return [
        TestImage(name, str(path.relative_to(folder)), path)
        for name, folder in zip(names, folders, strict=True)
        for path in find_images(folder)
    ]


def table(scores: Sequence[Score]) -> str:
    """Markdown: PSNR of every method on every set with 95 % intervals, and their average over sets."""
    sets = list(dict.fromkeys(score.set for score in scores))
    lines = [f"| PSNR, dB | {' | '.join(sets)} | average |", "| --- |" + " --- |" * (len(sets) + 1)]
    for method in dict.fromkeys(score.method for score in scores):
        values = by_set(scores, method)
        cells = " | ".join(f"{values[name]}" for name in sets)
        lines.append(f"| {method} | {cells} | {average(scores, method)} |")
    return "\n".join(lines)
