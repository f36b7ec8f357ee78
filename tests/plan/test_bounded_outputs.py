"""A last layer that squashes, and targets outside what it can give: refused when the run is planned."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from unlocked.data.dataset import Split
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.tasks.cycle import CLASSES, OTHER
from unlocked_models import register_model
from unlocked_models.autoencoder.recurrent import FromSequence
from unlocked_models.contract.bounds import bounds_of, last_layer
from unlocked_models.contract.nets import Net


@register_model("bounded-outputs-pair", family="test", nets=("generator", "discriminator"))
def pair(in_shape, n_outputs, told: bool = False):
    """A GAN of a user's own, without an option `output`; `told`: the discriminator gives probabilities."""
    end = [nn.Sigmoid()] if told else []
    makes = [nn.Sequential(nn.Linear(3, 64), *([] if told else [nn.Hardtanh()]), nn.Unflatten(1, in_shape))]
    return {"generator": Net(makes, (3,)), "discriminator": Net([nn.Flatten(), nn.Linear(64, 1), *end], in_shape)}


def scaled(data, low, high):
    """The same images, with values from `low` to `high`."""

    def split(of):
        x = of.x - of.x.min()
        return Split(low + (high - low) * x / x.max(), of.y)

    return replace(data, train=split(data.train), test=split(data.test))


def plan(lab, data, model, task, **tree):
    tree = {"model": model, "task": task, "parallel": {"modules": 1, "engine": "auto"}, **tree}
    return make_plan(lab.config(**tree), data)


GAN = {"name": "gan", "generator": [8], "discriminator": [8]}
AUTO = {"name": "autoencoder", "hidden": [8], "code": 4}


@pytest.mark.parametrize(
    ("model", "task", "between", "told"),
    [
        (
            {**GAN, "output": "sigmoid"},
            "adversarial",
            (-0.8, 2.0),
            r"^model\.output: the generator of gan ends with a Sigmoid, whose values lie from 0 to 1, and adversarial "
            r"compares them with values of made from -0\.8 to 2; set model\.output=linear, or scale the data$",
        ),
        ({**GAN, "output": "tanh"}, "adversarial", (0, 255), r"^model\.output: .* a Tanh, .* from -1 to 1, .* to 255;"),
        ({"name": "dcgan", "channels": 2, "output": "sigmoid"}, "adversarial", (-1, 1), r"^model\.output: the gen"),
        (
            {"name": "bounded-outputs-pair"},
            "adversarial",
            (-2, 2),
            r"^model\.name: the generator of .* a Hardtanh, .*; end it with a linear layer, or scale the data$",
        ),
        (
            {"name": "bounded-outputs-pair", "told": True},
            "adversarial",
            (0, 1),
            r"^model\.name: the discriminator of .* a Sigmoid, .* and adversarial takes logits, of any value; end it "
            r"with a linear layer$",
        ),
        ({**AUTO, "output": "sigmoid"}, "reconstruction", (-0.4, 2.8), r"^model\.output: autoencoder ends with a Sigm"),
        ({**AUTO, "output": "tanh"}, "reconstruction", (0, 16), r"^model\.output: autoencoder ends with a Tanh, "),
        (
            {"name": "conv_autoencoder", "channels": [2], "output": "sigmoid"},
            "reconstruction",
            (-1, 1),
            r"^model\.output: conv_autoencoder ends",
        ),
        ({"name": "vae", "hidden": [8], "output": "tanh"}, "reconstruction", (-3, 3), r"^model\.output: vae ends"),
        (
            {"name": "recurrent_autoencoder", "hidden": [4], "output": "sigmoid"},
            "reconstruction",
            (-3, 3),
            r"^model\.output: recurrent_autoencoder ends with a Sigmoid",
        ),
        (
            {**AUTO, "output": "sigmoid"},
            "reconstruction_bernoulli",
            (0, 1),
            r"^model\.output: .* takes logits, of any value; set model\.output=linear$",
        ),
        (AUTO, "reconstruction_bernoulli", (-1, 1), r"its inputs lie in \[-1, 1\], not in \[0, 1\]"),
    ],
)
def test_values_that_a_last_layer_cannot_give_are_refused(lab, model, task, between, told):
    with pytest.raises(ConfigError, match=told):
        plan(lab, scaled(lab.data(), *between), model, task)


@pytest.mark.parametrize(
    ("model", "task", "between"),
    [
        ({**GAN, "output": "sigmoid"}, "adversarial", (0, 1)),
        ({**GAN, "output": "tanh"}, "adversarial", (0, 1)),
        ({**GAN, "output": "linear"}, "adversarial", (-3, 30)),
        ({**AUTO, "output": "tanh"}, "reconstruction", (-1, 1 + 1e-6)),
        (AUTO, "reconstruction_bernoulli", (0, 1)),
    ],
)
def test_values_within_reach_are_taken(lab, model, task, between):
    plan(lab, scaled(lab.data(), *between), model, task)


def test_each_translator_is_held_to_the_domain_that_it_paints(lab):
    data = lab.data((1, 4, 4))

    def split(of):
        return Split(of.x.sigmoid(), of.y, {OTHER: of.x, CLASSES: of.y})

    data = replace(data, train=split(data.train), test=split(data.test))
    model = {"name": "cyclegan", "channels": 2, "residual": 1, "tells": 2}
    with pytest.raises(ConfigError, match=r"^model\.output: the to_b of cyclegan ends with a Sigmoid, "):
        plan(lab, data, model, "cycle")
    plan(lab, data, {**model, "output": "linear"}, "cycle")


def test_the_last_layer_is_found_inside_blocks_and_before_layers_of_shapes():
    class Own(nn.Sequential):
        def forward(self, x):
            return 10 * super().forward(x)

    squashed = nn.Sequential(
        nn.Linear(2, 4), nn.Sequential(nn.Sigmoid(), nn.Unflatten(1, (2, 2))), FromSequence((2, 2))
    )
    assert isinstance(last_layer([nn.Linear(2, 2), squashed]), nn.Sigmoid)
    assert bounds_of(last_layer([Own(nn.Sigmoid())])) is None
    assert bounds_of(last_layer([nn.Sigmoid(), nn.Linear(2, 2)])) is None
    assert isinstance(last_layer([nn.Sequential(nn.Flatten())]), nn.Sequential)
    assert bounds_of(nn.ReLU6()) == (0, 6)
    assert torch.nn.functional.hardtanh(torch.tensor(9.0)) == bounds_of(nn.Hardtanh())[1]
