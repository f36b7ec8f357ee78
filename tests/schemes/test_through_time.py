"""Synthetic gradients through time against truncated and full backpropagation, in float64."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.loop import train as loop

MODEL = {"name": "gru", "hidden": [5], "embedding": 3, "carry": True}
FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient
TIME = {"synthetic": True}


def start(lab, scheme="backprop", time=TIME, model=MODEL, modules=1, lag="auto", optimizer=FLAT, n=24, **more):
    data = lab.stream(n=n)
    group = lab.start(
        data,
        model=model,
        scheme={"name": scheme, "lag": lag, "time": time},
        parallel={"modules": modules},
        optimizer=optimizer,
        data={"batch_size": 3},
        **more,
    )
    return group, data


def loss_of(chain, batches, t):
    return cross_entropy(chain(batches.x(t)).flatten(0, 1), batches.y(t).flatten())


def test_m_starts_at_zero_so_the_first_window_is_truncated_backpropagation(lab):
    moved = []
    for time in ({}, TIME):
        group, _ = start(lab, time=time)
        lab.train(group, 0, 1)
        moved.append(lab.weights(group))
    lab.assert_equal(*moved)
    group, _ = start(lab, time=TIME)
    lab.train(group, 0, 4)
    truncated, _ = start(lab, time={})
    lab.train(truncated, 0, 4)
    assert lab.differ(lab.weights(group), lab.weights(truncated))


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_oracle_makes_two_windows_one(lab, scale):
    """With the true gradient of the next window's loss at s_T, the first window learns what backpropagation over both
    would teach it."""
    group, _ = start(lab, time={"synthetic": True, "scale": scale})
    module = group.modules[0]
    learner, batches = module.learner, module.batches
    chain, layer = learner.chain, learner.chain[0]
    before = {name: p.detach().clone() for name, p in chain.named_parameters()}

    class Oracle(torch.nn.Module):
        def forward(self, s):
            with torch.enable_grad():
                layer.carried = leaf = s.clone().requires_grad_()
                (g,) = torch.autograd.grad(loss_of(chain, batches, 1), leaf)
            layer.carried = kept
            return g * 3 * 4  # per example and position

    real = learner.time.leave

    def leave(starts, last):
        nonlocal kept
        kept = layer.carried
        return real(starts, last)

    kept = None
    learner.time.leave = leave
    learner.time.models[0] = Oracle()
    lab.train(group, 0, 1)
    given = {name: before[name] - p for name, p in chain.named_parameters()}

    with torch.no_grad():
        for name, p in chain.named_parameters():
            p.copy_(before[name])
    layer.carried = None
    first = loss_of(chain, batches, 0)
    end, frozen = layer.carried, {name: p.detach() for name, p in chain.named_parameters()}
    layer.carried = end
    out = torch.func.functional_call(chain, frozen, (batches.x(1),))  # of the second window only its start is credited
    second = cross_entropy(out.flatten(0, 1), batches.y(1).flatten())
    expected = torch.autograd.grad(first + scale * second, list(chain.parameters()))
    for (name, g), e in zip(given.items(), expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-12, msg=f"{name}: {{}}".format)
    layer.carried = None
    truncated = torch.autograd.grad(loss_of(chain, batches, 0), list(chain.parameters()))
    assert max((g - e).abs().max().item() for g, e in zip(given.values(), truncated, strict=True)) > 1e-4


def test_m_learns_from_the_gradient_at_the_start_of_the_next_window(lab):
    group, _ = start(lab, optimizer={"name": "sgd", "lr": 1e-12, "momentum": 0.0}, model={**MODEL, "name": "lstm"})
    module = group.modules[0]
    chain, batches, M = module.learner.chain, module.batches, module.learner.time.models[0]
    layer = chain[0]
    with torch.no_grad():
        for p in M.parameters():
            p.copy_(torch.randn_like(p))
    (stats,) = group.run([(0, 1)], 100)
    assert "sg/time_loss" not in stats[0].series  # a stream began: there is no window before it
    s = layer.carried.detach().clone()
    guess = M(s).detach()
    (stats,) = group.run([(1, 2)], 100)
    layer.carried = leaf = s.requires_grad_()
    loss = loss_of(chain, batches, 1)
    end = layer.carried
    injected = (M(end).detach() * end).sum() / (3 * 4)
    (target,) = torch.autograd.grad(loss + injected, leaf)
    expected = float((guess - 3 * 4 * target).square().sum() / 3)
    assert stats[0].series["sg/time_loss"] == pytest.approx([expected], rel=1e-6)


def test_nothing_is_injected_behind_the_end_of_a_stream(lab):
    """24 windows in 3 stretches: the 8th minibatch is the last of its stream, whatever M says."""
    moved = []
    for time in ({}, TIME):
        group, _ = start(lab, time=time)
        learner = group.modules[0].learner
        if learner.time is not None:
            learner.time.learn = lambda step: None  # M stays at zero until the last window ...
        lab.train(group, 0, 7)
        if learner.time is not None:
            with torch.no_grad():
                for p in learner.time.models.parameters():
                    p.fill_(1.0)
        lab.train(group, 7, 8)  # ... in front of which it is anything but
        moved.append(lab.weights(group))
    lab.assert_equal(*moved)


def test_the_auxiliary_loss_teaches_the_network_to_foresee_its_synthetic_gradient(lab):
    """Its gradient is that of ||A(out_1) - M(s_T)||^2 alone, on top of what the network learns without it."""
    moved = {}
    for weight in (0.0, 0.3):
        group, _ = start(lab, time={"synthetic": True, "auxiliary": weight})
        learner = group.modules[0].learner
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for p in (*learner.time.models.parameters(), *learner.time.foresee.parameters()):
                p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
        chain, layer, batches, time = learner.chain, learner.chain[0], group.modules[0].batches, learner.time
        before = {name: p.detach().clone() for name, p in chain.named_parameters()}
        first = layer(batches.x(0))[:, 0]
        error = time.foresee[0](first) - time.models[0](layer.carried).detach()
        extra = torch.autograd.grad(weight * error.square().sum() / 3, list(chain.parameters()), allow_unused=True)
        layer.carried = None
        lab.train(group, 0, 1)
        moved[weight] = {name: before[name] - p.detach() for name, p in chain.named_parameters()}, extra
    (plain, _), (with_it, extra) = moved.values()
    for (name, g), e in zip(with_it.items(), extra, strict=True):
        torch.testing.assert_close(g - plain[name], torch.zeros_like(g) if e is None else e, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("scheme", "lag"), [("backprop", 0), ("dni", 2), ("cdni", 1), ("dfa", 0), ("dfa", 2)])
def test_a_resumed_run_repeats_the_unbroken_one_in_the_middle_of_a_stream(lab, scheme, lag):
    model = {**MODEL, "hidden": [5, 4], "name": "lstm"}
    options = {
        "scheme": scheme,
        "lag": lag,
        "modules": 2,
        "model": model,
        "n": 48,
        "time": {"synthetic": True, "auxiliary": 0.1, "hidden": [6], "context": "start", "ramp": 15},
        "optimizer": {"name": "adam", "lr": 0.01, "momentum": None},
    }
    whole, _ = start(lab, **options)
    lab.train(whole, 0, 20)
    half, _ = start(lab, **options)
    lab.train(half, 0, 9, checkpoint_at=9)
    states = half.states(9)
    rest, _ = start(lab, **options)
    rest.load_states(states)
    lab.train(rest, 9, 20)
    lab.assert_equal(lab.weights(rest), lab.weights(whole))


def test_evaluation_and_probes_leave_the_carried_state_alone(lab):
    quiet, _ = start(lab)
    lab.train(quiet, 0, 6)
    disturbed, _ = start(lab)
    for t in range(6):
        lab.train(disturbed, t, t + 1)
        disturbed.probe()
        disturbed.outputs("test")
    lab.assert_equal(lab.weights(disturbed), lab.weights(quiet))


def test_evaluation_reads_the_split_as_a_stream(lab):
    """Kept nats and hits of every window equal those of one long sequence per stretch."""
    group, data = start(lab, n=24)
    module = group.modules[0]
    kept = group.outputs("test")
    lanes = 3
    x = data.test.x.view(lanes, -1)  # 24 windows in 3 stretches: the batch size
    module.learner.chain.eval()
    module.learner.carry([None])
    with torch.no_grad():
        out = module.learner.chain(x)
    nats = cross_entropy(out.flatten(0, 1), data.test.y.flatten(), reduction="none")
    torch.testing.assert_close(kept[..., 0].flatten(), nats, rtol=1e-10, atol=1e-12)


def test_without_a_carried_state_there_is_no_end_to_inject_at(lab):
    with pytest.raises(ConfigError, match=r"^scheme.time.synthetic: true, but no layer of gru goes on"):
        start(lab, model={**MODEL, "carry": False})


def test_examples_that_do_not_follow_each_other_cannot_be_carried():
    config = load_config(
        "quickstart",
        [
            "data.name=mnist1d",
            "model.name=gru",
            "parallel.modules=1",
            "scheme.name=backprop",
            "tracking.uri=off",
            "tracking.figures=false",
        ],
    )
    assert loop.make_plan(config, loop.load_data(config)).carries is False


def test_m_sees_its_states_normalised_over_the_minibatch(lab):
    group, _ = start(lab, time={"synthetic": True, "norm": "batch", "hidden": [6]})
    M = group.modules[0].learner.time.models[0]
    with torch.no_grad():
        for p in M.parameters():
            p.copy_(torch.randn_like(p))
    s = torch.randn(3, 5, dtype=torch.float64)
    z = (s - s.mean(0)) / (s.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(M(s), M.net(z), rtol=1e-12, atol=1e-12)
    assert (M(s) - M.net(s)).abs().max() > 1e-3


def test_targets_are_no_longer_than_clip(lab):
    """Of each example on its own: a target below it is learned as it is."""

    def learned(clip):
        group, _ = start(
            lab, optimizer={"name": "sgd", "lr": 1e-12, "momentum": 0.0}, time={"synthetic": True, "clip": clip}
        )
        lab.train(group, 0, 1)
        module = group.modules[0]
        layer, chain = module.learner.chain[0], module.learner.chain
        layer.carried = leaf = layer.carried.detach().requires_grad_()
        (target,) = torch.autograd.grad(3 * 4 * loss_of(chain, module.batches, 1), leaf)
        layer.carried = leaf.detach()
        (stats,) = group.run([(1, 2)], 100)
        return stats[0].series["sg/time_loss"], target  # M is still zero: the error is the mean square of the targets

    _, target = learned(None)
    lengths = target.norm(dim=1)
    clip = float(lengths.sort().values[1])  # between the shortest and the longest of three
    error, _ = learned(clip)
    assert error == pytest.approx([float(lengths.clamp(max=clip).square().sum() / 3)], rel=1e-9)
    assert error != pytest.approx([float(lengths.square().sum() / 3)], rel=1e-3)


def test_a_minibatch_of_one_cannot_be_normalised():
    with pytest.raises(ConfigError, match=r"^scheme.time.norm: batch needs a minibatch of at least 2 examples"):
        load_config("recurrent/text", ["scheme.time.synthetic=true", "scheme.time.norm=batch", "data.batch_size=1"])


def test_m_with_a_context_learns_from_both_ends_of_the_window_before(lab):
    group, _ = start(
        lab, optimizer={"name": "sgd", "lr": 1e-12, "momentum": 0.0}, time={"synthetic": True, "context": "start"}
    )
    module = group.modules[0]
    chain, batches, M = module.learner.chain, module.batches, module.learner.time.models[0]
    layer = chain[0]
    with torch.no_grad():
        for p in M.parameters():
            p.copy_(torch.randn_like(p))
    states = [torch.zeros(3, 5, dtype=torch.float64)]  # a stream begins
    for t in range(2):
        lab.train(group, t, t + 1)
        states.append(layer.carried.detach().clone())
    (stats,) = group.run([(2, 3)], 100)
    layer.carried = leaf = states[2].clone().requires_grad_()
    loss = loss_of(chain, batches, 2)
    end = layer.carried
    injected = (M(end, leaf.detach()).detach() * end).sum() / (3 * 4)
    (target,) = torch.autograd.grad(loss + injected, leaf)
    expected = float((M(states[2], states[1]).detach() - 3 * 4 * target).square().sum() / 3)
    assert stats[0].series["sg/time_loss"] == pytest.approx([expected], rel=1e-6)


def test_what_is_injected_grows_over_the_ramp(lab):
    def moved(ramp, scale, steps):
        group, _ = start(lab, time={"synthetic": True, "ramp": ramp, "scale": scale})
        time = group.modules[0].learner.time
        time.learn = lambda step: time._windows.popleft() and None  # M stays as it is
        with torch.no_grad():
            for p in time.models.parameters():
                p.fill_(0.5)
        lab.train(group, 0, steps)
        return lab.weights(group)

    lab.assert_equal(moved(4, 1.0, 1), moved(0, 1e-30, 1))  # nothing yet
    assert lab.differ(moved(4, 1.0, 2), moved(0, 1e-30, 2))
    assert lab.differ(moved(4, 1.0, 5), moved(0, 1.0, 5))
