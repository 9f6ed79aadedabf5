import json

import pytest

from mri_n2n.errors import UsageError
from mri_n2n.recipes import (
    COMPLEX,
    Optimisation,
    Recipe,
    described,
    kspace_task,
    pairs_task,
    rebuilt,
    undersampling_task,
)
from mri_n2n.run_files import flat

RECIPES = [
    Recipe(undersampling_task(), Optimisation(steps=93_750)),
    Recipe(undersampling_task(loss="ht", acceleration=8.0), Optimisation(steps=3, batch_size=2, bf16=True), seed=4),
    Recipe(undersampling_task(targets="clean"), Optimisation(steps=3)),
    Recipe(pairs_task(), Optimisation(steps=3)),
    Recipe(kspace_task(), Optimisation(steps=3), COMPLEX),
    Recipe(kspace_task(acceleration=4.0, targets="clean", loss="paper"), Optimisation(steps=3), COMPLEX),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert rebuilt(json.loads(json.dumps(described(recipe)))) == recipe


def test_defaults_are_the_published_configuration() -> None:
    lines = flat(described(RECIPES[0]))
    assert lines["task.corruption.edge_probability"] == "0.025"
    assert lines["task.corruption.targets"] == "noisy"
    assert lines["task.corruption.translation"] == "0.25"  # 64 of 256
    assert lines["task.loss.kind"] == "SquaredError"
    assert lines["task.predict.kind"] == "data_consistent"
    assert lines["optimisation.batch_size"] == "16"
    assert lines["optimisation.schedule.peak"] == "0.001"


@pytest.mark.parametrize("wrong", [{}, {"kind": "Recipe"}, {"kind": "os.system"}, {"kind": "Task"}, [], None, "x"])
def test_foreign_recipes(wrong: object) -> None:
    with pytest.raises(UsageError, match="recipe cannot be read"):
        rebuilt(wrong)


def test_ht_needs_noisy_targets() -> None:
    with pytest.raises(UsageError, match="ht loss"):
        undersampling_task(loss="ht", targets="clean")
