"""The comparison with others' means still runs, and its parts are what they are called."""

import numpy as np
import torch

from benchmarks.peers import FastMRIUNet, NaivePairs, measure, table
from pipelines.benchmark.workload import Workload


def test_all_are_compared() -> None:
    result = measure(Workload(size=32, batch_size=2, repeats=1))
    least = result["networks"]["ours"]["forward_gflop_per_slice"]
    assert all(own["forward_gflop_per_slice"] >= least for own in result["networks"].values())
    text = table(result)
    for name in ("ours", "MONAI BasicUNet", "fastMRI-style U-Net", "MONAI SupervisedTrainer", "naive"):
        assert f"| {name} |" in text


def test_the_fastmri_style_network_keeps_the_size() -> None:
    assert FastMRIUNet(8)(torch.zeros(1, 1, 64, 48)).shape == (1, 1, 64, 48)


def test_the_naive_feed_keeps_the_mean_and_draws_two_sides() -> None:
    images = np.random.default_rng(0).random((3, 15, 15), dtype=np.float32)
    for image, (first, second) in zip(images, NaivePairs(images), strict=False):
        assert first.shape == second.shape == (1, 15, 15)
        assert not np.array_equal(first, second)
        for side in (first, second):
            np.testing.assert_allclose(side.mean(), image.mean(), atol=1e-5)  # DC is always kept
