"""A loss of a user's own: chosen by name with its options, the same in every task whose outputs it is of."""

import pytest
import torch
from torch.nn import functional as F

from unlocked import load_config, register_loss
from unlocked.config import from_tree, to_dict
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks import LOSSES, make_task
from unlocked.tasks.own_loss import OwnLoss
from unlocked.testing.runs import made, started, trained

SUNSPOTS = ["data.name=sunspots", "schemes={}", "parallel.partition=null", "model.hidden=[8]", "parallel.modules=1"]


@pytest.fixture(autouse=True)
def own():
    @register_loss("tilted_t", of="values")
    def tilted(output, target, quantile: float = 0.5):
        below = target - output
        return torch.maximum(quantile * below, (quantile - 1) * below)

    @register_loss("squared_margin_t", of=("classes", "labels"))
    def squared_margin(output, target, gamma: float = 1.0):
        sign = 2 * (F.one_hot(target, output.shape[1]) if target.dim() == 1 else target) - 1
        return (gamma - sign * output).clamp(min=0).square()

    yield
    for name in ("tilted_t", "squared_margin_t"):
        del LOSSES._entries[name], LOSSES._facts[name]


def test_it_is_the_mean_of_what_the_function_gives():
    output, target = torch.randn(6, 2), torch.randn(6, 2)
    task = make_task("regression", {"loss": "tilted_t", "quantile": 0.9})
    below = target - output
    by_hand = torch.maximum(0.9 * below, -0.1 * below).mean(1)
    torch.testing.assert_close(task.each(output, target), by_hand)
    torch.testing.assert_close(task.loss(output, target), by_hand.mean())
    assert task.metrics(output, target)["loss"] == pytest.approx(float(by_hand.double().mean()))


def test_one_function_serves_classes_and_labels():
    logits = torch.randn(5, 3)
    ids = torch.tensor([0, 2, 1, 1, 0])
    classes = make_task("classification", {"loss": "squared_margin_t"})
    labels = make_task("multi_label", {"loss": "squared_margin_t"})
    torch.testing.assert_close(classes.loss(logits, ids), labels.loss(logits, F.one_hot(ids, 3).float()))


def test_examples_that_the_data_weighs_are_weighed_under_it_too():
    from unlocked_models import Batch

    task = make_task("regression", {"loss": "tilted_t"})
    output, target, weight = torch.randn(4, 1), torch.randn(4, 1), torch.tensor([2.0, 0.0, 1.0, 1.0])
    batch = Batch(torch.zeros(4, 1), target, extras={"weight": weight})
    expected = (weight * 0.5 * (target - output).abs()[:, 0]).mean()
    torch.testing.assert_close(task.loss_of(output, batch), expected)


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_a_net_learns_by_it_under_every_scheme(scheme):
    data = made(classes=2)
    group = started(
        data,
        model={"name": "mlp", "hidden": [16, 16]},
        scheme={"name": scheme},
        objective={"loss": "squared_margin_t", "gamma": 2.0},
        parallel={"modules": 2},
        train={"epochs": 40},
        optimizer={"name": "adam", "lr": 0.01, "momentum": None},
    )
    losses = trained(group, [0, 120])[1, "loss"]
    assert losses[0] == pytest.approx(4.0, abs=1.5)  # (2 - 0)^2 at outputs near 0
    assert sum(losses[-20:]) / 20 < 0.8 * losses[0]


