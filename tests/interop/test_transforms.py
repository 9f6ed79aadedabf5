"""MONAI's transforms that draw pairs. False-alarm rates of the statistical tests are stated with each."""

import math

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, CopyItemsd, DeleteItemsd, RandFlipd, ScaleIntensityRanged

from mri_n2n.errors import UsageError
from mri_n2n.interop.transforms import RandUndersample, RandUndersampled, pair_of
from mri_n2n.kspace.acquisition import density_compensated_adjoint
from mri_n2n.kspace.fourier import half_plane
from mri_n2n.task import Undersampling
from mri_n2n.training.task import Batch

DRAWN = ["input", "target", "samples", "mask", "target_samples", "target_mask", "density", "weights"]


def image(height: int = 12, width: int = 11) -> torch.Tensor:
    return torch.rand((1, height, width), generator=torch.Generator().manual_seed(7)) - 0.5


def drawn(seed: int = 3, **arguments: object) -> dict:
    transform = RandUndersample(acceleration=3.0, **arguments)
    return transform.set_random_state(seed)(image())


def test_it_is_the_engines_pair() -> None:
    """The same generator gives the same bits as the corruption that `mri-n2n train` uses."""
    transform = RandUndersample(acceleration=3.0)
    found = transform.set_random_state(3)(image())
    seed = int(np.random.RandomState(3).randint(2**63 - 1, dtype=np.int64))
    sampling = Undersampling(3.0, None, translation=0.0, odd_grid=False)
    pair = sampling(Batch(image()[None], torch.zeros(1, dtype=torch.long)), torch.Generator().manual_seed(seed))
    assert list(found) == DRAWN
    assert torch.equal(found["input"], pair.input[0])
    assert torch.equal(found["target"], pair.target[0])
    rebuilt = pair_of({name: value[None] for name, value in found.items()})
    assert torch.equal(density_compensated_adjoint(rebuilt.measurement)[:, None], pair.input)
    assert torch.equal(density_compensated_adjoint(rebuilt.target_measurement)[:, None], pair.target)
    torch.testing.assert_close(found["weights"], 1 / half_plane(sampling.density((12, 11))))


def test_the_random_state_decides_in_any_compose() -> None:
    steps = [RandFlipd(keys="image", prob=0.5), RandUndersampled(keys="image", acceleration=3.0)]
    chain = Compose(steps)

    def inputs(seed: int) -> list[torch.Tensor]:
        chain.set_random_state(seed)
        return [chain({"image": image()})["input"] for _ in range(3)]

    one, two, other = inputs(1), inputs(1), inputs(2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[0], one[1])
    array = RandUndersample(acceleration=3.0).set_random_state(5)
    first = array(image())["input"]
    assert torch.equal(array(image(), randomize=False)["input"], first)


def test_metadata_stay() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]).double())
    before = MetaTensor(image(), affine=affine, meta={"filename_or_obj": "head.nii"})
    flip = RandFlipd(keys="image", prob=1.0)
    flipped = flip({"image": before})["image"]
    after = RandUndersampled(keys="image", acceleration=3.0)({"image": flipped, "name": "n"})
    assert after["name"] == "n"
    for name in ("input", "target"):
        assert torch.equal(after[name].affine, flipped.affine)
        assert after[name].meta["filename_or_obj"] == "head.nii"
        back = flip.inverse({"image": after[name]})["image"]  # what was done before can still be undone
        assert torch.equal(back.affine, affine)
    assert torch.equal(before.affine, affine)
    assert not isinstance(after["mask"], MetaTensor)
    assert type(pair_of({name: after[name][None] for name in DRAWN}).input) is torch.Tensor


def test_numpy_in_and_batches_out() -> None:
    chain = RandUndersampled(keys="image", edge_probability=0.2)
    loader = DataLoader(Dataset([{"image": image().numpy()} for _ in range(4)], chain), batch_size=2)
    batches = list(loader)
    assert not any(isinstance(batch["input"], MetaTensor) for batch in batches)
    pairs = [pair_of(batch) for batch in batches]
    assert [pair.input.shape for pair in pairs] == [(2, 1, 12, 11)] * 2
    assert pairs[0].measurement.density.shape == (2, 12, 6)


