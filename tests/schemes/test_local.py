"""Local losses against their defining equation, by autograd in float64."""

import pytest
import torch
from torch.nn import functional as F

from unlocked import load_config
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schemes.local import LocalConfig, LocalHead, similarity
from unlocked.schemes.spec import ModuleSpec
from unlocked.tasks import Classification
from unlocked_models import Batch, Example

FLAT = {"name": "sgd", "lr": 1.0, "momentum": 0.0}  # weights move by exactly minus the gradient
MLP = {"name": "mlp", "hidden": [16, 14, 12], "activation": "tanh"}
CNN = {"name": "cnn", "channels": [4, 6], "hidden": [8]}
GRU = {"name": "gru", "hidden": [5, 4], "embedding": 3}


def expected(network, sizes, heads, x, y, target_loss):
    """Weights after one step of l_k = L(C_k(h_k), y), each for itself, by plain autograd."""
    h, blocks, weights = x, iter(network), {}
    for size, head in zip(sizes, [*heads, None], strict=True):
        h = h.detach()
        mine = [next(blocks) for _ in range(size)]
        for block in mine:
            h = block(h)
        loss = target_loss(h if head is None else head(h), y)
        loss.backward()
    for name, p in network.named_parameters():
        weights[name] = (p - p.grad).detach()
    return weights


def pooled(head):
    return lambda h: head.classifier(h if h.dim() == 2 else h.flatten(2).mean(2))


@pytest.mark.parametrize(("model", "sizes"), [(MLP, [2, 1, 1]), (CNN, [1, 2, 1])])
def test_every_module_follows_the_cross_entropy_of_its_own_classifier(lab, model, sizes):
    data, parallel = lab.data(), {"modules": 3, "partition": sizes}
    group = lab.start(data, model=model, scheme={"name": "local"}, parallel=parallel, optimizer=FLAT)
    plan, batches = group.modules[0].plan, group.modules[0].batches
    network, heads = lab.network(plan), [module.learner.head for module in group.modules[:-1]]
    before = [head.classifier.weight.detach().clone() for head in heads]
    after = expected(network, sizes, map(pooled, heads), batches.x(0).double(), batches.y(0), F.cross_entropy)
    gradients = [head.classifier.weight.grad.clone() for head in heads]
    for head in heads:
        head.zero_grad()
    lab.train(group, 0, 1)
    lab.assert_close(lab.parameters(group), after, 1e-13)
    for head, weight, gradient in zip(heads, before, gradients, strict=True):
        torch.testing.assert_close(head.classifier.weight, weight - gradient, rtol=0, atol=1e-13)


def test_targets_at_positions_are_told_from_the_states_at_the_same_positions(lab):
    data = lab.stream()
    group = lab.start(
        data, model=GRU, scheme={"name": "local"}, parallel={"modules": 2}, data={"batch_size": 3}, optimizer=FLAT
    )
    plan, batches = group.modules[0].plan, group.modules[0].batches
    sizes = [spec.stop - spec.start for spec in plan.specs]
    (head,) = [module.learner.head for module in group.modules[:-1]]
    assert tuple(head.classifier.weight.shape) == (7, plan.specs[0].out_shape[1])

    def by_token(logits, y):
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())

    after = expected(lab.network(plan), sizes, [head.classifier], batches.x(0), batches.y(0), by_token)
    head.zero_grad()
    lab.train(group, 0, 1)
    lab.assert_close(lab.parameters(group), after, 1e-12)


def loss_of(kind, shape, classes=5, **more):
    spec = ModuleSpec(0, 2, 0, 1, 2, (7,), shape, Example((7,), classes))
    head = LocalHead(LocalConfig(kind, **more), shape, Classification(), spec).double()
    h, y = torch.randn(6, *shape, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 4, 0])
    return head, h, y, head(h, Batch(None, y))