def test_its_options_are_part_of_the_configuration():
    config = load_config("quickstart", ["objective.loss=squared_margin_t", "objective.gamma=2"])
    assert config.objective == {"loss": "squared_margin_t", "gamma": 2.0}
    assert isinstance(config.objective["gamma"], float)
    assert from_tree(to_dict(config)) == config
    assert make_plan(config, load_data(config)).make_task().own_loss.options == {"gamma": 2.0}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["objective.loss=tited_t", *SUNSPOTS], "objective.loss: unknown loss 'tited_t'; did you mean 'tilted_t'?"),
        (
            ["objective.loss=tilted_t"],
            "objective.loss: unknown loss 'tilted_t' (known: binary_cross_entropy, cross_entropy, focal, hinge, huber, "
            "kl, mae, max_margin, mse, nll, perceptron, squared_margin_t); tilted_t is of values",
        ),
        (
            ["objective.loss=squared_margin_t", "objective.gama=1"],
            "objective.gama: unknown option of squared_margin_t 'gama'; did you mean 'gamma'?",
        ),
        (  # an option of the losses that are here, which would do nothing
            ["objective.loss=squared_margin_t", "objective.smoothing=0.1"],
            "objective.smoothing: unknown option of squared_margin_t 'smoothing'",
        ),
        (
            ["objective.loss=squared_margin_t", "objective.gamma=far"],
            "objective.gamma: 'far' is not of type float",
        ),
        (
            ["task=rotation", "objective.loss=tilted_t"],
            "objective.loss: ",
        ),
        (
            ["data.name=dates", "objective.loss=tilted_t"],
            "objective.loss: tilted_t is a loss of values, and translation takes none of its own",
        ),
    ],
)
def test_what_cannot_be_is_one_line(overrides, line):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", overrides)
    assert str(error.value).startswith(line)
    assert len(str(error.value).splitlines()) == 1


def planned(*overrides):
    config = load_config("quickstart", list(overrides))
    return make_plan(config, load_data(config))


def test_one_number_for_all_examples_is_refused_before_the_start():
    @register_loss("mean_of_all_t", of="classes")
    def mean_of_all(output, target):
        return F.cross_entropy(output, target)

    with pytest.raises(ConfigError) as error:
        planned("objective.loss=mean_of_all_t")
    assert "objective.loss: mean_of_all_t (" in str(error.value)
    assert "test_own_loss.py:" in str(error.value)
    assert "gives a tensor of shape () for 64 examples; it has to give a number for each" in str(error.value)


def test_one_that_fails_names_its_line():
    @register_loss("fails_t", of="classes")
    def fails(output, target):
        return output @ target

    with pytest.raises(ConfigError, match=r"the loss fails_t \(.*\) fails on the first minibatch at .*test_own_loss"):
        planned("objective.loss=fails_t")


def test_one_without_a_gradient_is_refused():
    @register_loss("blind_t", of="classes")
    def blind(output, target):
        return (output.argmax(1) != target).double()

    with pytest.raises(ConfigError, match=r"the loss blind_t \(.*test_own_loss.py:\d+\) has no gradient"):
        planned("objective.loss=blind_t")


@pytest.mark.parametrize(
    ("name", "of", "function", "line"),
    [
        ("mse", "values", lambda output, target: output, "loss 'mse': is the name of a loss of values already"),
        ("x_t", "numbers", lambda output, target: output, "loss 'x_t': of: unknown kind of outputs 'numbers'"),
        ("y_t", "values", lambda output: output, "is called as y_t(output, target), with options by name"),
        ("z_t", "values", lambda output, target, q: output, "is called as z_t(output, target), with options by name"),
    ],
)
def test_what_is_no_loss_is_not_registered(name, of, function, line):
    with pytest.raises((ValueError, TypeError)) as error:
        register_loss(name, of=of)(function)
    assert line in str(error.value)


def test_a_loss_that_changes_the_targets_of_the_data_is_refused():
    register_loss("spoils_t", of="values")(lambda output, target: (output - target.zero_()).square())
    try:
        for grad in (torch.enable_grad, torch.no_grad):
            with grad(), pytest.raises(ConfigError, match=r"spoils_t \(.*\) changes its targets in place"):
                OwnLoss("spoils_t", {})(torch.ones(2, 1), torch.ones(2, 1))
    finally:
        del LOSSES._entries["spoils_t"], LOSSES._facts["spoils_t"]
