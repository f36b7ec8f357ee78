"""Direct feedback alignment inside Transformers: where feedback arrives, and that each layer learns from its own."""

import pytest
import torch
from torch.nn.functional import cross_entropy, gelu

from unlocked.engine.edges import edges
from unlocked.errors import ConfigError

FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient
GPT = {"name": "gpt", "width": 8, "heads": 2, "depth": 2}
ENCODER = {"name": "transformer", "width": 8, "heads": 2, "depth": 2}


def scheme(**feedback):
    return {"name": "dfa", "lag": 0, "feedback": feedback}


def shapes(group) -> list[tuple[int, int, tuple[int, ...]]]:
    return [point for module in group.modules for point in module.learner.taps.shapes]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("modules", [1, 2, 4])
def test_feedback_arrives_behind_every_block(lab, norm, modules):
    group = lab.start(lab.stream(5), model={**GPT, "norm": norm}, scheme=scheme(), parallel={"modules": modules})
    assert shapes(group) == [(block, 0, (5, 8)) for block in (0, 1, 2)]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("modules", [1, 2, 4])
def test_at_layer_granularity_also_behind_attention_and_the_inner_feed_forward_layer(lab, norm, modules):
    group = lab.start(
        lab.stream(5), model={**GPT, "norm": norm}, scheme=scheme(granularity="layer"), parallel={"modules": modules}
    )
    each = [(0, (5, 8)), (1, (5, 32)), (2, (5, 8))]  # attention, inner layer, output
    assert shapes(group) == [(0, 0, (5, 8)), *((block, *point) for block in (1, 2) for point in each)]
    assert [B.shape for module in group.modules for B in module.learner.feedback] == [
        (7, shape[1]) for _, _, shape in shapes(group)
    ]  # one matrix for all positions: their errors are their own


def test_at_layer_granularity_every_part_of_a_layer_learns_from_its_own_feedback(lab):
    data = lab.stream(5)
    group = lab.start(data, model=GPT, scheme=scheme(granularity="layer"), optimizer=FLAT)
    plan = group.modules[0].plan
    network, batches = lab.network(plan), lab.batches(plan, data)
    x, y = batches.x(0), batches.y(0)
    before = lab.weights(group)
    _, attention, inner, whole, *_ = group.modules[0].learner.feedback
    lab.train(group, 0, 1)
    moved = {key: before[key] - value for key, value in lab.weights(group).items()}

    out = network(x).detach().requires_grad_()
    (e,) = torch.autograd.grad(cross_entropy(out.flatten(0, 1), y.flatten()), out)
    layer, h = network[1], network[0](x).detach()
    a = layer.attention.f(layer.attention.norm(h))
    between = h + a.detach()
    z = gelu(layer.feedforward.f[0](layer.feedforward.norm(between)))
    end = between + layer.feedforward.f[2](z.detach())
    ((a * (e @ attention)).sum() + (z * (e @ inner)).sum() + (end * (e @ whole)).sum()).backward()
    lab.assert_close(
        {key: value for key, value in moved.items() if key.startswith("1.")},
        {f"1.{key}": p.grad for key, p in layer.named_parameters()},
        1e-13,
    )
    assert min(p.grad.abs().max() for p in layer.feedforward.parameters()) > 1e-6


@pytest.mark.parametrize("granularity", ["block", "layer"])
def test_the_output_learns_as_under_backprop(lab, granularity):
    results = []
    for given in ({"name": "backprop"}, scheme(granularity=granularity)):
        group = lab.start(lab.stream(5), model=GPT, scheme=given, optimizer=FLAT, parallel={"modules": 2})
        lab.train(group, 0, 1)
        results.append(lab.weights(group))
    backprop, dfa = results
    for key, value in backprop.items():
        assert torch.allclose(value, dfa[key], rtol=0, atol=1e-14) == key.startswith("3."), key


