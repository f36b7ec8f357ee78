"""Replicas: R workers per module, each on its share of every minibatch, learn what one does on all of it."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from unlocked.config import load_config
from unlocked.data import TrainBatches
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.seeding import derive_seed

pytestmark = pytest.mark.timeout(120)

STEPS = 20
GRIDS = [(2, 1), (1, 2), (2, 2), (4, 1)]  # stages x replicas
BASE = [
    "model.hidden=[24,20,16]",
    "model.norm=none",
    "train.precision=fp64",
    "data.batch_size=32",
    "parallel.partition=null",
    "parallel.threads=1",
    "parallel.timeout=60",
    "optimizer.name=sgd",
    "optimizer.momentum=0.9",
    "optimizer.lr=0.1",
    "optimizer.schedule=constant",
    "optimizer.clip_norm=0.1",
    "scheme.sg.hidden=[]",
    "scheme.sg.lr=0.01",
    "scheme.inputs.hidden=[]",
]
NOISY = ["model.norm=batch", "model.dropout=0.3"]
INPUTS = ["scheme.name=cdni", "scheme.synthetic_inputs=true"]


def planned(*overrides):
    config = load_config("quickstart", [*BASE, *overrides])
    data = load_data(config)
    return make_plan(config, data), data


def grid(modules, replicas):
    return [f"parallel.modules={modules}", f"parallel.replicas={replicas}", "parallel.engine=ray"]


def trained(group_class, plan, data, segments=((0, 8), (8, STEPS))):
    """All series of all modules, the states behind them, and outputs for the test split."""
    group = group_class(plan, data)
    try:
        stats = list(group.run(segments, STEPS))
        series = {
            (k, name): list(chain(*(segment[k].series[name] for segment in stats)))
            for k in range(plan.modules)
            for name in stats[0][k].series
        }
        return series, group.states(STEPS), group.outputs("test")
    finally:
        group.close()


def learned(state):
    """All tensors that training moves in one worker: of the module, of its M and of its I, by name."""
    found = dict(state["weights"])
    for model in ("sg", "inputs"):
        found |= {f"{model}.{name}": tensor for name, tensor in state["learner"].get(model, {}).items()}
    return found


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance, msg=f"{name}: {{}}".format)


@pytest.mark.ray
@pytest.mark.parametrize(("modules", "replicas"), GRIDS)
@pytest.mark.parametrize(
    "scheme",
    [["scheme.name=backprop"], ["scheme.name=dni"], ["scheme.name=dfa"], INPUTS],
    ids=["backprop", "dni", "dfa", "cdni-inputs"],
)
def test_a_grid_learns_what_one_process_learns_on_whole_minibatches(warm, modules, replicas, scheme):
    plan, data = planned(*scheme, f"parallel.modules={modules}", "parallel.engine=inprocess")
    series, states, outputs = trained(InProcessGroup, plan, data)
    found_series, found_states, found_outputs = trained(warm, *planned(*scheme, *grid(modules, replicas)))
    assert len(found_states) == modules * replicas
    # not to the last bit: a mean over 32 is not summed in the order of two means over 16
    for key, values in series.items():
        if key[1] == "sg/relative_loss":  # a ratio: the mean of two is not that of the whole
            continue
        torch.testing.assert_close(torch.tensor(found_series[key]), torch.tensor(values), rtol=0, atol=1e-9)
    torch.testing.assert_close(found_outputs, outputs, rtol=0, atol=1e-9)
    for module, state in enumerate(states):
        mine = found_states[module * replicas : (module + 1) * replicas]
        assert_close(learned(mine[0]), learned(state), 1e-10)
        for other in mine[1:]:
            assert_close(learned(other), learned(mine[0]), 0)


@pytest.mark.ray
@pytest.mark.parametrize(("modules", "replicas"), GRIDS)
def test_the_replicas_of_every_module_share_out_each_minibatch(warm, modules, replicas):
    def rows(runner):
        return [runner.batches.indices(t).tolist() for t in (0, 1, 44, 45)]

    whole = InProcessGroup(*planned(f"parallel.modules={modules}", "parallel.engine=inprocess")).modules[0]
    plan, data = planned(*grid(modules, replicas))
    group = warm(plan, data)
    try:
        answers = group.ask(rows)
    finally:
        group.close()
    for module in range(modules):
        mine = answers[module * replicas : (module + 1) * replicas]
        for step, parts in zip(rows(whole), zip(*mine, strict=True), strict=True):
            assert sorted(chain(*parts)) == sorted(step)


@pytest.mark.ray
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_two_replicas_of_backprop_equal_distributed_data_parallel(warm, norm):
    import ray

    def plain(worker, rank, port, plan, data, network):
        """The loop of torch's own tutorial, on this replica's part of the same minibatches."""
        import gc
        from datetime import timedelta

        import torch.distributed as dist
        from torch.nn.functional import cross_entropy
        from torch.nn.parallel import DistributedDataParallel
        from torch.nn.utils import clip_grad_norm_
        from torch.optim import SGD

        from unlocked.data import TrainBatches
        from unlocked.seeding import derive_seed

        store = worker._store or dist.TCPStore("127.0.0.1", port, 2)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
        try:
            replicated = DistributedDataParallel(network, broadcast_buffers=False)
            batches = TrainBatches(data.train, 32, derive_seed(plan.config.seed, "order"), shard=(rank, 2))
            optimizer, losses = SGD(network.parameters(), lr=0.1, momentum=0.9), []
            for t in range(STEPS):
                loss = cross_entropy(replicated(batches.x(t).double()), batches.y(t))
                losses.append(loss.item())
                optimizer.zero_grad()
                loss.backward()
                clip_grad_norm_(network.parameters(), 0.1)
                optimizer.step()
            return losses, dict(network.named_parameters())
        finally:
            # torch's reducer must not be the last to hold the group: it joins the group's threads while it has the GIL
            # that they may be waiting for
            replicated = loss = None
            gc.collect()
            dist.destroy_process_group()
            worker._store = None

    plan, data = planned("scheme.name=backprop", f"model.norm={norm}", *grid(1, 2))
    network = torch.nn.Sequential(*build_blocks(plan.config, plan.example)).double().train()
    port = ray.get(warm.pool[0].open_store.remote("127.0.0.1", 2, 20.0))
    theirs = ray.get(
        [
            worker.__ray_call__.remote(plain, rank, port, plan, data, network)
            for rank, worker in enumerate(warm.pool[:2])
        ]
    )
    series, states, _ = trained(warm, plan, data)
    means = [sum(losses) / 2 for losses in zip(theirs[0][0], theirs[1][0], strict=True)]
    torch.testing.assert_close(torch.tensor(series[0, "loss"]), torch.tensor(means), rtol=0, atol=1e-12)
    for name, weight in theirs[0][1].items():
        torch.testing.assert_close(states[0]["weights"][name], weight.detach(), rtol=0, atol=1e-12)


@pytest.mark.ray
@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_running_statistics_are_the_mean_over_the_replicas(warm, scheme):
    def shared_only_at_the_end(runner):
        """Keeps this replica's own running statistics too, as they would be without any averaging."""
        average = runner.average_buffers

        def watched(buffers):
            buffers = list(buffers)
            runner.own = [b.clone() for b in buffers]
            average(buffers)

        runner.average_buffers = watched

    def own(runner):
        return {name: value for (name, _), value in zip(runner.learner.chain.named_buffers(), runner.own, strict=True)}

    def shared(runner):
        return dict(runner.learner.chain.named_buffers())

    group = warm(*planned(f"scheme.name={scheme}", *NOISY, *grid(2, 2)))
    try:
        group.ask(shared_only_at_the_end)
        list(group.run([(0, STEPS)], STEPS))
        owns, all_shared, states = group.ask(own), group.ask(shared), group.states(STEPS)
        list(group.run([(STEPS, STEPS + 5)], STEPS + 5))  # no graph that waits was broken by it
    finally:
        group.close()
    for module in range(2):
        first, second = owns[2 * module : 2 * module + 2]
        floats = [name for name, value in first.items() if value.is_floating_point()]
        assert floats
        for name in floats:
            assert not torch.equal(first[name], second[name]), f"{name}: replicas saw the same data"
            for replica in (0, 1):
                mean = (first[name] + second[name]) / 2
                torch.testing.assert_close(all_shared[2 * module + replica][name], mean, rtol=0, atol=0)
        for name in set(first) - set(floats):
            assert torch.equal(first[name], second[name])
        assert_close(states[2 * module]["weights"], states[2 * module + 1]["weights"], 0)


