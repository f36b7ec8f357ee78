"""Patches that are hidden: which, what is left of the image, and what the targets ask for."""

from __future__ import annotations

import pytest
import torch

from unlocked.data.transform import build_transforms, example_after
from unlocked.data.transforms.hidden_patches import HiddenPatches
from unlocked.errors import DataError
from unlocked.testing import TransformContract
from unlocked_models import Batch, Example
from unlocked_models.layers.sequences import images_of

X = torch.rand(40, 2, 6, 9, generator=torch.Generator().manual_seed(0)) + 0.1  # no pixel is zero by itself


class TestHiddenPatchesContract(TransformContract):
    transform = "hidden_patches"


def hidden(size: int = 3, fraction: float = 0.5) -> Batch:
    return HiddenPatches(size, fraction)(Batch(X, torch.arange(40)), torch.Generator().manual_seed(1))


def test_what_is_seen_and_what_is_asked_for_are_the_image():
    batch = hidden()
    assert batch.y.shape == (40, 6, 1 + 2 * 9)
    torch.testing.assert_close(batch.x + images_of(batch.y[:, :, 1:], 3, (6, 9)), X)
    assert not (batch.x * images_of(batch.y[:, :, 1:], 3, (6, 9))).any()  # no pixel is both


def test_as_many_patches_of_each_image_are_hidden_and_not_the_same_ones():
    which = hidden()["hidden"]
    assert which.sum(1).tolist() == [3] * 40
    assert torch.equal(which.float(), hidden().y[:, :, 0])
    assert len(which.unique(dim=0)) > 10
    assert (which.float().mean(0) - 0.5).abs().max() < 0.3


def test_the_example_says_that_it_is_masked_and_how_many_numbers_a_patch_has():
    found = example_after(
        build_transforms([{"name": "hidden_patches", "size": 3}]),
        Batch(X[:2], torch.zeros(2)),
        Example(X.shape[1:], 10),
    )
    assert (found.n_outputs, found.y_shape, found.y_real, found.masked) == (18, (6, 19), True, True)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((64,), {}, r"needs images \(channels, height, width\), but an example has shape \(64,\)"),
        ((1, 8, 8), {"size": 3}, "cuts patches of 3 x 3 pixels, which images of 8 x 8 are not made of"),
        ((1, 8, 8), {"fraction": 0.01}, "hides 0 of 16 patches; one has to be hidden and one to be seen"),
        ((1, 8, 8), {"size": 8}, "hides 1 of 1 patches"),
        ((1, 8, 8), {"fraction": 1.0}, "fraction must be above 0 and below 1, got 1.0"),
        ((1, 8, 8), {"size": 0}, "size must be at least 1 pixel, got 0"),
    ],
)
def test_what_it_cannot_hide_is_one_line(shape, options, message):
    some = Batch(torch.zeros(2, *shape), torch.zeros(2, dtype=torch.long))
    with pytest.raises(DataError, match=message):
        example_after(build_transforms([{"name": "hidden_patches", **options}]), some, Example(shape, 10))