def test_one_feedback_for_all_positions_is_the_same_vector_at_each(lab):
    data = lab.sentences()
    own, shared = (lab.start(data, model=ENCODER, scheme=scheme(shared_positions=given)) for given in (False, True))
    e, h = torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, 5, 8, dtype=torch.float64)
    learner = shared.modules[0].learner
    assert [B.shape for B in learner.feedback] == [(5, 8)] * 3
    g = learner.project(e, [h] * 3)[1]
    torch.testing.assert_close(g, (e @ learner.feedback[1])[:, None].expand(3, 5, 8), rtol=0, atol=0)
    assert own.modules[0].learner.feedback[0].shape == (5, 40)
    assert len(lab.train(shared, 0, 2)) == 2


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("modules", [1, 3])
def test_one_matrix_for_all_layers_is_cut_to_their_width(lab, distribution, modules):
    group = lab.start(
        lab.stream(5),
        model=GPT,
        parallel={"modules": modules},
        scheme=scheme(shared_layers=True, granularity="layer", distribution=distribution),
    )
    drawn = [B for module in group.modules for B in module.learner.feedback]
    widest = next(B for B in drawn if B.shape[1] == 32)
    for B in drawn:
        torch.testing.assert_close(B * B.shape[1] ** 0.5, widest[:, : B.shape[1]] * 32**0.5, rtol=1e-12, atol=1e-12)
    # 224 draws in all: their deviation is within 20 % (four of its own deviations)
    assert widest.std().item() == pytest.approx((1 / 3 / 32) ** 0.5, rel=0.2)


def test_a_weight_that_is_tied_is_refused_across_a_cut_and_learns_within_one_module(lab):
    data = lab.stream(5)
    with pytest.raises(ConfigError, match=r"parallel\.modules: modules 0 and 1 share the weight") as error:
        lab.start(data, model={**GPT, "tied": True}, parallel={"modules": 2})
    assert "model.tied=false" in str(error.value)
    group = lab.start(data, model={**GPT, "tied": True}, optimizer={"lr": 0.02})
    plan = group.modules[0].plan
    assert sum(plan.parameters) == sum(p.numel() for p in group.modules[0].learner.chain.parameters())
    losses = lab.train(group, 0, 3)
    expected, network = lab.plain(plan, data, 3)
    assert losses == pytest.approx(expected, abs=1e-12)
    lab.assert_close(lab.weights(group), dict(network.state_dict()), 1e-12)
    assert torch.equal(lab.weights(group)["0.0.weight"], lab.weights(group)["3.linear.weight"])


POST = {**GPT, "norm": "post"}


@pytest.mark.parametrize("modules", [1, 2])
def test_macro_and_micro_feedback_arrive_where_launay_and_others_have_it(lab, modules):
    cut = {"modules": modules, "partition": [4] if modules == 1 else [2, 2]}
    found = {}
    for granularity in ("macro", "micro"):
        group = lab.start(lab.stream(5), model=POST, parallel=cut, scheme=scheme(granularity=granularity))
        found[granularity] = shapes(group)
        assert [B.shape for module in group.modules for B in module.learner.feedback] == [
            (8, shape[1]) for *_, shape in found[granularity]
        ]  # of an error as wide as a hidden state
    assert found["macro"] == [(1, 0, (5, 8)), (2, 0, (5, 8))]  # none behind the embedding
    each = [(0, (5, 8)), (1, (5, 32)), (2, (5, 8))]  # norm 1, activation, norm 2
    assert found["micro"] == [(block, *point) for block in (1, 2) for point in each]


def test_the_link_of_the_error_is_as_wide_as_a_hidden_state(lab):
    cut = {"modules": 2, "partition": [2, 2]}
    shapes = {
        granularity: [
            edge.shape
            for edge in edges(lab.plan(lab.stream(5), model=POST, parallel=cut, scheme=scheme(granularity=granularity)))
        ]
        for granularity in ("block", "macro")
    }
    assert shapes == {"block": [(5, 8), (5, 7)], "macro": [(5, 8), (5, 8)]}


