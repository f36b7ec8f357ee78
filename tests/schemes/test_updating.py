"""What goes before and after a step of the optimiser, against its equations; parameter groups; averaged weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from unlocked import resume, train
from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed
from unlocked.optim.gradients import Gradients
from unlocked.schema.keys import OptimizerConfig
from unlocked.schemes.averaging import WeightAverage

MLP = {"name": "mlp", "hidden": [6, 5]}
SGD = {"name": "sgd", "lr": 0.1, "momentum": None}


def changed(gradient, weight, t=0, names=("0.weight",), seed=0, **options):
    p = nn.Parameter(torch.tensor(weight, dtype=torch.float64))
    p.grad = torch.tensor(gradient, dtype=torch.float64)
    rules = Gradients(OptimizerConfig(**options), seed, names)
    rules.before(t, [p])
    gradient = p.grad.clone()
    rules.after([p])
    return gradient, p.detach()


def test_clipping_by_value_comes_before_clipping_by_norm():
    gradient, _ = changed([[6.0, -0.8]], [[0.0, 0.0]], clip_value=0.6, clip_norm=0.5)
    norm = (0.6**2 + 0.6**2) ** 0.5
    torch.testing.assert_close(gradient, torch.tensor([[0.6, -0.6]]).double() * 0.5 / norm, rtol=1e-5, atol=0)


def test_l1_and_l2_add_the_gradients_of_their_penalties():
    w = torch.tensor([[2.0, -3.0]], dtype=torch.float64, requires_grad=True)
    (0.1 * w.abs().sum() + 0.2 * w.pow(2).sum() / 2).backward()
    gradient, _ = changed([[1.0, 1.0]], w.tolist(), l1=0.1, l2=0.2)
    torch.testing.assert_close(gradient, 1.0 + w.grad, rtol=0, atol=1e-12)


def test_biases_have_no_penalty_and_no_longest_norm():
    gradient, weight = changed([1.0, 1.0], [2.0, -3.0], l1=0.1, l2=0.2, max_norm=0.1)
    assert gradient.tolist() == [1.0, 1.0]
    assert weight.tolist() == [2.0, -3.0]


def test_max_norm_shortens_the_incoming_weights_of_each_unit():
    _, weight = changed([[0.0, 0.0]] * 2, [[3.0, 4.0], [0.3, 0.4]], max_norm=2.0)
    torch.testing.assert_close(weight, torch.tensor([[1.2, 1.6], [0.3, 0.4]]).double(), rtol=1e-5, atol=0)


def test_the_noise_on_gradients_has_the_annealed_variance():
    zero = torch.zeros(200, 200).tolist()
    for t in (0, 99):
        gradient, _ = changed(zero, zero, t=t, noise=0.3, noise_decay=0.55)
        assert gradient.var().item() == pytest.approx(0.3 / (1 + t) ** 0.55, rel=0.02)
    first, again, other, seeded = (
        changed(zero, zero, t=t, names=(name,), seed=seed, noise=0.3)[0]
        for t, name, seed in ((3, "0.w", 0), (3, "0.w", 0), (3, "1.w", 0), (3, "0.w", 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, seeded)


@pytest.mark.parametrize("options", [{"noise": 0.01}, {"l1": 0.01, "l2": 0.01, "max_norm": 0.5}])
def test_however_the_net_is_cut_steps_are_the_same(lab, options):
    optimizer = {**SGD, **options}
    plain, one, two = (
        lab.start(model=MLP, optimizer=given, parallel={"modules": n})
        for given, n in ((SGD, 1), (optimizer, 1), (optimizer, 2))
    )
    for group in (plain, one, two):
        lab.train(group, 0, 6)
    lab.assert_close(lab.weights(one), lab.weights(two), 1e-12)
    assert lab.differ(lab.weights(one), lab.weights(plain))


def test_accumulated_gradients_are_the_mean_of_their_minibatches(lab):
    data = lab.data()
    plan = lab.plan(data, model=MLP, optimizer=SGD, train={"accumulate": 3})
    group = lab.start(data, model=MLP, optimizer=SGD, train={"accumulate": 3})
    lab.train(group, 0, 7)
    network, batches = lab.network(plan), lab.batches(plan, data)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for t in range(6):
        (lab.losses(network, batches.x(t).double(), batches.y(t))[1] / 3).backward()
        if t % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
    lab.assert_close(lab.weights(group), network.state_dict(), 1e-12)


@pytest.mark.parametrize("scheme", ["backprop", "dni", "dfa"])
def test_a_run_goes_on_between_the_minibatches_of_a_step(lab, scheme):
    tree = {
        "model": MLP,
        "scheme": {"name": scheme},
        "parallel": {"modules": 2},
        "train": {"accumulate": 3, "average": 0.8},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "noise": 0.01},
    }
    whole, first, second = (lab.start(**tree) for _ in range(3))
    lab.train(whole, 0, 8)
    lab.train(first, 0, 4, 4)
    second.load_states(first.states(4))
    lab.train(second, 4, 8)
    lab.assert_equal(lab.weights(second), lab.weights(whole))
    lab.assert_equal(lab.parameters(second), lab.parameters(whole))


def test_the_average_follows_its_equation_and_is_what_is_evaluated(lab):
    data = lab.data()
    tree = {"model": MLP, "optimizer": SGD, "parallel": {"modules": 2}}
    group, plain = lab.start(data, **tree, train={"average": 0.7}), lab.start(data, **tree)
    average = None
    for t in range(4):
        lab.train(group, t, t + 1)
        lab.train(plain, t, t + 1)
        now = lab.weights(plain)
        average = now if average is None else {k: 0.7 * average[k] + 0.3 * now[k] for k in now}
    lab.assert_close(lab.weights(group), average, 1e-12)
    lab.assert_equal(lab.parameters(group), lab.parameters(plain))
    outputs = group.outputs("test")
    plain.load_weights(average)
    torch.testing.assert_close(outputs, plain.outputs("test"), rtol=0, atol=1e-12)


def test_loaded_weights_are_evaluated_as_they_are():
    weight = nn.Parameter(torch.zeros(2))
    average = WeightAverage([weight], 0.9)
    average.update()
    with torch.no_grad():
        weight.fill_(1.0)
    average.restart()
    with average.in_place():
        assert weight.tolist() == [1.0, 1.0]


def test_a_run_with_averaged_weights_saves_and_tests_them(small):
    config = small("train.average=0.9", "train.epochs=2", "train.accumulate=2")
    summary = train(config)
    assert resume(Path(summary["run_dir"]))["metrics"]["test/accuracy"] == summary["metrics"]["test/accuracy"]


# clipping by the norm over all modules


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("modules", [1, 3])
def test_the_norm_over_all_modules_clips_as_torch_clips_the_plain_chain(lab, modules, accumulate):
    data = lab.data()
    tree = {"model": MLP, "optimizer": {**SGD, "clip_global": 0.15}, "train": {"accumulate": accumulate}}
    plan, group = lab.plan(data, **tree), lab.start(data, **tree, parallel={"modules": modules})
    lab.train(group, 0, 9)
    network, batches = lab.network(plan), lab.batches(plan, data)
    optimizer, norms = torch.optim.SGD(network.parameters(), lr=0.1), []
    for t in range(9):
        (lab.losses(network, batches.x(t).double(), batches.y(t))[1] / accumulate).backward()
        if (t + 1) % accumulate == 0:
            norms.append(nn.utils.clip_grad_norm_(network.parameters(), 0.15))
            optimizer.step()
            optimizer.zero_grad()
    assert min(norms) > 0.15
    lab.assert_close(lab.weights(group), network.state_dict(), 1e-12)


def test_penalties_and_the_average_follow_the_norm_over_all_modules(lab):
    optimizer = {**SGD, "clip_value": 0.2, "clip_global": 0.3, "l2": 0.1, "noise": 0.01, "max_norm": 0.5}
    one, two = (
        lab.start(model=MLP, optimizer=optimizer, train={"average": 0.8}, parallel={"modules": n}) for n in (1, 2)
    )
    for group in (one, two):
        lab.train(group, 0, 6)
    lab.assert_close(lab.weights(one), lab.weights(two), 1e-12)


def test_an_engine_that_takes_no_norm_over_all_modules_says_so(lab):
    group = lab.start(model=MLP, optimizer={**SGD, "clip_global": 0.3}, parallel={"modules": 2})
    for module in group.modules:
        module.learner.steps_within = False
    with pytest.raises(RunFailed, match=r"clip_global: parallel\.engine=inprocess takes no norm over all modules"):
        lab.train(group, 0, 1)


@pytest.mark.parametrize(
    ("preset", "override", "words"),
    [
        ("quickstart", "scheme.name=dni", "under dni a module moves before the others have theirs; backprop waits"),
        ("adversarial/gan", "scheme.name=backprop", "the nets of gan learn in turns; optimizer.clip_norm is of each"),
        ("quickstart", "optimizer.clip_global=0", "must be greater than 0, got 0"),
    ],
)
def test_the_norm_over_all_modules_is_refused_if_it_is_never_known(preset, override, words):
    with pytest.raises(ConfigError, match=r"^optimizer.clip_global: ") as caught:
        load_config(preset, ["optimizer.clip_global=0.5", override])
    assert words in str(caught.value)


# parameter groups


def test_groups_have_their_own_options_and_the_schedule_scales_them(lab):
    groups = [{"pattern": "*.bias", "weight_decay": 0.0, "lr": 0.5}, {"pattern": "0.*", "lr": 0.2}]
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.3, "schedule": "linear", "groups": groups}
    group = lab.start(model=MLP, optimizer=optimizer, parallel={"modules": 2})
    below, above = (module.learner for module in group.modules)
    found = [(g["lr"], g["weight_decay"], [p.dim() for p in g["params"]]) for g in below.optimizer.param_groups]
    assert found == [(0.5, 0.0, [1]), (0.2, 0.3, [2])]
    assert [(g["lr"], len(g["params"])) for g in above.optimizer.param_groups] == [(0.5, 2), (0.1, 2)]
    lab.train(group, 0, 13)
    total = group.modules[0].plan.total_steps
    assert [g["lr"] for g in below.optimizer.param_groups] == pytest.approx([r * (1 - 12 / total) for r in (0.5, 0.2)])


def test_a_group_equals_the_plain_loop(lab):
    data = lab.data()
    optimizer = {**SGD, "groups": [{"pattern": "*.bias", "lr": 0.3}]}
    plan, group = lab.plan(data, model=MLP, optimizer=optimizer), lab.start(data, model=MLP, optimizer=optimizer)
    lab.train(group, 0, 5)
    network, batches = lab.network(plan), lab.batches(plan, data)
    biases = [p for p in network.parameters() if p.dim() == 1]
    own = [{"params": biases, "lr": 0.3}, {"params": [p for p in network.parameters() if p.dim() > 1]}]
    plain = torch.optim.SGD(own, lr=0.1)
    for t in range(5):
        plain.zero_grad()
        lab.losses(network, batches.x(t).double(), batches.y(t))[1].backward()
        plain.step()
    lab.assert_close(lab.weights(group), network.state_dict(), 1e-12)


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ("[{lr: 0.1}]", "optimizer.groups[0]: {'lr': 0.1} has no pattern; write {pattern:"),
        ('[{pattern: "*", lr: -1}]', "optimizer.groups[0].lr: must be greater than 0, got -1"),
        ('[{pattern: "*", lr: fast}]', "optimizer.groups[0].lr: 'fast' is not of type"),
        ('[{pattern: "*", rate: 1}]', "optimizer.groups[0].rate: unknown option of a group of adam 'rate'"),
    ],
)
def test_groups_are_checked_as_keys_are(groups, line):
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [f"optimizer.groups={groups}"])
    assert line in str(caught.value)


def test_a_pattern_that_meets_nothing_is_an_error(lab):
    with pytest.raises(ConfigError, match=r"groups\[1\].pattern: unknown parameter of mlp '3.weight'; did you mean"):
        lab.plan(model=MLP, optimizer={"groups": [{"pattern": "*.bias"}, {"pattern": "3.weight"}]})


def test_several_nets_do_not_accumulate():
    with pytest.raises(ConfigError, match=r"^train.accumulate: 2, but phases of \w+ add up gradients and step in an"):
        load_config("adversarial/gan", ["train.accumulate=2"])
