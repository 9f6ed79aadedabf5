import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mri_n2n.baselines import TotalVariation
from mri_n2n.data.slices import open_prepared
from mri_n2n.errors import UsageError
from mri_n2n.evaluation import (
    CLASSICAL,
    CONSISTENT,
    INPUT,
    PLAIN,
    ZERO_FILLED,
    evaluate,
    methods_for,
    pair_at,
    validation_places,
)
from mri_n2n.intervals import estimate
from mri_n2n.kspace.acquisition import zero_filled
from mri_n2n.metrics import psnr
from mri_n2n.recipes import Recipe
from mri_n2n.scores import Score, differences, summarised, table, write_scores
from mri_n2n.task import RepeatedScans, Undersampling
from mri_n2n.training.task import network_output

CPU = torch.device("cpu")
FIVE = Undersampling(acceleration=5.0, edge_probability=None)


def test_interval_covers_at_its_rate() -> None:
    """Of 300 samples of 20 subjects, the 95 % interval misses the truth about 8 % of the time (percentile bootstraps of
    20 are a little narrow); more than 14 % or less than 2 % would happen by chance with probability below 1e-3."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(300):
        means = rng.normal(30, 1, 20)
        found = estimate([(str(n), mean + d) for n, mean in enumerate(means) for d in (-0.1, 0.1)])
        missed += not found.low <= 30 <= found.high
    assert 0.02 < missed / 300 < 0.14


def test_estimate_weighs_slices_and_resamples_subjects() -> None:
    found = estimate([("a", 1.0), ("a", 1.0), ("a", 1.0), ("b", 5.0)])
    assert found.mean == 2.0
    assert (found.low, found.high) == (1.0, 5.0)
    alone = estimate([("a", 1.0), ("a", 3.0)])
    assert (alone.mean, alone.low, alone.high) == (2.0, None, None)
    assert f"{alone}" == "2.00"
    assert f"{found:.1f}" == "2.0 [1.0, 5.0]"


def test_masks_do_not_depend_on_batch_or_selection(prepared: Path) -> None:
    data = open_prepared(prepared)
    methods = {ZERO_FILLED: lambda pair: zero_filled(pair.measurement)}
    whole = evaluate(data, FIVE, methods, CPU, batch_size=5)
    again = evaluate(data, FIVE, methods, CPU, batch_size=12)
    part = evaluate(data, FIVE, methods, CPU, places=validation_places(data, 3))
    for score in (*again, *part):
        match = next(other for other in whole if other.row == score.row)
        assert score.psnr == pytest.approx(match.psnr, rel=1e-5)
    assert len(whole) == 12
    assert {score.subject for score in whole} == {"validation-001", "validation-002"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_names_its_slice(prepared: Path, value: float) -> None:
    data = open_prepared(prepared)

    def broken(pair) -> torch.Tensor:
        images = pair.target[:, 0].clone() + 0.1
        images[1] = value
        return images

    with pytest.raises(UsageError, match=r"'broken' is .* on subject validation-001, slice 15"):
        evaluate(data, FIVE, {"broken": broken}, CPU)


def test_differences_are_paired() -> None:
    """Slice by slice, also where a subject has several volumes with slices of the same number; seeds are pooled."""
    scores = []
    for row in range(8):
        for method, gain in (("a", 1.0), ("b", 0.0), ("a2", 3.0), ("b2", 0.0)):
            scores.append(Score(f"s{row // 4}", row, row % 2, method, 30.0 + 5 * row + gain, 0.9, 0.1))
    found = differences(scores, [("a", "b")])
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    assert differences(scores, [("a", "b"), ("a2", "b2")]).mean == 2.0


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_files(tmp_path: Path) -> None:
    slices = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    scores = [Score(subject, row, place, "m", 30.0 + place, 0.9, 0.1) for row, (subject, place) in enumerate(slices)]
    write_scores(tmp_path, scores, {"label": "simulated"})
    rows = read(tmp_path / "slices.csv")
    assert len(rows) == 4
    assert list(rows[0]) == ["subject", "row", "slice", "method", "psnr", "ssim", "nmse"]
    assert list(rows[1].values()) == ["a", "1", "2", "m", "32.0", "0.9", "0.1"]
    assert [row["psnr"] for row in read(tmp_path / "subjects.csv")] == ["31.5", "31.5"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["label"] == "simulated"
    assert (summary["subjects"], summary["slices"]) == (2, 4)
    assert summary["methods"]["m"]["psnr"] == {"mean": 31.5, "low": 31.5, "high": 31.5}
    assert "31.50 [31.50, 31.50]" in table(scores)


def test_total_variation_denoises_what_it_should() -> None:
    """On a piecewise constant image at low acceleration the classical method is far above zero-filling."""
    image = torch.full((1, 1, 33, 33), -0.5)
    image[..., 8:20, 10:25] = 0.3
    pair = Undersampling(acceleration=3.0, edge_probability=None).evaluation_pair(image, [torch.Generator()])
    naive = psnr(zero_filled(pair.measurement), pair.target[:, 0])
    classical = psnr(TotalVariation(iterations=300)(pair.measurement), pair.target[:, 0])
    assert float(classical) > float(naive) + 3
    assert torch.equal(TotalVariation(iterations=20)(pair.measurement), TotalVariation(iterations=20)(pair.measurement))


def test_kinds_of_data_and_run_must_match(prepared: Path) -> None:
    with pytest.raises(UsageError, match="needs real pairs"):
        evaluate(open_prepared(prepared), RepeatedScans(), {}, CPU)
    with pytest.raises(UsageError, match="simulates undersampling"):
        FIVE.check_data("pairs", (48, 48))
    with pytest.raises(UsageError, match="impossible"):
        Undersampling(acceleration=600.0, edge_probability=None).check_data("images", (31, 31))
    with pytest.raises(UsageError, match="impossible"):
        Undersampling(acceleration=5000.0, edge_probability=None).check_data("images", (256, 256))


def test_methods(prepared: Path, tiny_recipe: Recipe) -> None:
    data = open_prepared(prepared)
    network = tiny_recipe.network.build()
    methods = methods_for(tiny_recipe, network, classical=TotalVariation(iterations=5))
    assert list(methods) == [INPUT, ZERO_FILLED, CLASSICAL, "network", "network with replacement"]
    summary = summarised(evaluate(data, FIVE, methods, CPU, places=validation_places(data, 4)))
    assert summary[ZERO_FILLED]["psnr"].mean > summary[INPUT]["psnr"].mean
    assert summary["network with replacement"]["psnr"].mean > summary["network"]["psnr"].mean
    pair = pair_at(data, FIVE, validation_places(data, 4), CPU)
    assert torch.equal(methods[INPUT](pair), pair.input[:, 0])


def test_methods_that_share_a_network_share_its_passes(prepared: Path, tiny_recipe: Recipe) -> None:
    data, network = open_prepared(prepared), tiny_recipe.network.build()
    passes: list[int] = []
    network.register_forward_hook(lambda *_: passes.append(1))
    methods = methods_for(tiny_recipe, network)
    pairs = [pair_at(data, FIVE, [place], CPU) for place in validation_places(data, 2)]
    results = [[methods[name](pair) for name in (PLAIN, CONSISTENT)] for pair in pairs]
    assert len(passes) == 2  # one for each pair, though two methods ask
    for pair, (plain, consistent) in zip(pairs, results, strict=True):
        assert torch.equal(plain, network_output(network, pair)[:, 0])
        assert torch.equal(consistent, tiny_recipe.task.predict(network, pair)[:, 0])