def test_the_pair_is_unbiased_and_the_masks_have_their_density() -> None:
    """E[x̂] = E[ŷ] = y, E[(x̂ - y)(ŷ - y)] = 0, E[M] = p. 800 draws, 6 standard errors at 132 pixels and 72
    frequencies: false alarm < 1e-5 (no p is below 0.2). The engine's own test, of the same bits, has 60,000."""
    count = 800
    transform = RandUndersample(acceleration=2.0).set_random_state(11)
    draws = [transform(image()) for _ in range(count)]
    stacked = {name: torch.stack([draw[name] for draw in draws]) for name in ("input", "target", "mask", "target_mask")}
    density = draws[0]["density"].double()
    assert float(density.min()) > 0.2
    x, y = (stacked[name].double()[:, 0] - image()[0].double() for name in ("input", "target"))
    for sample in (x, y, x * y):
        assert (sample.mean(0).abs() < 6 * sample.std(0) / math.sqrt(count)).all()
    for name in ("mask", "target_mask"):
        error = (stacked[name].double().mean(0) - density).abs()
        assert (error <= 6 * (density * (1 - density) / count).sqrt()).all()


def test_clean_targets_are_the_image() -> None:
    found = drawn(targets="clean")
    torch.testing.assert_close(found["target"], image())
    assert "target_mask" not in found
    assert torch.equal(found["input"], drawn()["input"])


@pytest.mark.parametrize("bad", [torch.zeros(2, 8, 8), torch.zeros(8, 8), torch.zeros(1, 8, 8, dtype=torch.complex64)])
def test_what_is_no_image_is_one_line(bad: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="expected a real 2-D image"):
        RandUndersample(acceleration=3.0)(bad)


def test_one_key() -> None:
    with pytest.raises(UsageError, match="one key"):
        RandUndersampled(keys=["a", "b"], acceleration=3.0)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (torch.linspace(0, 1000, 64), "0 to 1000"),
        (torch.linspace(0, 1, 64), "0 to 1"),  # what ScaleIntensity gives
        (torch.linspace(-1, 0.5, 64), "-1 to 0.5"),
        (torch.full((64,), math.nan), "nan to nan"),
    ],
)
def test_another_scale_is_refused(bad: torch.Tensor, found: str) -> None:
    with pytest.raises(UsageError, match=rf"\[-0.5, 0.5\].*got {found}\. Scale before by ScaleIntensityRange\("):
        RandUndersample(acceleration=3.0)(bad.reshape(1, 8, 8))


def test_what_the_scaling_that_is_named_gives_is_taken_and_a_little_more() -> None:
    scaled = ScaleIntensityRanged("image", 0, 1000, -0.5, 0.5, clip=True)
    chain = Compose([scaled, RandUndersampled("image", acceleration=3.0)])
    assert "input" in chain({"image": torch.linspace(0, 1500, 64).reshape(1, 8, 8)})
    RandUndersample(acceleration=3.0)(1.4 * image())


@pytest.mark.parametrize("key", DRAWN)
def test_no_key_of_the_users_is_overwritten(key: str) -> None:
    transform = RandUndersampled("image", acceleration=3.0)
    with pytest.raises(UsageError, match=f"^'{key}' is a key of the data already") as caught:
        transform({"image": image(), key: image()})
    assert f"CopyItemsd('{key}', names='my_{key}'), DeleteItemsd('{key}')" in str(caught.value)
    renamed = Compose([CopyItemsd(key, names=f"my_{key}"), DeleteItemsd(key), transform])
    found = renamed({"image": image(), key: image() + 1})
    assert torch.equal(found[f"my_{key}"], image() + 1)
    assert set(found) == {"image", f"my_{key}", *DRAWN}


def test_the_image_may_be_where_the_input_will_be() -> None:
    """As of any transform: it works in place."""
    found = RandUndersampled("input", acceleration=3.0)({"input": image()})
    assert not torch.equal(found["input"], image())
