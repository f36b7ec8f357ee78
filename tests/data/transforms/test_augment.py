import pytest
import torch

from unlocked.data.transform import build_transforms, example_after, transformed
from unlocked.errors import DataError
from unlocked_models import Batch, Example

SHAPE = (3, 8, 10)
X = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(0)) + 10  # no zeros of its own


def augmented(*entries, x=X, seed=1):
    return transformed(build_transforms(entries), Batch(x, torch.zeros(len(x))), lambda purpose: seed).x


def sized(name, size):
    return {"name": name, "size": size}


def test_flip_mirrors_about_half_of_the_images_and_nothing_else():
    out = augmented("flip")
    mirrored = [torch.equal(o, x.flip(-1)) for o, x in zip(out, X, strict=True)]
    kept = [torch.equal(o, x) for o, x in zip(out, X, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48  # 64 fair coins leave this range once in 20,000 seeds


@pytest.mark.parametrize(("name", "mode"), [(sized("crop", 2), "constant"), (sized("shift", 2), "replicate")])
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
    out = augmented(sized("cutout", 3))
    hole = out == 0
    assert (hole[:, 0] == hole[:, 1]).all()
    assert torch.equal(out[~hole], X[~hole])
    areas = hole[:, 0].sum((1, 2))
    assert areas.max() == 9
    assert areas.min() >= 4, "a centre in the corner leaves 2 x 2"


def test_the_outcome_depends_on_the_seed_alone_and_leaves_torch_and_the_input_as_they_were():
    before, state = X.clone(), torch.get_rng_state()
    first, again, other = (augmented("flip", "crop", "shift", sized("cutout", 4), seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(X, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == X.shape


@pytest.mark.parametrize(
    ("entries", "shape", "said"),
    [
        (["flpi"], SHAPE, "data.transforms[0]: unknown transform 'flpi'; did you mean 'flip'"),
        (["flip", "crop"], (40,), "data.transforms: flip needs images (channels, height, width), but an example has"),
        ([sized("crop", 9)], SHAPE, "crop of size 9 is larger than the 8 x 10 images"),
        ([sized("crop", 0)], SHAPE, "data.transforms[0]: crop: size must be at least 1 pixel, got 0"),
        ([sized("crop", "two")], SHAPE, "data.transforms[0].size: 'two' is not of type int"),
        ([{"name": "crop", "sise": 2}], SHAPE, "data.transforms[0].sise: unknown option of crop 'sise'; did you mean"),
        ([sized("flip", 2)], SHAPE, "data.transforms[0].size: flip has no options"),
        (["crop:2"], SHAPE, "unknown transform 'crop:2'; did you mean 'crop'"),
        ("flip", SHAPE, "not a list; write [flip]"),
        ([{"crop": 2}], SHAPE, "is not a name such as crop"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(entries, shape, said):
    with pytest.raises(DataError) as caught:
        example_after(build_transforms(entries), Batch(torch.zeros(2, *shape), torch.zeros(2)), Example(shape, 2))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
