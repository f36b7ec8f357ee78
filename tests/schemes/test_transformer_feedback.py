"""Direct feedback alignment inside Transformers: where feedback arrives, and that each layer learns from its own."""

import pytest
import torch
from torch.nn.functional import cross_entropy, gelu

from unlocked.errors import ConfigError

FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient
GPT = {"name": "gpt", "width": 8, "heads": 2, "depth": 2}
ENCODER = {"name": "transformer", "width": 8, "heads": 2, "depth": 2}


def scheme(**feedback):
    return {"name": "dfa", "lag": 0, "feedback": feedback}


def shapes(group) -> list[tuple[int, int, tuple[int, ...]]]:
    return [point for stage in group.stages for point in stage.learner.taps.shapes]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_feedback_arrives_behind_every_block(lab, norm, stages):
    group = lab.start(lab.stream(5), model={**GPT, "norm": norm}, scheme=scheme(), parallel={"stages": stages})
    assert shapes(group) == [(block, 0, (5, 8)) for block in (0, 1, 2)]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_at_layer_granularity_also_behind_attention_and_the_inner_feed_forward_layer(lab, norm, stages):
    group = lab.start(lab.stream(5), model={**GPT, "norm": norm}, scheme=scheme(granularity="layer"),
                      parallel={"stages": stages})
    each = [(0, (5, 8)), (1, (5, 32)), (2, (5, 8))]  # attention, inner layer, output
    assert shapes(group) == [(0, 0, (5, 8)), *((block, *point) for block in (1, 2) for point in each)]
    assert [B.shape for stage in group.stages for B in stage.learner.feedback] == [
        (7, shape[1]) for _, _, shape in shapes(group)]  # one matrix for all positions: their errors are their own


def test_at_layer_granularity_every_part_of_a_layer_learns_from_its_own_feedback(lab):
    data = lab.stream(5)
    group = lab.start(data, model=GPT, scheme=scheme(granularity="layer"), optimizer=FLAT)
    plan = group.stages[0].plan
    network, batches = lab.network(plan), lab.batches(plan, data)
    x, y = batches.x(0), batches.y(0)
    before = lab.weights(group)
    _, attention, inner, whole, *_ = group.stages[0].learner.feedback
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
    lab.assert_close({key: value for key, value in moved.items() if key.startswith("1.")},
                     {f"1.{key}": p.grad for key, p in layer.named_parameters()}, 1e-13)
    assert min(p.grad.abs().max() for p in layer.feedforward.parameters()) > 1e-6


@pytest.mark.parametrize("granularity", ["block", "layer"])
def test_the_output_learns_as_under_backprop(lab, granularity):
    results = []
    for given in ({"name": "backprop"}, scheme(granularity=granularity)):
        group = lab.start(lab.stream(5), model=GPT, scheme=given, optimizer=FLAT, parallel={"stages": 2})
        lab.train(group, 0, 1)
        results.append(lab.weights(group))
    backprop, dfa = results
    for key, value in backprop.items():
        assert torch.allclose(value, dfa[key], rtol=0, atol=1e-14) == key.startswith("3."), key


def test_one_feedback_for_all_positions_is_the_same_vector_at_each(lab):
    data = lab.sentences()
    own, shared = (lab.start(data, model=ENCODER, scheme=scheme(shared_positions=given)) for given in (False, True))
    e, h = torch.randn(3, 5, dtype=torch.float64), torch.zeros(3, 5, 8, dtype=torch.float64)
    learner = shared.stages[0].learner
    assert [B.shape for B in learner.feedback] == [(5, 8)] * 3
    g = learner.project(e, [h] * 3)[1]
    torch.testing.assert_close(g, (e @ learner.feedback[1])[:, None].expand(3, 5, 8), rtol=0, atol=0)
    assert own.stages[0].learner.feedback[0].shape == (5, 40)
    assert len(lab.train(shared, 0, 2)) == 2


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("stages", [1, 3])
def test_one_matrix_for_all_layers_is_cut_to_their_width(lab, distribution, stages):
    group = lab.start(lab.stream(5), model=GPT, parallel={"stages": stages},
                      scheme=scheme(shared_layers=True, granularity="layer", distribution=distribution))
    drawn = [B for stage in group.stages for B in stage.learner.feedback]
    widest = next(B for B in drawn if B.shape[1] == 32)
    for B in drawn:
        torch.testing.assert_close(B * B.shape[1]**0.5, widest[:, :B.shape[1]] * 32**0.5, rtol=1e-12, atol=1e-12)
    # 224 draws in all: their deviation is within 20 % (four of its own deviations)
    assert widest.std().item() == pytest.approx((1 / 3 / 32)**0.5, rel=0.2)


def test_a_weight_that_is_tied_is_refused_across_a_cut_and_learns_within_one_module(lab):
    data = lab.stream(5)
    with pytest.raises(ConfigError, match=r"parallel\.stages: modules 0 and 1 share the weight") as error:
        lab.start(data, model={**GPT, "tied": True}, parallel={"stages": 2})
    assert "model.tied=false" in str(error.value)
    group = lab.start(data, model={**GPT, "tied": True}, optimizer={"lr": 0.02})
    plan = group.stages[0].plan
    assert sum(plan.parameters) == sum(p.numel() for p in group.stages[0].learner.chain.parameters())
    losses = lab.train(group, 0, 3)
    expected, network = lab.plain(plan, data, 3)
    assert losses == pytest.approx(expected, abs=1e-12)
    lab.assert_close(lab.weights(group), dict(network.state_dict()), 1e-12)
    assert torch.equal(lab.weights(group)["0.0.weight"], lab.weights(group)["3.linear.weight"])
