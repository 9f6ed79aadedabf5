"""OpenEXR images denoised by a trained network: one, or every one of a folder."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mri_n2n.durable import replacing, sha256_of
from mri_n2n.errors import BadVolume, UsageError
from mri_n2n.file_by_file import Made, planned, work_through
from mri_n2n.progress import say
from mri_n2n.run_directory import Run
from rendering.denoising import denoiser_of
from rendering.exr import Layers, Normals, read_exr, write_exr
from rendering.radiance import Planes, halved, in_8_bit, tone_map

REFERENCE = "-reference.exr"  # what `render export` calls a clean image


def denoise_files(
    run: Run, source: Path, output: Path, device: torch.device, *, normals: Normals = "auto", overwrite: bool = False
) -> list[dict[str, Any]]:
    """Denoise an image, or every one below a folder to the same place in `output`; return what each one made now is.

    The radiance goes into an .exr, its tone-mapped picture into a .png beside it, and what made them into a .json.
    Interrupted, the same call goes on. Raises `UsageError` where an image cannot be used; the others are still done.
    """
    denoiser = denoiser_of(run, device)
    jobs = planned(source, output, _images(source), lambda path: path.with_suffix(".exr"))
    unnamed = next((job.target for job in jobs if job.target.suffix.lower() != ".exr"), None)
    if unnamed:
        raise UsageError(f"cannot write {unnamed}: its name should end in .exr, or be a folder's that exists.")
    pictures = [
        job.target.with_suffix(".png") for job in jobs if not job.target.with_name(f"{job.target.name}.json").exists()
    ]
    taken = next((picture for picture in pictures if picture.exists()), None)
    if taken and not overwrite:
        raise UsageError(f"{taken} exists. Choose another output or add --overwrite.")

    def work(read: tuple[Layers, str]) -> Made:
        layers, digest = read
        assert layers.albedo is not None
        assert layers.normal is not None
        radiance = denoiser(layers.colour, layers.albedo, layers.normal)
        about = {"source_sha256": digest, "replaced_pixels": layers.replaced, "clamped_values": halved(radiance)[1]}
        return Made(about, partial(_write, radiance))

    identity = run.identity() | {"normals": normals}
    done = work_through(
        jobs, partial(_read, normals=normals), work, identity, overwrite=overwrite, doing="denoising", unit="image"
    )
    return [about for _, about in done]


def _images(source: Path) -> list[Path]:
    if not source.is_dir():
        if not source.exists():
            raise UsageError(f"no image at {source}. Check the path.")
        return [source]
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() == ".exr")
    noisy = [path for path in found if not path.name.endswith(REFERENCE)]
    if not noisy:
        raise UsageError(f"no OpenEXR image (.exr) in {source} or below.")
    if len(noisy) < len(found):
        say(f"{len(found) - len(noisy)} references (*{REFERENCE}) are clean and left alone.")
    return noisy


def _read(path: Path, normals: Normals) -> tuple[Layers, str]:
    try:
        layers, digest = read_exr(path, normals), sha256_of(path)
    except UsageError as error:
        raise BadVolume(str(error)) from None
    if layers.albedo is None or layers.normal is None:
        missing = " and ".join(name for name in ("albedo", "normal") if getattr(layers, name) is None)
        raise BadVolume(f"{path} has no {missing}, which the network looks at. Render with these layers.")
    return layers, digest


def _write(radiance: Planes, target: Path) -> None:
    with replacing(target.with_suffix(".png")) as temporary:
        Image.fromarray(in_8_bit(tone_map(radiance))).save(temporary, "png")
    write_exr(target, {"colour": radiance})
