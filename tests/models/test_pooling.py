"""Poolings, paddings, norms and kinds of dropout by name, each against its equation."""

import pytest
import torch
from torch import nn

from unlocked_models import build
from unlocked_models.layers.basic import IMAGE_NORMS, VECTOR_NORMS
from unlocked_models.layers.pooling import POOLS
from unlocked_models.recurrent import RecurrentDropout

H = torch.randn(2, 3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BY_HAND = {
    "max": lambda w: w.max(),
    "avg": lambda w: w.mean(),
    "l2": lambda w: w.square().sum().sqrt(),
    "k_max": lambda w: w.flatten().sort().values[-2:].mean(),
}


@pytest.mark.parametrize("name", list(POOLS))
def test_a_pooling_is_its_equation_in_every_window(name):
    out = POOLS[name](2)(H)
    for i in range(3):
        for j in range(2):
            window = H[1, 2, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            torch.testing.assert_close(out[1, 2, i, j], BY_HAND[name](window))


def test_the_slope_of_the_l2_pool_at_zeros_is_finite():
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    POOLS["l2"](2)(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({}, [8, 4]),
        ({"pool": "strided"}, [8, 4]),
        ({"pool": "global"}, [16, 1]),
        ({"pool": "none", "padding": "valid"}, [14, 12]),
        ({"pool": "none", "padding": "full"}, [18, 20]),
        ({"pool": "k_max", "padding": "valid"}, [7, 2]),
    ],
)
def test_padding_and_pooling_make_the_resolution(options, sides):
    net = build("cnn", (1, 16, 16), 3, channels=[4, 6], hidden=[5], **options)
    h, seen = torch.randn(2, 1, 16, 16), []
    for block in net:
        h = block(h)
        seen.append(h.shape[-1])
    assert seen[:2] == sides
    assert h.shape == (2, 3)


def test_a_convolution_that_leaves_no_pixel_is_refused():
    with pytest.raises(ValueError, match=r"^model.padding: valid leaves no pixel after layer 2 of 2, of images of"):
        build("cnn", (1, 6, 6), 3, channels=[4, 4], padding="valid")


def test_norms_are_over_what_they_are_named_for():
    x = torch.randn(2, 12, 5, 5, dtype=torch.float64)
    instance = IMAGE_NORMS["instance"](12).double()(x)
    torch.testing.assert_close(
        instance, (x - x.mean((2, 3), True)) / (x.var((2, 3), False, keepdim=True) + 1e-5).sqrt()
    )
    group = IMAGE_NORMS["group"](12).double()(x).detach().view(2, 6, -1)
    torch.testing.assert_close(group.mean(2), torch.zeros(2, 6, dtype=torch.float64), atol=1e-12, rtol=0)
    vector = VECTOR_NORMS["group"](6).double()(torch.randn(4, 6, dtype=torch.float64)).view(4, 3, 2)
    torch.testing.assert_close(vector.mean(2), torch.zeros(4, 3, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_image_models_take_any_norm(norm):
    for name in ("cnn", "vgg_small", "resnet_small"):
        net = nn.Sequential(*build(name, (3, 32, 32), 4, norm=norm))
        assert net(torch.randn(2, 3, 32, 32)).isfinite().all()


def test_whole_maps_and_the_same_units_of_a_sequence_are_left_out():
    net = build("cnn", (1, 8, 8), 3, channels=[64], dropout_maps=0.5, norm="none", activation="sigmoid")
    maps = net[0](torch.randn(8, 1, 8, 8)).flatten(2)
    gone = (maps == 0).all(2)
    assert ((maps == 0).any(2) == gone).all()
    assert gone.float().mean().item() == pytest.approx(0.5, abs=0.1)
    h = torch.ones(50, 6, 40)
    out = RecurrentDropout(0.25)(h)
    assert (out == out[:, :1]).all()
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert torch.equal(RecurrentDropout(0.25).eval()(h), h)
    (first, *_) = build("lstm", (6, 3), 2, hidden=[8], dropout=0.5, dropout_kind="recurrent")
    states = first(torch.randn(4, 6, 3))
    assert ((states == 0).all(1) == (states == 0).any(1)).all()
