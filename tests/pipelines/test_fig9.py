import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer

from mri_n2n.recipes import described
from pipelines.paper.fig9 import fig9


def test_paper_scale_is_the_published_protocol() -> None:
    experiment = fig9("paper", 5000)
    for recipes in experiment.arms.values():
        assert [recipe.seed for recipe in recipes] == [0, 1]
        assert recipes[0].optimisation.steps == 93_750  # 300 epochs of 5,000 slices in batches of 16
        assert described(recipes[0].task.corruption)["edge_probability"] == 0.025


def test_arms_differ_in_one_thing() -> None:
    arms = fig9("small", 3250).arms
    noisy, clean, ht = (described(arms[name][0]) for name in ("noisy targets", "clean targets", "noisy targets, ht"))
    assert clean["task"]["corruption"].pop("targets") == "clean"
    assert noisy["task"]["corruption"].pop("targets") == ht["task"]["corruption"].pop("targets") == "noisy"
    assert clean == noisy
    assert ht["task"].pop("loss")["kind"] == "HorvitzThompson"
    noisy["task"].pop("loss")
    assert ht == noisy


def test_smoke(cli: Callable[..., Answer], tmp_path: Path) -> None:
    """The whole experiment on its own heads, below a minute of a processor's time, and again from what it left."""
    began = time.process_time()
    answer = cli("reproduce", "fig9", "--scale", "smoke", "--device", "cpu")
    assert answer.code == 0, answer.err
    assert time.process_time() - began < 60
    folder = tmp_path / "runs/fig9-smoke"
    for name in ("fig9-smoke.png", "scores.png", "results.md", "summary.json", "slices.csv", "subjects.csv"):
        assert (folder / name).stat().st_size > 0
    summary = json.loads((folder / "summary.json").read_text())
    arms = {"noisy targets", "clean targets", "noisy targets, ht"}
    assert {"zero-filled 1/p", "zero-filled", "total variation"} | arms < set(summary["methods"])
    assert all(math.isfinite(value["psnr"]["mean"]) for value in summary["methods"].values())
    for arm in arms:
        assert summary["differences"][f"{arm}: replacement − none"]["mean"] > 0
    assert "simulated" in (folder / "results.md").read_text()
    states = sorted(folder.rglob("training-state.pt"))
    assert len(states) == 3


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)
def test_small(cli: Callable[..., Answer], tmp_path: Path, shared_ixi: Path) -> None:
    """METHOD's orderings on real data, 45 minutes on two CPU cores: what docs/results/mri.md claims."""
    assert cli("prepare", "ixi", shared_ixi, "data").code == 0
    answer = cli("reproduce", "fig9", "data", "--scale", "small", "--device", "cpu")
    assert answer.code == 0, answer.err
    summary = json.loads((tmp_path / "runs/fig9-small/summary.json").read_text())
    gaps = {name: value["mean"] for name, value in summary["differences"].items()}
    for arm in ("noisy targets", "clean targets", "noisy targets, ht"):
        assert gaps[f"{arm} − zero-filled"] >= 2.5
        assert gaps[f"{arm}: replacement − none"] >= 0
    assert abs(gaps["noisy targets − clean targets"]) <= 0.2
