"""Running statistics under synthetic inputs: what is evaluated and saved has those of the real chain."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from unlocked.data import TrainBatches
from unlocked.engine import statistics
from unlocked.errors import RunInterrupted
from unlocked.loop.reporter import Silent
from unlocked.loop.train import resume, train
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints
from unlocked.runs.evaluate import evaluate_run
from unlocked.seeding import derive_seed
from unlocked.tracking import read

UNLOCKED = ["scheme.name=cdni", "scheme.synthetic_inputs=true", "model.norm=batch", "parallel.partition=[1,2]"]


def settings(modules=2, partition=None, synthetic=True, **model):
    return {
        "model": {"name": "mlp", "hidden": [16, 14, 12, 10], "norm": "batch", **model},
        "parallel": {"modules": modules, "partition": partition},
        "optimizer": {"name": "adam", "lr": 0.01, "momentum": None},
        "scheme": {"name": "cdni", "lag": 2, "sg": {"hidden": [10]}, "synthetic_inputs": synthetic},
    }


def by_hand(network: nn.Sequential, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean and unbiased variance of what every batch norm is given, batch by batch, and their means over batches."""
    seen: dict[str, list[torch.Tensor]] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, []).append(given[0]))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.BatchNorm1d)
    ]
    network.train()
    with torch.no_grad():
        for x in batches:
            network(x)
    for hook in hooks:
        hook.remove()
    return {
        f"{name}.running_{what}": torch.stack([each(h) for h in hs]).mean(0)
        for name, hs in seen.items()
        for what, each in (("mean", lambda h: h.mean(0)), ("var", lambda h: h.var(0, unbiased=True)))
    }


@pytest.mark.parametrize(("modules", "partition"), [(2, [2, 3]), (3, [1, 2, 2])])
@pytest.mark.parametrize("steps", [4, 16])  # less than an epoch of 6 steps, and more
def test_they_are_the_means_over_the_latest_minibatches_on_the_real_chain(lab, modules, partition, steps, monkeypatch):
    monkeypatch.setattr(statistics, "AT_ONCE", 8 * 16 * 4)  # four minibatches at once, then what is left
    group = lab.start(**settings(modules, partition))
    lab.train(group, 0, steps)
    trained = lab.weights(group)
    network = lab.network(group.modules[0].plan)
    network.load_state_dict(trained)
    expected = by_hand(network, [group.modules[0].batches.x(t).double() for t in range(max(0, steps - 6), steps)])
    group.estimate_statistics(steps)
    found = lab.weights(group)
    own = [f"{i}." for i in range(partition[0])]  # of the first module, which trains on the real x
    for name, value in trained.items():
        if name.startswith(tuple(own)) or "running" not in name:
            assert name.endswith("num_batches_tracked") or torch.equal(found[name], value), name
        else:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-12, msg=name)
            assert (value - expected[name]).abs().max() > 1e-3, name  # what training left was of another input
    assert {name for name in expected if not name.startswith(tuple(own))}


def test_the_chain_is_evaluated_with_them(lab):
    group = lab.start(**settings(3, [1, 2, 2]))
    lab.train(group, 0, 12)
    before = group.outputs("test")
    group.estimate_statistics(12)
    network = lab.network(group.modules[0].plan)
    network.load_state_dict(lab.weights(group))
    with torch.no_grad():
        expected = network.eval()(lab.data().test.x.double())
    torch.testing.assert_close(group.outputs("test"), expected, rtol=0, atol=1e-12)
    assert (before - expected).abs().max() > 1e-3


@pytest.mark.parametrize("momentum", [0.1, None])
def test_layers_keep_their_momentum_and_training_is_not_disturbed(lab, momentum):
    """Dropout draws, carried messages and weights go on as if nothing had been estimated in between."""
    plain, estimated = (lab.start(**settings(3, [1, 2, 2], dropout=0.2)) for _ in range(2))
    layers = [
        layer
        for group in (plain, estimated)
        for module in group.modules
        for layer in module.learner.chain.modules()
        if isinstance(layer, nn.BatchNorm1d)
    ]
    for layer in layers:
        layer.momentum = momentum
    lab.train(plain, 0, 7, checkpoint_at=7)
    lab.train(estimated, 0, 7, checkpoint_at=7)
    estimated.estimate_statistics(7)
    assert [layer.momentum for layer in layers] == [momentum] * len(layers)
    assert lab.train(plain, 7, 14) == lab.train(estimated, 7, 14)
    for group in (plain, estimated):
        group.estimate_statistics(14)
    lab.assert_equal(lab.weights(plain), lab.weights(estimated))


def test_nothing_is_estimated_where_modules_train_on_real_inputs(lab):
    group = lab.start(**settings(synthetic=False))
    lab.train(group, 0, 6)
    before = lab.weights(group)
    group.estimate_statistics(6)
    lab.assert_equal(lab.weights(group), before)


