"""Every activation against its equation, in float64, and where a model takes it."""

import math

import pytest
import torch
from torch import nn

from unlocked_models import build
from unlocked_models.layers.activations import ACTIVATIONS, Maxout, activation, gain, pieces

A = torch.tensor([-3.0, -1.5, -0.4, 0.3, 0.9, 2.5], dtype=torch.float64)
EQUATIONS = {
    "linear": lambda a: a,
    "step": lambda a: 1.0 if a >= 0 else 0.0,
    "perceptron": lambda a: 1.0 if a >= 0 else 0.0,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "tanh": math.tanh,
    "hard_tanh": lambda a: max(-1.0, min(1.0, a)),
    "relu": lambda a: max(0.0, a),
    "leaky_relu": lambda a: a if a > 0 else 0.01 * a,
    "prelu": lambda a: a if a > 0 else 0.25 * a,  # as it begins
    "rrelu": lambda a: a if a > 0 else (1 / 8 + 1 / 3) / 2 * a,  # in evaluation
    "elu": lambda a: a if a > 0 else math.exp(a) - 1,
    "selu": lambda a: 1.0507009873554805 * (a if a > 0 else 1.6732632423543772 * (math.exp(a) - 1)),
    "silu": lambda a: a / (1 + math.exp(-a)),
    "gelu": lambda a: a * (1 + math.erf(a / math.sqrt(2))) / 2,
    "softplus": lambda a: math.log(1 + math.exp(a)),
    "softmax": lambda a: math.exp(a) / sum(math.exp(each) for each in A.tolist()),
    "gaussian": lambda a: math.exp(-a * a),
    "multiquadric": lambda a: math.sqrt(1 + a * a),
    "ricker": lambda a: (1 - a * a) * math.exp(-a * a / 2),
}


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "maxout"])
def test_an_activation_computes_its_equation(name):
    expected = torch.tensor([[EQUATIONS[name](a) for a in A.tolist()]], dtype=torch.float64)
    torch.testing.assert_close(activation(name).double().eval()(A[None]), expected, rtol=1e-12, atol=1e-12)


def test_a_randomised_leaky_relu_draws_its_slope_in_training():
    torch.manual_seed(0)
    slopes = -activation("rrelu")(torch.full((1000,), -1.0, dtype=torch.float64))
    assert slopes.min() >= 1 / 8
    assert slopes.max() <= 1 / 3
    assert slopes.std() == pytest.approx((1 / 3 - 1 / 8) / math.sqrt(12), rel=0.05)  # uniform


def test_gradients_pass_straight_through_a_step_near_zero():
    a = A.clone().requires_grad_()
    activation("step")(a).backward(torch.full_like(a, 2.0))
    assert a.grad.tolist() == [0, 0, 2, 2, 2, 0]


def test_maxout_is_the_larger_of_two_pieces_of_every_unit_and_map():
    a = torch.tensor([[1.0, -2.0, 3.0, 0.0, 5.0, -1.0]])
    assert Maxout()(a).tolist() == [[1.0, 5.0, 3.0]]
    maps = a.view(1, 6, 1, 1).expand(1, 6, 2, 2)
    torch.testing.assert_close(Maxout()(maps), torch.tensor([1.0, 5.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2))
    net = build("mlp", (5,), 3, hidden=[4], activation="maxout")
    linear = net[0][0]
    x = torch.randn(2, 5)
    W, b = linear.weight, linear.bias
    torch.testing.assert_close(net[0](x), torch.maximum(x @ W[:4].T + b[:4], x @ W[4:].T + b[4:]))
    conv = build("cnn", (1, 8, 8), 3, channels=[4, 6], hidden=[8], activation="maxout")
    assert nn.Sequential(*conv)(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_softmax_of_maps_is_over_their_channels():
    torch.testing.assert_close(activation("softmax")(torch.randn(2, 3, 4, 4)).sum(1), torch.ones(2, 4, 4))


@pytest.mark.parametrize("name", ["resnet", "transformer", "autoencoder"])
def test_layers_that_give_no_pieces_refuse_maxout(name):
    shape, options = {"resnet": (3, 64, 64)}.get(name, (64,)), {"vocabulary": 9} if name == "transformer" else {}
    with torch.device("meta"), pytest.raises(ValueError, match=r"^model.activation: maxout takes 2 linear pieces"):
        build(name, shape, 10, activation="maxout", **options)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "prelu", "rrelu", "maxout", "linear"])
def test_the_gain_keeps_the_mean_square_of_what_passes(name):
    """Exactly so for these, of normal a of mean square 1."""
    a = torch.randn(200_000, pieces(name), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = activation(name, of_pieces=True).double().eval()(a)
    assert gain(name) ** 2 * out.square().mean().item() == pytest.approx(1, rel=0.02)


def test_every_nonlinearity_is_a_layer_of_its_own_for_direct_feedback():
    from unlocked.schemes.taps import NONLINEARITIES

    for name in ACTIVATIONS:
        layer = activation(name, of_pieces=True)
        assert isinstance(layer, NONLINEARITIES) or getattr(layer, "feedback_point", False) or name == "linear"
