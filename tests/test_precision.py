from dataclasses import replace

from benchmarks.precision import precisions, table_of
from mri_n2n.networks.spec import UNetSpec
from mri_n2n.scores import Score


def test_the_arms_differ_in_precision_alone() -> None:
    arms = precisions(8, 2, UNetSpec()).arms
    for full, half in zip(arms["fp32"], arms["bf16"], strict=True):
        assert half.optimisation.bf16
        assert not full.optimisation.bf16
        assert replace(half, optimisation=full.optimisation) == full
    assert [recipe.seed for recipe in arms["bf16"]] == [0, 1]


def test_the_interval_is_over_seeds() -> None:
    found = {("fp32", 0): 30.0, ("bf16", 0): 30.1, ("fp32", 1): 31.0, ("bf16", 1): 30.9}
    scores = [
        Score(subject, row, 0, f"{arm}, seed {seed}", psnr + row, 0.5, 0.1)
        for (arm, seed), psnr in found.items()
        for row, subject in enumerate(["a", "b"])
    ]
    table = table_of(scores, 2)
    assert "| 0 | +0.100 |" in table
    # Student's t for two values is 12.706, and the standard error of ±0.1 is 0.1.
    assert "| +0.000 [-1.271, +1.271] |" in table.replace("-0.000", "+0.000")
