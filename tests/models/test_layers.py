"""Layers by name, and what the initialisations promise."""

import math

import pytest
import torch
from torch import nn

from unlocked_models.layers.activations import ACTIVATIONS
from unlocked_models.layers.basic import INITS, convolution, image_norm, initialise, scaled, sequence
from unlocked_models.mlp import mlp


@pytest.mark.parametrize("init", [name for name in INITS if name not in ("default", "zeros")])
def test_an_initialisation_has_the_variance_it_is_named_for(init):
    torch.manual_seed(0)
    layer, head = nn.Linear(400, 200), nn.Linear(200, 200)
    initialise([layer, nn.ReLU(), head], init, "relu")
    gain = math.sqrt(2)
    expected = {
        "kaiming": gain / math.sqrt(400),
        "lecun": 1 / math.sqrt(400),
        "xavier": gain * math.sqrt(2 / (400 + 200)),
        "orthogonal": gain / math.sqrt(400),
    }
    assert layer.weight.std().item() == pytest.approx(expected[init], rel=0.02)  # 80,000 samples: 0.25 %
    assert head.weight.std().item() == pytest.approx(1 / math.sqrt(200), rel=0.02)  # the head: gain 1
    assert not layer.bias.any()


def test_zeros_are_zeros_and_default_is_what_torch_made():
    torch.manual_seed(0)
    before = nn.Linear(4, 4)
    weight = before.weight.clone()
    initialise([before], "default", "relu")
    assert torch.equal(before.weight, weight)
    initialise([before], "zeros", "relu")
    assert not before.weight.any()


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("init", list(INITS))
def test_every_activation_goes_with_every_initialisation(activation, init):
    h = nn.Sequential(*mlp((5,), 3, hidden=[8, 8], activation=activation, init=init))(torch.randn(4, 5))
    assert h.isfinite().all()


def test_layer_norm_of_an_image_is_over_channels_and_pixels():
    h = sequence(image_norm("layer", 3))(torch.randn(2, 3, 5, 5))
    torch.testing.assert_close(h.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)


def test_a_convolution_is_conv_norm_activation_then_the_rest():
    layer = convolution(1, 4, 3, None, nn.MaxPool2d(2), norm="batch", act="gelu")
    assert [type(m) for m in layer] == [nn.Conv2d, nn.BatchNorm2d, nn.GELU, nn.MaxPool2d]


def test_a_width_multiplier_gives_even_widths():
    assert [scaled(64, 1.0), scaled(64, 0.1), scaled(64, 0.001), scaled(96, 0.5)] == [64, 6, 2, 48]
