"""Every optimiser of torch.optim, and our own, against their equations; their state, saved and taken up again."""

import io

import pytest
import torch
from torch import nn

from unlocked.config import from_tree, load_config, to_dict
from unlocked.errors import ConfigError
from unlocked.optim import OPTIMIZERS, build_optimizer, searches, state_size
from unlocked.optim.kinds import DeltaBarDelta, Muon
from unlocked.schema.keys import OptimizerConfig

NAMES = [name for name in OPTIMIZERS if not searches(name)]


def configured(name, *options):
    return load_config("quickstart", [f"optimizer.name={name}", *options]).optimizer


def test_all_of_torch_is_there():
    kinds = {name.lower() for name in torch.optim.__all__ if name[0].isupper()} - {"optimizer", "sparseadam"}
    assert kinds <= set(OPTIMIZERS)


@pytest.mark.parametrize(
    ("name", "options", "kind", "given"),
    [
        ("adagrad", {"lr_decay": 0.1}, torch.optim.Adagrad, {"lr_decay": 0.1}),
        ("adadelta", {"rho": 0.8}, torch.optim.Adadelta, {"rho": 0.8}),
        ("rmsprop", {"alpha": 0.9, "centered": True}, torch.optim.RMSprop, {"alpha": 0.9, "centered": True}),
        ("rprop", {"etas": [0.4, 1.3]}, torch.optim.Rprop, {"etas": (0.4, 1.3)}),
        ("adam", {"amsgrad": True}, torch.optim.Adam, {"amsgrad": True}),
        ("sgd", {"momentum": 0.9, "dampening": 0.5}, torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
        ("momentum", {}, torch.optim.SGD, {"momentum": 0.9}),
        ("nesterov", {"momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
    ],
)
def test_options_of_torch_are_keys_and_reach_it(name, options, kind, given):
    config = configured(name, *(f"optimizer.{key}={value}" for key, value in options.items()))

    def trained(make):
        weight = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3))
        optimizer = make([weight])
        for _ in range(5):
            optimizer.zero_grad()
            weight.pow(4).sum().backward()
            optimizer.step()
        return weight.detach()

    ours, torchs = trained(lambda p: build_optimizer(config, p)), trained(lambda p: kind(p, lr=config.lr, **given))
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-12)


def test_delta_bar_delta_follows_jacobs():
    weight = nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    optimizer = DeltaBarDelta([weight], 0.1, gain_up=0.5, gain_down=0.25, gain_average=0.5, gain_limits=(0.1, 10))
    w, gain, average = [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]
    for gradient in ([1.0, 1.0], [2.0, -2.0], [1.0, 1.0], [-3.0, 1.0]):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        for i, g in enumerate(gradient):
            if average[i] * g > 0:
                gain[i] += 0.5
            elif average[i] * g < 0:
                gain[i] *= 0.75
            w[i] -= 0.1 * gain[i] * g
            average[i] = 0.5 * g + 0.5 * average[i]
        assert weight.tolist() == pytest.approx(w, abs=1e-12)


