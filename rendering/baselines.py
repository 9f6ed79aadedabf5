"""What renderings are compared with: Intel Open Image Denoise, a network trained by others on clean targets."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray

from mri_n2n.errors import UsageError


def open_image_denoise(
    colour: Float[ndarray, "3 h w"],
    albedo: Float[ndarray, "3 h w"] | None = None,
    normal: Float[ndarray, "3 h w"] | None = None,
) -> Float32[ndarray, "3 h w"]:
    """One noisy image denoised on the CPU, in as many threads as PyTorch's; their number changes no bit of the result.

    colour: linear radiance without an upper bound; albedo in [0, 1] and normals in [-1, 1], noisy as the colour is.
    Normals need albedo with them. Raises `UsageError` if the library is not installed or a value is no finite number.
    """
    oidn = _library()
    if normal is not None and albedo is None:
        raise ValueError("Open Image Denoise takes normals only together with albedo")
    device = oidn.Device(oidn.DeviceType.CPU)
    device.num_threads = torch.get_num_threads()
    denoiser = device.new_filter("RT")
    denoiser.hdr = True
    for name, planes in (("color", colour), ("albedo", albedo), ("normal", normal)):
        if planes is None:
            continue
        if not np.isfinite(planes).all():
            raise UsageError(f"Open Image Denoise expects finite numbers, found others in {name}. Set them to 0.")
        denoiser.set_image(name, np.ascontiguousarray(np.moveaxis(planes, 0, -1), np.float32))
    denoised = np.empty((*colour.shape[1:], 3), np.float32)
    denoiser.set_image("output", denoised)
    denoiser.execute()
    return np.ascontiguousarray(np.moveaxis(denoised, -1, 0))


def open_image_denoise_version() -> str:
    """What scores of it are kept under. Raises `UsageError` if it is not installed: ask before long work."""
    return f"Open Image Denoise {_library().oidn_version()}, HDR, high quality"


def _library() -> Any:
    try:
        import mitsuba_oidn
    except ImportError as error:
        raise UsageError(
            f"Open Image Denoise is not installed ({error}). Run: pip install --upgrade 'mri-n2n[rendering]'"
        ) from None
    return mitsuba_oidn