@pytest.mark.parametrize(
    ("granularity", "modules", "lag"),
    [("macro", 1, 0), ("macro", 2, 0), ("micro", 1, 0), ("micro", 2, 0), ("micro", 2, 2)],
)
def test_macro_and_micro_feedback_project_the_error_before_the_vocabulary(lab, granularity, modules, lag):
    data = lab.stream(5)
    group = lab.start(
        data,
        model=POST,
        optimizer=FLAT,
        scheme={**scheme(granularity=granularity), "lag": lag},
        parallel={"modules": modules, "partition": [4] if modules == 1 else [2, 2]},
    )
    plan = group.modules[0].plan
    network, batches = lab.network(plan), lab.batches(plan, data)
    x, y = batches.x(0), batches.y(0)
    before = lab.weights(group)
    feedback = [B for module in group.modules for B in module.learner.feedback]
    lab.train(group, 0, lag + 1)
    moved = {key: before[key] - value for key, value in lab.weights(group).items()}

    h = network[0](x)
    injected = []
    for k, layer in enumerate(network[1:3]):
        if granularity == "micro":
            B1, B2, B3 = feedback[3 * k : 3 * k + 3]
            a = layer.attention.norm(h + layer.attention.f(h))
            z = gelu(layer.feedforward.f[0](a.detach()))
            h = layer.feedforward.norm(a.detach() + layer.feedforward.f[2](z.detach()))
            injected += [(a, B1), (z, B2), (h, B3)]
        else:
            h = layer(h)
            injected.append((h, feedback[k]))
        h = h.detach()
    h.requires_grad_()
    cross_entropy(network[3](h).flatten(0, 1), y.flatten()).backward()  # the projection's own gradient, and h.grad
    sum((point * (h.grad @ B)).sum() for point, B in injected).backward()
    wanted = {key: p.grad for key, p in network.named_parameters()}
    if lag:  # the lower module has learned from minibatch 0 alone
        moved, wanted = ({k: v for k, v in each.items() if int(k[0]) < 2} for each in (moved, wanted))
    lab.assert_close({k: v for k, v in moved.items() if k in wanted}, wanted, 1e-13)
    assert wanted["0.0.weight"].abs().max() > 1e-6  # the embedding learns with the first layer


def test_the_probe_of_macro_feedback_compares_what_is_injected_with_the_true_gradient(lab):
    data = lab.stream(5)
    group = lab.start(
        data, model=POST, scheme=scheme(granularity="macro"), parallel={"modules": 2, "partition": [2, 2]}
    )
    network = [block for module in group.modules for block in module.learner.chain]
    x, y = data.train.x[:8], data.train.y[:8]
    h1 = network[1](network[0](x))
    h2 = network[2](h1)
    d1, d2 = torch.autograd.grad(cross_entropy(network[3](h2).flatten(0, 1), y.flatten()), [h1, h2])
    given = [(d2 @ module.learner.feedback[0], true) for module, true in zip(group.modules, (d1, d2), strict=True)]
    expected = {k: (g * d).sum().item() / (g.norm() * d.norm()).item() for k, (g, d) in enumerate(given)}
    assert {k: found.cosine for k, found in group.probe().items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("model", "cut", "why"),
    [
        (
            {"name": "gpt", "norm": "pre"},
            [4],
            r"granularity: micro needs norms that end the sublayers: model\.norm=post",
        ),
        (POST, [1, 3], r"granularity: micro has no feedback after block 0 \(Sequential\).* set parallel\.partition"),
        ({"name": "lstm", "hidden": [8]}, [2], "granularity: micro needs the layers of a Transformer and a projection"),
    ],
)
def test_micro_feedback_is_refused_where_it_has_no_place(lab, model, cut, why):
    with pytest.raises(ConfigError, match=r"^scheme\.feedback\." + why):
        lab.start(
            lab.stream(5),
            model=model,
            scheme=scheme(granularity="micro"),
            parallel={"modules": len(cut), "partition": cut},
        )