def test_layers_that_are_frozen_keep_theirs(lab):
    group = lab.start(**settings())
    group.modules[1].learner.chain.freeze(1)
    lab.train(group, 0, 6)
    before = lab.weights(group)
    group.estimate_statistics(6)
    moved = lab.differ(before, lab.weights(group))
    first = group.modules[1].learner.spec.start
    assert moved
    assert not [name for name in moved if name.startswith(f"{first}.")]


def test_layers_that_do_not_count_their_passes_average_too():
    """torch's instance norm takes its momentum as it is; None would keep it from moving."""
    layer = nn.InstanceNorm1d(3, track_running_stats=True).train()
    inputs = [torch.randn(4, 3, 5, dtype=torch.float32) + shift for shift in (0, 1, 5)]
    for nth, h in enumerate(inputs):
        with statistics.averaging([layer], nth):
            layer(h)
    expected = torch.stack([h.mean((0, 2)) for h in inputs]).mean(0)
    torch.testing.assert_close(layer.running_mean, expected)
    assert layer.momentum == 0.1


def test_buffers_that_other_layers_move_in_training_stay(lab):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, h):
            self.passes += 1
            return h

    group = lab.start(**settings())
    for module in group.modules:
        module.learner.chain[0].append(Counts())
    lab.train(group, 0, 6)
    group.estimate_statistics(6)
    assert [float(module.learner.chain[0][-1].passes) for module in group.modules] == [6, 6]


def test_layers_that_carry_their_state_go_on_from_the_one_they_had(lab):
    """And pass it from one minibatch to the next, as in training, until a stream begins."""
    data = lab.stream(n=48)
    plain, estimated = (
        lab.start(
            data,
            model={"name": "rnn", "carry": True, "hidden": [6, 5], "embedding": 4},
            scheme={"name": "cdni", "synthetic_inputs": True},
            parallel={"modules": 2},
        )
        for _ in range(2)
    )
    for group in (plain, estimated):
        lab.train(group, 0, 4)
    first = estimated.modules[0].estimate(range(4), 0)
    again = [estimated.modules[0].estimate(range(t, t + 1), t)[0] for t in range(4)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))  # in pieces too
    assert not torch.equal(first[1], estimated.modules[0].estimate(range(1, 2), 0)[0])  # where a state is lost
    assert lab.train(plain, 4, 8) == lab.train(estimated, 4, 8)


@pytest.mark.parametrize("validation", [0, 0.2])
def test_what_is_tested_selected_and_saved_has_them(small, validation):
    """The metrics of the run are those of its saved weights, whose statistics a plain pass over the data finds too."""
    config = small(*UNLOCKED, "train.epochs=4", f"data.validation={validation}", "train.precision=fp64")
    summary = train(config)
    run_dir = Path(summary["run_dir"])
    tested = {key: value for key, value in summary["metrics"].items() if key.startswith("test/")}
    assert evaluate_run(run_dir)["metrics"] == pytest.approx(tested)
    checkpoint = Checkpoints(run_dir).best() if validation else Checkpoints(run_dir).last()
    weights, step = load_file(checkpoint / "model.safetensors"), int(checkpoint.name.removeprefix("step-"))
    if validation:  # by which the best was selected
        selected = dict(read(run_dir)["val/loss"])[step]
        found = evaluate_run(run_dir, "validation")["metrics"]["validation/loss"]
        assert found == pytest.approx(selected, rel=1e-12)
    data = load_data(config)
    network = nn.Sequential(*build_blocks(config, data.example)).double()
    network.load_state_dict(weights)
    batches = TrainBatches(data.train, config.data.batch_size, derive_seed(config.seed, "order"))
    first = step - batches.steps_per_epoch
    expected = by_hand(network, [batches.x(t).double() for t in range(first, step)])
    above = {name: value for name, value in expected.items() if name.startswith("1.")}
    assert above
    for name, value in above.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-12)


class Interrupts(Silent):
    """Asks to stop when it hears of a step."""

    def __init__(self, at: int):
        self.at, self.asked = at, False

    def segment(self, step, values):
        self.asked = self.asked or step == self.at


@pytest.mark.parametrize("at", [12, 20])  # in an epoch, and at its end
def test_an_interrupted_run_resumes_to_the_same_statistics(small, at):
    config = small(*UNLOCKED, "train.epochs=3", "train.log_every=6", "scheme.lag=3", "model.dropout=0.2")
    unbroken = Path(train(config)["run_dir"])
    interrupts = Interrupts(at)
    with pytest.raises(RunInterrupted) as interrupted:
        train(config, reporter=interrupts, stop=interrupts)
    run_dir = Path(str(interrupted.value).partition("--resume ")[2])
    resume(run_dir)
    expected, found = (load_file(Checkpoints(run).last() / "model.safetensors") for run in (unbroken, run_dir))
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []
    validated = [
        {key: points for key, points in read(run).items() if key.startswith("val/")} for run in (unbroken, run_dir)
    ]
    assert validated[0] == validated[1]