def test_muon_orthogonalises_matrices_and_leaves_the_others_to_adamw():
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    bias, before = layer.bias.detach().clone(), layer.weight.detach().clone()
    optimizer = build_optimizer(OptimizerConfig("muon", lr=0.1, weight_decay=0.0), layer.parameters())
    layer(torch.randn(5, 6)).pow(2).sum().backward()
    optimizer.step()
    signs = layer.bias.grad.sign()
    torch.testing.assert_close(layer.bias.detach(), bias - 0.1 * signs, rtol=0, atol=1e-4)  # Adam's first step
    steps = torch.linalg.svdvals(before - layer.weight.detach()) / 0.1
    assert (steps - 1).abs().max() < 0.4  # Newton-Schulz brings singular values near 1
    assert isinstance(optimizer, Muon)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_every_optimiser_is_saved_and_taken_up(name):
    def begun():
        torch.manual_seed(1)
        layer = nn.Linear(3, 2)
        return layer, build_optimizer(OptimizerConfig(name, lr=0.05), layer.parameters())

    def train(layer, optimizer, steps):
        for t in steps:
            optimizer.zero_grad()
            layer(torch.full((1, 3), 1.0 + t)).pow(2).sum().backward()
            optimizer.step()

    whole, unbroken = begun()
    train(whole, unbroken, range(6))
    layer, optimizer = begun()
    train(layer, optimizer, range(3))
    again, resumed = begun()
    again.load_state_dict(layer.state_dict())
    torch.save(optimizer.state_dict(), file := io.BytesIO())
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(again, resumed, range(3, 6))
    assert torch.equal(again.weight, whole.weight)
    assert torch.equal(again.bias, whole.bias)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimiser_can_be_configured_and_counted(name):
    assert state_size(configured(name) if not searches(name) else OptimizerConfig(name)) >= 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["optimizer.name=adagard"], "unknown optimizer 'adagard'; did you mean 'adagrad'?"),
        (["optimizer.name=rmsprop", "optimizer.alhpa=0.9"], "optimizer.alhpa: unknown key; did you mean 'alpha'?"),
        (["optimizer.name=adam", "optimizer.rho=0.9"], "optimizer.rho: adam has no such option; adadelta has"),
        (["optimizer.name=adadelta", "optimizer.rho=2"], "optimizer.rho: must be at most 1, got 2"),
        (["optimizer.name=rmsprop", "optimizer.centered=7"], "optimizer.centered: 7 is not of type bool"),
        (["optimizer.name=rprop", "optimizer.etas=[2, 3]"], "optimizer.etas: rprop refuses it: Invalid eta values"),
        (["optimizer.name=rprop", "optimizer.etas=[2]"], "optimizer.etas: must be 2 numbers"),
        (["optimizer.name=adafactor", "optimizer.eps=0.1"], "optimizer.eps: adafactor has no such option"),
    ],
)
def test_options_of_torch_are_checked_as_ours_are(words, line):
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", words)
    assert line in str(caught.value)


def test_what_is_left_to_torch_is_not_in_the_record_of_a_run():
    record = to_dict(load_config("quickstart"))["optimizer"]
    assert "amsgrad" not in record
    assert to_dict(load_config("quickstart", ["optimizer.amsgrad=true"]))["optimizer"]["amsgrad"] is True
    assert from_tree(to_dict(load_config("quickstart"))).optimizer.amsgrad is None


# L-BFGS

ALL = {"optimizer": {"name": "lbfgs", "lr": 1.0, "momentum": None}, "data": {"batch_size": 48}}


def test_lbfgs_equals_torchs_on_the_whole_split(lab):
    options = {"max_iter": 4, "history_size": 5, "line_search_fn": "strong_wolfe"}
    tree = {**ALL, "optimizer": {**ALL["optimizer"], **options}, "model": {"name": "mlp", "hidden": [6]}}
    data = lab.data()
    plan, group = lab.plan(data, **tree), lab.start(data, **tree)
    losses = lab.train(group, 0, 4)
    network, x, y = lab.network(plan), data.train.x.double(), data.train.y
    optimizer = torch.optim.LBFGS(network.parameters(), lr=1.0, **options)
    rows = lab.batches(plan, data)

    def evaluate():
        optimizer.zero_grad()
        loss = lab.losses(network, x, y)[0]
        loss.backward()
        return loss

    seen = [optimizer.step(evaluate).item() for _ in range(4)]
    assert len(rows.x(0)) == len(x)
    assert losses == pytest.approx(seen, rel=1e-6)  # the order of the rows differs
    assert losses[-1] < 0.5 * losses[0]


def test_lbfgs_goes_on_where_it_was_saved(lab):
    tree = {**ALL, "model": {"name": "mlp", "hidden": [6]}}
    whole = lab.start(**tree)
    lab.train(whole, 0, 4)
    first, second = lab.start(**tree), lab.start(**tree)
    lab.train(first, 0, 2, 2)
    second.load_states(first.states(2))
    lab.train(second, 2, 4)
    lab.assert_equal(lab.weights(second), lab.weights(whole))


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"data": {"batch_size": 16}}, "set data.batch_size=48, all training examples of made"),
        ({"scheme": {"name": "dni"}}, "dni injects what is not the gradient of a loss; backprop does"),
        ({"parallel": {"modules": 2}}, "of all weights: parallel.modules must be 1, got 2"),
        ({"optimizer": {**ALL["optimizer"], "clip_norm": 1.0}}, "which optimizer.clip_norm would change"),
        (
            {"scheme": {"name": "dni", "sg": {"optimizer": "lbfgs"}}, "optimizer": {"name": "sgd"}},
            "scheme.sg.optimizer",
        ),
    ],
)
def test_lbfgs_is_refused_where_there_is_no_one_function(lab, tree, line):
    with pytest.raises(ConfigError) as caught:
        lab.plan(**{**ALL, "model": {"name": "mlp", "hidden": [6]}, **tree})
    assert line in str(caught.value)
