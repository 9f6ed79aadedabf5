from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from mri_n2n.training.batches import batch_rows


@given(st.integers(1, 9), st.integers(1, 13), st.integers(0, 3))
def test_every_image_once_per_epoch(batch_size: int, population: int, seed: int) -> None:
    rows = torch.cat([batch_rows(step, batch_size, population, seed) for step in range(population)])
    seen = Counter(rows.tolist())  # batch_size epochs
    assert seen == dict.fromkeys(range(population), batch_size)


def test_order_differs_between_epochs_and_seeds() -> None:
    epochs = [batch_rows(step, 50, 50, 0) for step in (0, 1)] + [batch_rows(0, 50, 50, 1)]
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3