@pytest.mark.ray
def test_statistics_under_synthetic_inputs_are_the_mean_over_the_replicas_own_parts(warm):
    """Each replica's real chain passes its own part of the minibatches, as in training."""
    plan, data = planned(*INPUTS, "model.norm=batch", *grid(2, 2), "parallel.partition=[1,3]")
    group = warm(plan, data)
    try:
        list(group.run([(0, STEPS)], STEPS))
        group.estimate_statistics(STEPS)
        states = group.states(STEPS)
    finally:
        group.close()
    for module in (0, 1):
        assert_close(states[2 * module]["weights"], states[2 * module + 1]["weights"], 0)
    weights = {name: value for state in states for name, value in state["weights"].items()}
    network = torch.nn.Sequential(*build_blocks(plan.config, plan.example)).double().train()
    network.load_state_dict(weights)
    norms = {name: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.BatchNorm1d)}
    for layer in norms.values():
        layer.reset_running_stats()
        layer.momentum = None
    order = derive_seed(plan.config.seed, "order")
    with torch.no_grad():
        for replica in (0, 1):
            batches = TrainBatches(data.train, 32, order, shard=(replica, 2))
            for t in range(STEPS):
                network(batches.x(t).double())
    above = [name for name in norms if not name.startswith("0.")]
    assert len(above) == 2
    for name in above:
        for what in ("running_mean", "running_var"):
            expected = getattr(norms[name], what)
            torch.testing.assert_close(weights[f"{name}.{what}"], expected, rtol=0, atol=1e-12)


