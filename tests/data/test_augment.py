import pytest
import torch

from unlocked.data import parse_augment
from unlocked.errors import DataError

SHAPE = (3, 8, 10)
X = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(0)) + 10  # no zeros of its own


def augmented(*names, x=X, seed=1):
    return parse_augment(list(names), x.shape[1:])(x, seed)


def test_flip_mirrors_about_half_of_the_images_and_nothing_else():
    out = augmented("flip")
    mirrored = [torch.equal(o, x.flip(-1)) for o, x in zip(out, X, strict=True)]
    kept = [torch.equal(o, x) for o, x in zip(out, X, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48  # 64 fair coins leave this range once in 20,000 seeds


@pytest.mark.parametrize(("name", "mode"), [("crop:2", "constant"), ("shift:2", "replicate")])
def test_crop_and_shift_are_windows_of_the_padded_image(name, mode):
    out = augmented(name)
    padded = torch.nn.functional.pad(X, [2] * 4, mode=mode)
    places = set()
    for o, p in zip(out, padded, strict=True):
        windows = {(dy, dx): p[:, dy : dy + 8, dx : dx + 10] for dy in range(5) for dx in range(5)}
        fits = [place for place, window in windows.items() if torch.equal(o, window)]
        assert len(fits) == 1
        places.update(fits)
    assert len(places) > 15, "most of the 25 windows occur among 64 images"


def test_cutout_zeroes_one_square_in_all_channels_alike():
    out = augmented("cutout:3")
    hole = out == 0
    assert (hole[:, 0] == hole[:, 1]).all()
    assert torch.equal(out[~hole], X[~hole])
    areas = hole[:, 0].sum((1, 2))
    assert areas.max() == 9
    assert areas.min() >= 4, "a centre in the corner leaves 2 x 2"


def test_the_outcome_depends_on_the_seed_alone_and_leaves_torch_and_the_input_as_they_were():
    before, state = X.clone(), torch.get_rng_state()
    first, again, other = (augmented("flip", "crop", "shift", "cutout:4", seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(X, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == X.shape


def test_an_empty_list_is_no_augmentation():
    assert parse_augment([], SHAPE) is None


@pytest.mark.parametrize(
    ("names", "shape", "said"),
    [
        (["flpi"], SHAPE, "unknown augmentation 'flpi'; did you mean 'flip'"),
        (["crop"], (40,), "needs images (channels, height, width), but an example of"),
        (["crop:9"], SHAPE, "crop:9 is larger than the 8 x 10 images"),
        (["crop:0"], SHAPE, "whole number"),
        (["crop:-1"], SHAPE, "whole number"),
        (["crop:two"], SHAPE, "whole number"),
        (["crop:"], SHAPE, "whole number"),
        (["flip:2"], SHAPE, "takes no size"),
        ("flip", SHAPE, "not a list"),
        ([{"crop": 2}], SHAPE, "is not a name"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(names, shape, said):
    with pytest.raises(DataError) as caught:
        parse_augment(names, shape)
    assert str(caught.value).startswith("data.augment: ")
    assert said in str(caught.value)
