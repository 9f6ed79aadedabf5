"""The report of a run on photographs: scores, tables and pictures in a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from mri_n2n import environment
from mri_n2n.data.selection import evenly_spread
from mri_n2n.drawing import Picture, draw_strips, illustrated
from mri_n2n.durable import check_writable, clear, write_csv, write_json, write_text
from mri_n2n.errors import UsageError
from mri_n2n.illustrations import ILLUSTRATIONS, write_illustrations
from mri_n2n.progress import bar, say
from mri_n2n.recipes import described
from mri_n2n.run_directory import Run
from mri_n2n.run_files import ScoreTable
from natural_images.baselines import Baseline, BlockMatching, DeepImagePrior, MedianFilter, VarianceStabilised
from natural_images.datasets import as_images, fingerprint_of, index_pairs
from natural_images.evaluation import (
    INPUT,
    Method,
    Reference,
    Score,
    by_set,
    digests_of,
    evaluate,
    images_of_sets,
    network_method,
    read_reference,
    realisation_of,
    scored,
    table,
)
from natural_images.image_files import BadImage
from natural_images.noise import Bernoulli, BrownGaussian, Gaussian, NoiseModel, Poisson, Realisation
from natural_images.training import crops_of, noise_to_test

EXAMPLES = 3
SCORES = "scores"  # of an evaluation that has not ended
OWN_FILES = ("images.csv", "summary.json", "results.md", "examples.png", ILLUSTRATIONS, SCORES)
NETWORK = "network"
UNIT = ("set", "image")
INTERVAL = "95 % bootstrap over images"


def report_on_images(
    run: Run,
    folders: Sequence[Path],
    place: Path,
    device: torch.device,
    *,
    level: float | None = None,
    baseline: bool = False,
    overwrite: bool = False,
) -> tuple[str, int]:
    """Corrupt test images, score `run` on them, write tables and pictures into `place`. Interrupted, it goes on.

    Returns the table, and how many images could not be used.
    """
    noise = noise_to_test(run.recipe, level)
    if noise is None:
        raise UsageError("this run was trained on real pairs: score it with --pairs NOISY REFERENCE.")
    _make_room(place, overwrite)
    methods = (classical(noise, device) if baseline else {}) | _methods(run, device)
    tests = images_of_sets(folders)
    channels = crops_of(run.recipe).channels
    scores = evaluate(tests, channels, noise, methods, place / SCORES)
    scorable = {(score.set, score.image) for score in scores}
    good = [test for test in tests if (test.set, test.name) in scorable]
    references = [read_reference(test, channels) for test in _some(good)]
    rows = [restored_row(reference, realisation_of(noise, reference), methods) for reference in references]
    about = {
        "noise": described(noise),
        "tested_on": fingerprint_of(digests_of(good)),
        "identities": {title: method.identity for title, method in methods.items()},
    }
    text = _written(run, place, scores, rows, about, device)
    rmtree(place / SCORES)
    return text, len(tests) - len(good)


def report_on_exposures(
    run: Run, pairs: tuple[Path, Path], place: Path, device: torch.device, *, overwrite: bool = False
) -> tuple[str, int]:
    """Score `run` on real pairs: the first image of each is restored and compared with the second.

    Returns the table, and how many pairs could not be used.
    """
    _make_room(place, overwrite)
    methods = _methods(run, device)
    scenes = index_pairs(*pairs)
    scores: list[Score] = []
    good = []

    def read(row: int) -> tuple[Reference, Realisation]:
        both = as_images(scenes.read(row), crops_of(run.recipe).channels)
        name = str(scenes.files[row][0].relative_to(pairs[0]))
        return Reference(pairs[0].name, name, both[1]), Realisation(both[:1])

    for row in bar(range(len(scenes)), description="evaluating", unit="pair"):
        try:
            scores += scored(*read(row), methods)
            good.append(row)
        except BadImage as error:
            say(f"left out: {error}")
    if not good:
        raise UsageError("none of the pairs can be used. What is wrong with each is told above.")
    rows = [restored_row(*read(row), methods) for row in _some(good)]
    about = {"noise": "as captured", "tested_on": scenes.fingerprint}
    return _written(run, place, scores, rows, about, device), scenes.bad + len(scenes) - len(good)


def classical(noise: NoiseModel, device: torch.device, prior_steps: int = DeepImagePrior.steps) -> dict[str, Method]:
    """The classical method for a noise at a fixed level, by its name; none where the prior is given no steps.

    None for brown noise: BM3D would take it for white. Raises if BM3D is wanted and not installed.
    The deep image prior runs on `device` (hours per image on a CPU), the others on the CPU.
    """
    if isinstance(noise, BrownGaussian):
        return {}
    if isinstance(noise, Gaussian):
        return {"BM3D": _method(BlockMatching(noise.low), "bm3d")}
    if isinstance(noise, Poisson):
        return {"Anscombe + BM3D": _method(VarianceStabilised(noise.low), "bm3d")}
    if isinstance(noise, Bernoulli):
        prior = DeepImagePrior(prior_steps)
        return {"deep image prior": Method(f"{prior}", partial(_prior, prior, device))} if prior_steps else {}
    median = MedianFilter(5 if noise.low > 0.3 else 3)
    return {f"median {median.size}×{median.size}": _method(median, "scipy")}


def _method(baseline: Baseline, package: str) -> Method:
    return Method(f"{baseline}, {package} {version(package)}", lambda realisation: baseline(realisation.image))


def _prior(prior: DeepImagePrior, device: torch.device, realisation: Realisation) -> torch.Tensor:
    assert realisation.corrupted is not None  # Bernoulli noise says which pixels it took
    return prior(realisation.image.to(device), valid=~realisation.corrupted.to(device)).cpu()


def restored_row(
    reference: Reference, realisation: Realisation, methods: Mapping[str, Method]
) -> tuple[str, dict[str, Picture]]:
    """An image as a row of a picture: corrupted, restored by every method, and true."""
    images: dict[str, Picture] = {INPUT: realisation.image[0]}
    images |= {name: method.restore(realisation)[0] for name, method in methods.items()}
    return reference.name, images | {"reference": reference.image}


def summary(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Per method: {"<set>/psnr": mean with its interval, ...}."""
    return {
        method: {
            f"{name}/{metric}": asdict(value)
            for metric in ("psnr", "ssim")
            for name, value in by_set(scores, method, metric).items()
        }
        for method in dict.fromkeys(score.method for score in scores)
    }