@pytest.mark.ray
def test_averaging_leaves_alone_what_is_equal_everywhere(warm):
    """Constants and masks are buffers too; a mean of three equal numbers need not be that number."""

    def with_constants(runner):
        torch.manual_seed(0)
        runner.learner.chain.register_buffer("mask", torch.tensor([0.0, -torch.inf, torch.inf]))
        runner.learner.chain.register_buffer("constants", torch.rand(1000, dtype=torch.float64))
        before = [runner.learner.chain.mask.clone(), runner.learner.chain.constants.clone()]
        runner.average_buffers(runner.learner.chain.buffers())
        return torch.equal(before[0], runner.learner.chain.mask), torch.equal(before[1], runner.learner.chain.constants)

    group = warm(*planned(*grid(1, 3), "data.batch_size=30", "scheme.name=backprop"))
    try:
        assert group.ask(with_constants) == [(True, True)] * 3
    finally:
        group.close()


@pytest.mark.ray
def test_replicas_draw_dropout_of_their_own_and_the_first_draws_what_one_process_draws(warm):
    def masks(runner):
        learner, drawn = runner.learner, []
        for t in (0, 1):
            learner.seed_step(t)
            drawn.append(torch.rand(6).tolist())
        return drawn

    options = ["scheme.name=backprop", *NOISY]
    alone = InProcessGroup(*planned(*options, "parallel.modules=2", "parallel.engine=inprocess"))
    group = warm(*planned(*options, *grid(2, 2)))
    try:
        drawn = group.ask(masks)
    finally:
        group.close()
    assert [drawn[0], drawn[2]] == [masks(runner) for runner in alone.modules]
    different = [tuple(values) for of_worker in drawn for values in of_worker]
    assert len(set(different)) == len(different) == 8


@pytest.mark.ray
def test_two_runs_of_one_configuration_over_a_grid_give_the_same_bits(warm):
    options = [*INPUTS, *NOISY, "scheme.inputs.hidden=[12]", "scheme.sg.hidden=[16]", *grid(2, 2)]
    first, second = (trained(warm, *planned(*options)) for _ in range(2))
    assert first[0] == second[0]
    for one, other in zip(first[1], second[1], strict=True):
        assert_close(learned(one), learned(other), 0)


@pytest.mark.ray
def test_a_grid_with_batch_norm_and_dropout_goes_on_from_its_states_to_the_same_bits(warm):
    options = ["scheme.name=dfa", *NOISY, *grid(2, 2)]
    series, states, _ = trained(warm, *planned(*options))
    first = warm(*planned(*options))
    try:
        list(first.run([(0, 8)], 8))
        saved = first.states(8)
    finally:
        first.close()
    second = warm(*planned(*options))
    try:
        second.load_states(saved)
        (stats,) = second.run([(8, STEPS)], STEPS)
        ends = second.states(STEPS)
    finally:
        second.close()
    assert stats[-1].series["loss"] == series[1, "loss"][8:]
    for one, other in zip(states, ends, strict=True):
        assert_close(learned(one), learned(other), 0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["parallel.replicas=3"], "does not divide data.batch_size"),
        (["parallel.replicas=2", "parallel.engine=inprocess"], "needs workers"),
    ],
)
def test_replicas_that_cannot_work_are_refused(overrides, words):
    with pytest.raises(ConfigError, match=f"parallel.replicas: .*{words}"):
        load_config("quickstart", [*BASE, *overrides])
