"""DNI and cDNI against the equations of Jaderberg et al. 2017, in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_learner
from unlocked.schemes.sg import SGConfig, SyntheticGradient
from unlocked_models import MODELS, Batch, register_model

CPU = torch.device("cpu")
MLP = {"name": "mlp", "hidden": [16, 14, 12], "activation": "tanh"}


class Recorder:
    """Ports that keep what is sent."""

    def __init__(self):
        self.ups, self.downs = [], []

    def up(self, h):
        self.ups.append(h)

    def down(self, message):
        self.downs.append(message)


class Oracle(nn.Module):
    """In M's place: B dL/dh_k by autograd through the modules above, at the weights they have now.

    Takes the label from the context of cdni; its output carries no graph and it has nothing to learn.
    """

    def __init__(self, lab, above):
        super().__init__()
        self.lab, self.above = lab, [above]  # in a list: not a child of this module

    def forward(self, h, c):
        h = h.detach().requires_grad_()
        with torch.enable_grad():
            blocks = [block for chain in self.above[0] for block in chain]
            _, total = self.lab.losses(blocks, h, c.argmax(1))
        return torch.autograd.grad(total, h)[0] * len(h)


def with_oracles(lab, group):
    chains = [module.learner.chain for module in group.modules]
    for k, module in enumerate(group.modules[:-1]):
        module.learner.sg = Oracle(lab, chains[k + 1 :])
    return group


def scrambled(sg):
    """M with a last layer that is no longer zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in sg.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype), alpha=0.3)
    return sg


def gradients_of(optimizer):
    """From now on the optimiser notes the gradients it is given, and does not move."""
    seen = []
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.step = lambda: seen.append([p.grad.clone() for p in parameters])
    return seen


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "sgd", "lr": 0.1, "momentum": 0.9}, {"name": "adam", "lr": 0.01, "momentum": None}],
    ids=["sgd", "adam"],
)
@pytest.mark.parametrize("modules", [2, 4])
def test_dni_with_oracle_gradients_equals_backprop_step_for_step(lab, modules, optimizer):
    data = lab.data()
    common = {"model": {**MLP, "norm": "layer"}, "parallel": {"modules": modules}, "optimizer": optimizer}
    backprop = lab.start(data, scheme={"name": "backprop"}, **common)
    dni = with_oracles(lab, lab.start(data, scheme={"name": "cdni", "lag": 0}, **common))
    untrained = lab.start(data, scheme={"name": "cdni", "lag": 0}, **common)
    for t in range(8):
        assert lab.train(dni, t, t + 1) == pytest.approx(lab.train(backprop, t, t + 1), abs=1e-10)
        lab.assert_close(lab.weights(dni), lab.weights(backprop), 1e-10)
    lab.train(untrained, 0, 8)  # the control: a fresh M is no oracle
    assert lab.differ(lab.weights(untrained), lab.weights(backprop))


def test_dni_with_oracle_gradients_equals_backprop_with_auxiliary_losses_too(lab):
    data = lab.data(n=24)
    common = {
        "model": {"name": "inception_small", "width": 0.05, "norm": "layer"},
        "parallel": {"modules": 3},
        "optimizer": {"lr": 0.02},
    }
    backprop = lab.start(data, scheme={"name": "backprop"}, **common)
    dni = with_oracles(lab, lab.start(data, scheme={"name": "cdni", "lag": 0}, **common))
    assert lab.train(dni, 0, 5) == pytest.approx(lab.train(backprop, 0, 5), abs=1e-10)
    lab.assert_close(lab.weights(dni), lab.weights(backprop), 1e-10)


def test_the_oracle_has_the_direction_and_the_size_of_the_true_gradient(lab):
    dni = with_oracles(lab, lab.start(model=MLP, scheme={"name": "cdni"}, parallel={"modules": 4}))
    lab.train(dni, 0, 3)
    probed = dni.probe()
    assert list(probed) == [0, 1, 2]
    for found in probed.values():  # and norms of one size: what it predicts per example is injected of the mean
        assert found == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)


@pytest.mark.parametrize("scheme", ["dni", "cdni"])
def test_the_first_update_of_every_module_but_the_last_is_exactly_zero(lab, scheme):
    group = lab.start(
        model={**MLP, "norm": "batch"},
        scheme={"name": scheme, "lag": 0, "sg": {"hidden": [10]}},
        parallel={"modules": 4},
        optimizer={"name": "adam", "lr": 0.01, "momentum": None},
    )
    before = lab.parameters(group)
    lab.train(group, 0, 1)
    first = lab.parameters(group)
    assert {key.partition(".")[0] for key in lab.differ(before, first)} == {"3"}
    lab.train(group, 1, 2)  # then M has learnt something: from the top down, one module a step
    assert {key.partition(".")[0] for key in lab.differ(first, lab.parameters(group))} == {"2", "3"}