def _make_room(place: Path, overwrite: bool) -> None:
    stopped = place.is_dir() and [path.name for path in place.iterdir()] == [SCORES]
    clear(place, OWN_FILES, overwrite=overwrite or stopped, dry_run=True)
    check_writable(place)


def method_of(run: Run, device: torch.device) -> Method:
    """Restoring by a run's network."""
    return network_method(run.network().to(device), str(run.provenance()["weights_sha256"]), device)


def _methods(run: Run, device: torch.device) -> dict[str, Method]:
    return {NETWORK: method_of(run, device)}


def _some(items: Sequence[Any]) -> list[Any]:
    return [items[place] for place in evenly_spread(len(items), EXAMPLES)]


def _written(
    run: Run,
    place: Path,
    scores: Sequence[Score],
    rows: Sequence[tuple[str, Mapping[str, Picture]]],
    about: Mapping[str, Any],
    device: torch.device,
) -> str:
    write_csv(place / "images.csv", [asdict(score) for score in scores])
    content = {
        "label": run.domain.caution,
        **about,
        "scores": asdict(ScoreTable("images.csv", UNIT, UNIT, ("psnr", "ssim"), NETWORK)),
        "trained_on": run.data["fingerprint"],
        "recipe": described(run.recipe),
        "environment": environment.description(device),
        **run.provenance(),
        "images": len({(score.set, score.image) for score in scores}),
        "interval": INTERVAL,
        "methods": summary(scores),
    }
    write_json(place / "summary.json", content)
    text = table(scores)
    noise = about["noise"]
    kind = f"{noise['kind']} at {noise['low']:g}" if isinstance(noise, dict) else noise
    write_text(place / "results.md", f"{run.name}; noise: {kind}\n\n{text}\n\nBrackets: {INTERVAL}.\n")
    draw_strips(place / "examples.png", rows)
    write_illustrations(place, illustrated(rows))
    return text