@pytest.mark.parametrize("shape", [(8,), (3, 4, 4)])
def test_the_similarity_loss_compares_how_alike_examples_look_with_whether_their_class_is_one(shape):
    head, h, y, loss = loss_of("sim", shape)
    z = head.similar(h)
    z = z if len(shape) == 1 else torch.sqrt(z.flatten(2).var(2) + 1e-8)
    seen, wanted = [], []
    for i in range(6):
        for j in range(6):
            pair = [each - each.mean() for each in (z[i], z[j])]
            seen.append(F.cosine_similarity(*pair, dim=0))
            wanted.append(1.0 if y[i] == y[j] else -1 / 4)  # of centred one-hot vectors of 5 classes
    expected = (torch.stack(seen) - torch.tensor(wanted)).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    assert similarity(z).shape == (6, 6)


def test_predsim_weighs_both():
    head, h, y, loss = loss_of("predsim", (8,), weight=0.75)
    alike = similarity(F.one_hot(y, 5).double())
    pred, sim = F.cross_entropy(head.classifier(h), y), F.mse_loss(similarity(head.similar(h)), alike)
    torch.testing.assert_close(loss, 0.25 * pred + 0.75 * sim)


def test_a_run_goes_on_from_its_state_to_the_same_numbers(lab):
    data = lab.data()
    tree = {"model": MLP, "scheme": {"name": "local"}, "parallel": {"modules": 3}}
    whole, first, again = (lab.start(data, **tree) for _ in range(3))
    losses = lab.train(whole, 0, 6)
    lab.train(first, 0, 3)
    again.load_states(first.states(3))
    assert lab.train(again, 3, 6) == losses[3:]
    lab.assert_equal(lab.weights(again), lab.weights(whole))


def test_the_probe_compares_the_gradients_of_the_local_losses_with_the_true_ones(lab):
    group = lab.start(model=MLP, scheme={"name": "local"}, parallel={"modules": 3})
    before = lab.weights(group)
    assert set(group.probe()) == {0, 1}
    lab.assert_equal(lab.weights(group), before)
    assert group.modules[0].learner.head.classifier.weight.grad is None


def plan_of(preset, overrides):
    config = load_config(preset, overrides)
    return make_plan(config, load_data(config))


@pytest.mark.parametrize(
    ("preset", "why"),
    [
        (
            "recurrent/sunspots",
            "local cannot train .* on sunspots: each module learns as a classifier, and its targets are not",
        ),
        ("autoencoder/autoencoder", "local cannot train the autoencoder family: each module learns as a classifier"),
    ],
)
def test_what_has_no_classes_is_refused_with_the_reason(preset, why):
    with pytest.raises(ConfigError, match=why):
        plan_of(preset, ["scheme.name=local", "parallel.modules=2", "parallel.engine=inprocess"])


def test_a_cut_inside_an_encoder_is_refused_and_one_after_it_trains(lab):
    model = {"name": "seq2seq", "width": 6, "attention": "dot", "encoder": 2}
    tree = {"model": model, "scheme": {"name": "local"}, "data": {"batch_size": 3}}
    with pytest.raises(ConfigError, match="module 0, which ends inside an encoder: there are no targets"):
        lab.plan(lab.pairs(), **tree, parallel={"modules": 2, "partition": [1, 4]})
    group = lab.start(lab.pairs(), **tree, parallel={"modules": 2, "partition": [3, 2]})
    before = lab.weights(group)
    lab.train(group, 0, 2)
    assert not any(key.startswith("0.") for key, value in before.items() if torch.equal(value, lab.weights(group)[key]))


@pytest.mark.parametrize(
    ("preset", "more", "why"),
    [
        (
            "recurrent/text",
            [],
            "scheme.local.kind: sim compares examples by their class, and those of .* have a target",
        ),
        ("digits/local", ["parallel.replicas=2", "parallel.engine=ray"], "sim compares all examples of a minibatch"),
    ],
)
def test_similarities_need_one_class_per_example_and_the_whole_minibatch(preset, more, why):
    with pytest.raises(ConfigError, match=why):
        plan_of(preset, ["scheme.name=local", "scheme.local.kind=sim", "parallel.modules=2", *more])


def test_the_configuration_chooses_the_loss(lab):
    scheme = {"name": "local", "local": {"kind": "predsim", "weight": 0.5}}
    group = lab.start(model=MLP, scheme=scheme, parallel={"modules": 2})
    head = group.modules[0].learner.head
    assert head.weight == 0.5
    assert head.classifier is not None
    assert head.similar is not None
