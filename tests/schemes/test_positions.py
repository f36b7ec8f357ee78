"""Boundaries and targets with positions: what each scheme makes of sequences, in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from unlocked.schemes.layout import Layout
from unlocked.schemes.sg import SGConfig, SyntheticGradient
from unlocked_models import Batch

MODEL = {"name": "gru", "hidden": [5, 4], "embedding": 3}
FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient


def start(lab, scheme, modules=3, **more):
    data = lab.stream()
    return lab.start(
        data,
        model=MODEL,
        scheme={"name": scheme, "lag": 0},
        parallel={"modules": modules},
        data={"batch_size": 3},
        **{"optimizer": FLAT, **more},
    ), data


def loss_of(chain, x, y):
    return cross_entropy(chain(x).flatten(0, 1), y.flatten())


@pytest.mark.parametrize("modules", [1, 2, 3])
def test_backprop_of_a_language_model_is_plain_autograd(lab, modules):
    group, _ = start(lab, "backprop", modules)
    plan, batches = group.modules[0].plan, group.modules[0].batches
    network = lab.network(plan)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for t in range(3):
        (loss,) = lab.train(group, t, t + 1)
        expected = loss_of(network, batches.x(t), batches.y(t))
        assert loss == pytest.approx(expected.item(), abs=1e-12)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
    lab.assert_close(lab.weights(group), dict(network.state_dict()), 1e-10)


@pytest.mark.parametrize("modules", [1, 3])
def test_dfa_projects_the_error_of_every_position_by_the_same_matrix(lab, modules):
    group, _ = start(lab, "dfa", modules)
    batches, network = group.modules[0].batches, lab.network(group.modules[0].plan)
    feedback = [B for module in group.modules for B in module.learner.feedback]
    assert [tuple(B.shape) for B in feedback] == [(7, 5), (7, 4)]  # 7 tokens, layers of 5 and 4 units
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    h = batches.x(0)
    points = []
    for block in network:
        h = block(h)
        points.append(h)
        h = h.detach().requires_grad_()
    out = points[-1].detach().requires_grad_()
    (e,) = torch.autograd.grad(cross_entropy(out.flatten(0, 1), batches.y(0).flatten()), out)
    by_position = [torch.stack([e[:, t] @ B for t in range(4)], 1) for B in feedback]
    torch.autograd.backward(points, [*by_position, e])
    lab.train(group, 0, 1)
    expected = {name: before[name] - p.grad for name, p in network.named_parameters()}
    lab.assert_close(lab.weights(group), expected, 1e-13)


@pytest.mark.parametrize("scheme", ["dni", "cdni"])
def test_m_speaks_per_token_and_learns_from_the_gradient_times_examples_and_positions(lab, scheme):
    """The loss is a mean over B T targets, so g = M(h) / (B T) and t = B T delta, for B examples of T tokens."""
    group, _ = start(lab, scheme, modules=2)
    learner, batches, sent = group.modules[0].learner, group.modules[0].batches, []
    with torch.no_grad():
        for p in learner.sg.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2), dtype=p.dtype))
    x, y = batches.x(0), batches.y(0)  # 3 examples of 4 tokens
    h = learner.chain(x)
    c = learner._context(Batch(x, y), h)
    M = learner.sg(h.detach()) if c is None else learner.sg(h.detach(), c)
    weights = [p for p in learner.chain.parameters() if p.requires_grad]
    expected = torch.autograd.grad(h, weights, M.detach() / (3 * 4), allow_unused=True)
    before = [p.detach().clone() for p in weights]
    learner.step(0, x, Batch(x, y), SimpleNamespace(up=sent.append, down=sent.append))
    for p, old, g in zip(weights, before, expected, strict=True):
        torch.testing.assert_close(p, old if g is None else old - g, rtol=1e-12, atol=1e-14)  # rate 1
    delta = torch.randn(h.shape, generator=torch.Generator().manual_seed(3), dtype=h.dtype)
    target = 3 * 4 * delta
    (wanted,) = torch.autograd.grad((M - target).square().sum() / 3, [next(learner.sg.parameters())])
    seen = []
    learner.sg_optimizer.step = lambda: seen.append(next(learner.sg.parameters()).grad.clone())
    learner.absorb(0, delta, SimpleNamespace(down=sent.append))
    torch.testing.assert_close(seen[0], wanted, rtol=1e-10, atol=1e-12)


def test_positions_in_front_of_the_output_s_are_given_the_sum_of_the_errors():
    e = torch.randn(2, 3, 4)
    whole = e.sum(1, keepdim=True)
    assert Layout((3, 6), (3, 4)).at_positions(e, whole) is e
    assert torch.equal(Layout((5, 6), (3, 4)).at_positions(e, whole), torch.cat([whole, whole, e], 1))
    for layout in (Layout((2, 6), (3, 4)), Layout((3, 6), (3, 4), apart=True), Layout((5, 6), (3, 4), apart=True)):
        assert torch.equal(layout.at_positions(e, whole), whole.expand(2, layout.shape[0], 4))


@pytest.mark.parametrize("scheme", ["cdni", "dfa"])
def test_an_encoder_s_positions_are_no_target_s_even_where_they_are_as_many(lab, scheme):
    data = lab.pairs(source=4, target=4)
    group = lab.start(
        data,
        model={"name": "seq2seq", "width": 6, "attention": "dot", "encoder": 2},
        scheme={"name": scheme, "lag": 0},
        parallel={"modules": 3, "partition": [1, 1, 3]},
        data={"batch_size": 3},
    )
    encoders = [module.learner for module in group.modules[:2]]
    if scheme == "cdni":
        assert [learner.sg.layout.relation for learner in encoders] == ["apart", "apart"]
        return
    e = torch.randn(3, 4, 8, dtype=torch.float64)
    for learner in encoders:
        (B,) = learner.feedback
        (given,) = learner.project(e, [torch.zeros(3, 4, 6, dtype=torch.float64)])
        torch.testing.assert_close(given, (e.sum(1) @ B)[:, None].expand(3, 4, 6), rtol=1e-12, atol=1e-14)


class Oracle(nn.Module):
    """The true gradient at a boundary, per example and token, from the tokens that condition M."""

    def __init__(self, above):
        super().__init__()
        self.above = [above]

    def forward(self, h, c):
        h = h.detach().requires_grad_()
        with torch.enable_grad():
            out = h
            for chain in self.above[0]:
                out = chain(out)
            loss = cross_entropy(out.flatten(0, 1), c.flatten())
        return torch.autograd.grad(loss, h)[0] * c.numel()


def test_dni_with_oracle_gradients_equals_backprop_on_tokens(lab):
    backprop, _ = start(lab, "backprop")
    cdni, _ = start(lab, "cdni")
    chains = [module.learner.chain for module in cdni.modules]
    for k, module in enumerate(cdni.modules[:-1]):
        module.learner.sg = Oracle(chains[k + 1 :])
    for t in range(5):
        assert lab.train(cdni, t, t + 1) == pytest.approx(lab.train(backprop, t, t + 1), abs=1e-10)
    lab.assert_close(lab.weights(cdni), lab.weights(backprop), 1e-10)


@pytest.mark.parametrize("scheme", ["dni", "cdni", "dfa"])
def test_updates_do_not_depend_on_the_size_of_a_minibatch_s_padding(lab, scheme):
    """A minibatch whose second half is repeated padding teaches what its first half does: the loss counts tokens."""
    group, _ = start(lab, scheme, modules=1)
    module = group.modules[0]
    batches, y = module.batches, module.batches.y(0).clone()
    y[:, 2:] = 0
    module.batches.y = lambda t: y
    before = lab.weights(group)
    lab.train(group, 0, 1)
    head = {key: before[key] - value for key, value in lab.weights(group).items() if key.startswith("2.")}
    network = lab.network(module.plan)
    out = network(batches.x(0))[:, :2]
    loss = cross_entropy(out.flatten(0, 1), y[:, :2].flatten())
    expected = torch.autograd.grad(loss, list(network[2].parameters()))
    for given, wanted in zip(head.values(), expected, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-12)


def context_seen(sg, h, c):
    seen = []
    sg.net[0].register_forward_hook(lambda layer, inputs, out: seen.append(inputs[0]))
    assert sg(h, c).shape == h.shape
    return seen[0]


def test_tokens_that_condition_m_stand_beside_their_positions_at_the_end():
    sg = SyntheticGradient(SGConfig(embedding=2), (5, 4), (3,), 9)
    h, c = torch.randn(2, 5, 4), torch.tensor([[1, 2, 3], [4, 5, 6]])
    seen = context_seen(sg, h, c).view(2, 5, 6)
    assert torch.equal(seen[..., :4], h)
    assert torch.equal(seen[:, 2:, 4:], sg.embedding(c))
    assert torch.equal(seen[:, :2, 4:], sg.embedding(c).mean(1, keepdim=True).expand(2, 2, 2))


def test_tokens_condition_positions_apart_from_theirs_by_their_mean():
    sg = SyntheticGradient(SGConfig(embedding=2), (3, 4), (3,), 9, apart=True)
    h, c = torch.randn(2, 3, 4), torch.tensor([[1, 2, 3], [4, 5, 6]])
    seen = context_seen(sg, h, c).view(2, 3, 6)
    assert torch.equal(seen[..., 4:], sg.embedding(c).mean(1, keepdim=True).expand(2, 3, 2))


def test_tokens_condition_a_vector_by_their_mean():
    sg = SyntheticGradient(SGConfig(embedding=2), (4,), (3,), 9)
    c = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert torch.equal(context_seen(sg, torch.randn(2, 4), c)[:, 4:], sg.embedding(c).mean(1))


def test_an_image_that_conditions_m_is_pooled_to_maps_and_flattened_for_vectors():
    h, c = torch.randn(2, 4, 3, 3), torch.randn(2, 1, 6, 6)
    seen = context_seen(SyntheticGradient(SGConfig(kind="conv"), (4, 3, 3), (1, 6, 6)), h, c)
    assert torch.equal(seen[:, 4:], adaptive_avg_pool2d(c, (3, 3)))
    seen = context_seen(SyntheticGradient(SGConfig(), (5,), (1, 6, 6)), torch.randn(2, 5), c)
    assert torch.equal(seen[:, 5:], c.flatten(1))


def test_values_at_positions_stand_beside_them():
    h, c = torch.randn(2, 5, 4), torch.randn(2, 5, 3)
    seen = context_seen(SyntheticGradient(SGConfig(), (5, 4), (5, 3)), h, c).view(2, 5, 7)
    assert torch.equal(seen[..., 4:], c)
