from dataclasses import replace

from benchmarks.precision import precisions


def test_the_arms_differ_in_precision_alone() -> None:
    arms = precisions(8, 2).arms
    for full, half in zip(arms["fp32"], arms["bf16"], strict=True):
        assert half.optimisation.bf16
        assert not full.optimisation.bf16
        assert replace(half, optimisation=full.optimisation) == full
    assert [recipe.seed for recipe in arms["bf16"]] == [0, 1]
