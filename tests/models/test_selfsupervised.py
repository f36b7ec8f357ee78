"""Nets of several views: each view goes through the same weights, those of a plain net."""

from __future__ import annotations

import pytest
import torch

from unlocked_models.contract.chain import Chain, build, output_shapes

OPTIONS = {"channels": [4, 6], "hidden": [12, 10], "norm": "batch"}


@pytest.mark.parametrize("pool", ["max", "none"])
def test_every_view_goes_through_the_net_of_one(pool):
    torch.manual_seed(0)
    views = Chain(build("simclr", (2, 3, 8, 12), 99, projection=5, pool=pool, **OPTIONS)).eval()
    torch.manual_seed(0)
    plain = Chain(build("cnn", (3, 8, 12), 5, pool=pool, **OPTIONS)).eval()
    assert [p.shape for p in views.parameters()] == [p.shape for p in plain.parameters()]
    x = torch.randn(7, 2, 3, 8, 12)
    torch.testing.assert_close(views(x), torch.stack([plain(x[:, 0]), plain(x[:, 1])], 1))
    torch.testing.assert_close(views(x[:, :1]), views(x)[:, :1])


def test_boundaries_are_a_row_of_features_for_each_view():
    blocks = build("simclr", (2, 3, 8, 8), 10, projection=5, **OPTIONS)
    assert output_shapes(blocks, (2, 3, 8, 8)) == [(2, 4 * 16), (2, 6 * 4), (2, 12), (2, 10), (2, 5)]


def test_a_norm_sees_all_views_of_a_minibatch():
    torch.manual_seed(0)
    first = build("simclr", (2, 1, 4, 4), 10, channels=[3], hidden=[4])[0].train()
    x = torch.randn(6, 2, 1, 4, 4)
    together = first.block(x.flatten(0, 1)).flatten(1).view(6, 2, -1)
    torch.testing.assert_close(first(x), together)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 8, 8), {}, r"simclr takes views of images .* examples of shape \(1, 8, 8\); data.transforms=\[views\]"),
        ((2, 1, 8, 8), {"projection": 0}, "model.projection: must be a whole number of at least 1, got 0"),
        ((2, 1, 8, 8), {"hidden": []}, "model.hidden: needs 1 or more sizes"),
        ((2, 1, 8, 8), {"channels": [2, 2, 2, 2]}, "model.channels: 4 layers halve the image 4 times"),
    ],
)
def test_what_it_cannot_be_made_of_is_one_line(shape, options, message):
    with pytest.raises(ValueError, match=message):
        build("simclr", shape, 10, **options)
