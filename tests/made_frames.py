"""Frames that no renderer made, for tests that need none."""

from pathlib import Path

import numpy as np

from rendering.frames import FrameStore, Layout


def made_frames(
    directory: Path,
    scenes: dict[str, int],
    *,
    size: tuple[int, int] = (48, 64),
    replicates: int = 2,
    reference: bool = True,
    seed: int = 0,
) -> FrameStore:
    """A store that no renderer made: smooth radiance over two decades, under noise of mean 1 with a long tail."""
    generator = np.random.default_rng(seed)
    total = sum(scenes.values())
    views = {name: [{"origin": [0, 0, view]} for view in range(count)] for name, count in scenes.items()}
    store = FrameStore.create(directory, {"views": views, "seed": seed}, Layout(total, replicates, size, reference))
    y, x = np.mgrid[: size[0], : size[1]] / 16
    for row in range(total):
        waves = generator.uniform(0.5, 2, (3, 2))
        clean = np.stack([np.exp(2 * np.sin(a * x) * np.cos(b * y)) for a, b in waves])
        noise = generator.gamma(0.5, 2.0, (replicates, 3, *size))
        albedo = np.stack([np.tanh(clean)] * replicates)
        normal = np.stack([np.stack([np.sin(x), np.cos(x), 0 * x])] * replicates)
        planes = {"colour": clean * noise, "albedo": albedo, "normal": normal, "reference": clean}
        store.write(row, {name: planes[name] for name in store.layout.arrays()}, 0)
    return store