def test_clip_norm_is_of_the_module_and_never_of_m(lab):
    group = lab.start(
        model=MLP,
        scheme={"name": "dni", "lag": 0},
        parallel={"modules": 2},
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.0, "clip_norm": 1e-3},
    )
    learner, batches = group.modules[0].learner, group.modules[0].batches
    scrambled(learner.sg)
    x = batches.x(0).double()
    predicted = learner.sg(learner.chain(x).detach())
    message = torch.ones_like(predicted)
    error = (predicted - len(x) * message).square().sum() / len(x)
    expected = torch.autograd.grad(error, list(learner.sg.parameters()))
    assert sum(g.square().sum() for g in expected).sqrt() > 1  # a norm that clipping would change
    module, m = gradients_of(learner.optimizer), gradients_of(learner.sg_optimizer)
    learner.step(0, x, Batch(x, batches.y(0)), Recorder())
    learner.absorb(0, message, Recorder())
    norm = torch.stack([g.square().sum() for g in module[0]]).sum().sqrt()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)
    for found, wanted in zip(m[0], expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_gradients_are_averaged_over_the_replicas_before_they_are_clipped(lab, scheme):
    group = lab.start(model=MLP, scheme={"name": scheme}, optimizer={"name": "sgd", "lr": 0.1, "clip_norm": 1.0})
    learner = group.modules[0].learner

    def reduce(parameters):
        """Another replica's gradients make the mean of norm 5."""
        for p in parameters:
            p.grad.zero_()
        parameters[0].grad.flatten()[0] = 5.0

    learner.reduce = reduce
    seen = gradients_of(learner.optimizer)
    for p in learner.trainable:
        p.grad = torch.randn_like(p)
    learner.update()
    assert float(torch.stack([g.square().sum() for g in seen[0]]).sum().sqrt()) == pytest.approx(1.0, rel=1e-5)


def three_modules(lab, scheme="dni", sg=None):
    """Learners of modules 1, 2 and 3, M_1 and M_2 away from zero, and one minibatch."""
    data = lab.data()
    plan = lab.plan(
        data,
        model=MLP,
        scheme={"name": scheme, "lag": 0, "sg": sg or {"hidden": [10]}},
        parallel={"modules": 3, "partition": [2, 1, 1]},
    )
    learners = [build_learner(plan, k, CPU) for k in range(3)]
    for learner in learners[:-1]:
        scrambled(learner.sg)
    batches = lab.batches(plan, data)
    return learners, Batch(batches.x(0).double(), batches.y(0))


def test_the_target_of_m_is_what_the_module_above_finds_at_its_input(lab):
    learners, batch = three_modules(lab)
    B = len(batch.y)
    chains = [learner.chain for learner in learners]
    h1 = chains[0](batch.x).detach()
    h1_in = h1.clone().requires_grad_()
    h2 = chains[1](h1_in)
    g2 = learners[1].sg(h2.detach()).detach() / B
    (bootstrapped,) = torch.autograd.grad(h2, h1_in, g2)  # module 2 applies its own, synthetic g_2
    h2_in = h2.detach().requires_grad_()
    loss, _ = lab.losses(chains[2], h2_in, batch.y)
    (true,) = torch.autograd.grad(loss, h2_in)  # module 3 has the loss

    ports = [Recorder() for _ in learners]
    learners[0].step(0, batch.x, batch, ports[0])
    learners[1].step(0, ports[0].ups[0], batch, ports[1])
    learners[2].step(0, ports[1].ups[0], batch, ports[2])
    torch.testing.assert_close(ports[1].downs[0], bootstrapped, rtol=0, atol=1e-14)
    torch.testing.assert_close(ports[2].downs[0], true, rtol=0, atol=1e-14)
    assert ports[0].downs == []

    for k, (h, t) in enumerate([(h1, bootstrapped * B), (h2.detach(), true * B)]):
        learner = learners[k]
        expected = (learner.sg(h) - t).square().sum(1).mean()  # ||M(h_k) - t_k||^2 per example
        wanted = torch.autograd.grad(expected, list(learner.sg.parameters()))
        given = gradients_of(learner.sg_optimizer)
        learner.absorb(0, ports[k + 1].downs[0], ports[k])
        assert learner.series["sg/loss"][0].item() == pytest.approx(expected.item(), rel=1e-12)
        relative = expected.item() / t.square().sum(1).mean().item()  # 1: no better than saying zero
        assert learner.series["sg/relative_loss"][0].item() == pytest.approx(relative, rel=1e-12)
        for one, other in zip(given[0], wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_target_of_zero_leaves_the_relative_loss_finite(lab):
    learners, batch = three_modules(lab)
    ports = Recorder()
    learners[0].step(0, batch.x, batch, ports)
    learners[0].absorb(0, torch.zeros_like(ports.ups[0]), ports)
    assert torch.isfinite(learners[0].series["sg/relative_loss"][0])


def test_the_gradient_injected_into_a_module_is_that_of_m_divided_by_the_batch(lab):
    learners, batch = three_modules(lab)
    learner = learners[0]
    h = learner.chain(batch.x)
    wanted = torch.autograd.grad(h, learner.trainable, learner.sg(h.detach()).detach() / len(batch.y))
    given = gradients_of(learner.optimizer)
    learner.step(0, batch.x, batch, Recorder())
    for one, other in zip(given[0], wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
    assert any(g.abs().max() > 1e-3 for g in wanted)


def test_m_learns_late_at_the_h_it_was_asked_about_and_with_the_weights_it_then_has(lab):
    data = lab.data()
    plan = lab.plan(
        data,
        model=MLP,
        scheme={"name": "dni", "lag": 2, "sg": {"hidden": [10]}},
        parallel={"modules": 2, "partition": [2, 2]},
    )
    learner = build_learner(plan, 0, CPU)
    scrambled(learner.sg)
    batches, ports = lab.batches(plan, data), Recorder()
    for t in range(3):
        learner.step(t, batches.x(t).double(), Batch(None, batches.y(t)), ports)
    with torch.no_grad():
        for p in learner.sg.parameters():
            p.mul_(1.5)
    target = torch.randn_like(ports.ups[0])
    expected = (learner.sg(ports.ups[0]) - target * 8).square().sum() / 8
    learner.absorb(0, target, ports)
    assert learner.series["sg/loss"][0].item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_label_reaches_m_and_the_gradient_but_never_h(lab):
    sent = []
    for shift in (0, 1):
        learners, batch = three_modules(lab, "cdni")
        labels = Batch(batch.x, (batch.y + shift) % 5)
        ports, before = Recorder(), [p.detach().clone() for p in learners[0].trainable]
        learners[0].step(0, batch.x, labels, ports)
        moved = [p.detach() - q for p, q in zip(learners[0].trainable, before, strict=True)]
        sent.append((ports.ups[0], moved[0]))
    assert torch.equal(sent[0][0], sent[1][0])
    assert (sent[0][1] - sent[1][1]).abs().max() > 1e-4
    for shift in (0, 1):  # the control: dni's update does not see it
        learners, batch = three_modules(lab, "dni")
        learners[0].step(0, batch.x, Batch(batch.x, (batch.y + shift) % 5), Recorder())
        sent.append(learners[0].trainable[0].detach().clone())
    assert torch.equal(sent[2], sent[3])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"kind": "linear"}, (12,)),
        ({"kind": "linear", "rank": 3}, (12,)),
        ({"kind": "mlp", "hidden": [7]}, (12,)),
        ({"kind": "mlp", "hidden": [7, 5], "norm": "none"}, (12,)),
        ({"hidden": [6]}, (12,)),
        ({}, (12,)),
        ({"kind": "conv"}, (4, 6, 5)),
        ({"hidden": [8], "kernel": 5}, (4, 6, 5)),
        ({"kind": "linear"}, (4, 6, 5)),
        ({"kind": "linear"}, (7, 4)),
        ({"hidden": [6]}, (7, 4)),
    ],
)
@pytest.mark.parametrize("context", [0, 5])
def test_every_m_starts_at_zero_and_answers_in_the_shape_of_h(options, shape, context):
    sg = SyntheticGradient(SGConfig(**options), shape, (context,) if context else ())
    h, c = torch.randn(3, *shape), torch.eye(5)[:3] if context else None
    assert torch.equal(sg(h, c), torch.zeros(3, *shape))
    last = [m for m in sg.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    assert torch.equal(last.weight, torch.zeros_like(last.weight))
    assert torch.equal(last.bias, torch.zeros_like(last.bias))
    scrambled(sg)
    assert sg(h, c).shape == h.shape
    if context:
        assert not torch.equal(sg(h, c), sg(h, c.roll(1, 0)))


def test_m_forms_are_chosen_by_the_boundary():
    def layers(options, shape):
        return [type(m).__name__ for m in SyntheticGradient(SGConfig(**options), shape).net]

    assert layers({}, (12,)) == ["Linear"]
    assert layers({"hidden": [7]}, (12,)) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert layers({"hidden": [7]}, (4, 6, 5)) == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    assert layers({"hidden": [7], "norm": "none"}, (12,)) == ["Linear", "ReLU", "Linear"]


def test_a_convolutional_m_gets_one_constant_plane_per_class():
    sg = SyntheticGradient(SGConfig(kind="conv", hidden=[8]), (4, 6, 5), (3,))
    seen = []
    sg.net[0].register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    h, c = torch.randn(2, 4, 6, 5), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    sg(h, c)
    assert torch.equal(seen[0][:, :4], h)
    assert torch.equal(seen[0][:, 4:], c[:, :, None, None].expand(2, 3, 6, 5))


def test_the_positions_of_a_sequence_share_one_m_and_the_context():
    sg = SyntheticGradient(SGConfig(kind="linear"), (7, 4), (3,))
    assert [p.shape for p in sg.parameters()] == [(4, 7), (4,)]  # 4 features and 3 classes in, 4 out
    scrambled(sg)
    h, c = torch.randn(5, 7, 4), torch.eye(3)[[0, 2, 1, 1, 0]]
    by_hand = torch.stack([torch.stack([sg.net[0](torch.cat([h[i, t], c[i]])) for t in range(7)]) for i in range(5)])
    assert torch.allclose(sg(h, c), by_hand, atol=1e-6)


def test_a_convolutional_m_at_a_flat_boundary_is_refused_before_anything_starts(lab):
    with pytest.raises(ConfigError, match=r"^scheme.sg.kind: conv needs feature maps .* \(16,\)$"):
        lab.plan(
            model=MLP, scheme={"name": "dni", "sg": {"kind": "conv"}}, parallel={"modules": 2, "partition": [1, 3]}
        )


def test_a_cut_avoids_boundaries_at_which_m_does_not_fit(lab):
    # by cost alone the cut lies between the linear layers
    model = {"name": "cnn", "channels": [2], "hidden": [600, 600]}
    plan = lab.plan(model=model, scheme={"name": "dni", "sg": {"kind": "conv"}}, parallel={"modules": 2})
    assert plan.specs[0].out_shape == (2, 4, 4)
    assert lab.plan(model=model, parallel={"modules": 2}).specs[0].out_shape == (600,)


def test_initial_weights_of_m_depend_on_its_boundary_and_not_on_the_other_cuts(lab):
    sgs = {}
    for sizes in ([2, 2], [1, 1, 2], [1, 3]):
        group = lab.start(
            model=MLP,
            scheme={"name": "dni", "sg": {"hidden": [10]}},
            parallel={"modules": len(sizes), "partition": sizes},
        )
        sgs[len(sizes), sizes[0]] = [module.learner.sg for module in group.modules[:-1]]
    alone, among, first = sgs[2, 2][0], sgs[3, 1][1], sgs[2, 1][0]
    lab.assert_equal(alone.state_dict(), among.state_dict())
    lab.assert_equal(first.state_dict(), sgs[3, 1][0].state_dict())
    assert alone.net[0].weight[0, :5].tolist() != first.net[0].weight[0, :5].tolist()


def test_a_module_without_weights_passes_its_synthetic_gradient_on(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("bare")
    def bare(in_shape, n_outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, n_outputs))

    group = lab.start(
        model={"name": "bare"}, scheme={"name": "dni", "lag": 0}, parallel={"modules": 4, "partition": [1, 1, 1, 1]}
    )
    before = lab.weights(group)
    assert len(lab.train(group, 0, 5)) == 5
    assert lab.differ(before, lab.weights(group)) == list(before)


def test_m_is_asked_per_example_so_that_it_does_not_depend_on_the_batch_size(lab):
    # the same examples twice: the mean loss and so every update stay as they are
    learner_of = {}
    for copies in (1, 2):
        learners, batch = three_modules(lab, sg={"hidden": [10], "norm": "none"})
        x, y = batch.x.repeat(copies, 1, 1, 1), batch.y.repeat(copies)
        ports = Recorder()
        given = gradients_of(learners[1].optimizer)
        h1 = learners[0].chain(x).detach()
        learners[1].step(0, h1, Batch(None, y), ports)
        top = Recorder()
        learners[2].step(0, ports.ups[0], Batch(None, y), top)
        learned = gradients_of(learners[1].sg_optimizer)
        learners[1].absorb(0, top.downs[0], ports)
        learner_of[copies] = SimpleNamespace(own=given[0], sg=learned[0])
    for name in ("own", "sg"):
        for one, other in zip(*(getattr(learner_of[n], name) for n in (1, 2)), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
