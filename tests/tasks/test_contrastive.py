"""NT-Xent against its definition in a loop, what conditions M, and what the task takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unlocked.config import load_config
from unlocked.data.transforms.views import Views
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError, DataError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks import TASKS
from unlocked.tasks.contrastive import CHUNK, Contrastive, nt_xent, pairwise
from unlocked.tasks.probing import few_of_each, probe, represent
from unlocked_models import Batch, Chain, Example
from unlocked_models.contract.chain import build

SMALL = [
    "model={name: simclr, channels: [4], hidden: [12], projection: 6}",
    "parallel={modules: 3, partition: null}",
    "data.batch_size=16",
    "tracking.uri=off",
]


def views(n=5, features=7, seed=0) -> torch.Tensor:
    return torch.randn(n, 2, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loop(z: torch.Tensor, tau: float) -> float:
    """Equation 1 of Chen et al., pair by pair."""
    rows = [z[i, v] for i in range(len(z)) for v in range(2)]
    total = 0.0
    for i, own in enumerate(rows):
        partner = i + 1 if i % 2 == 0 else i - 1
        similar = [float(own @ other / (own.norm() * other.norm())) for other in rows]
        below = sum(math.exp(similar[k] / tau) for k in range(len(rows)) if k != i)
        total -= math.log(math.exp(similar[partner] / tau) / below)
    return total / len(rows)


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0])
def test_nt_xent_equals_a_loop_over_pairs(tau):
    assert float(nt_xent(views(), tau)) == pytest.approx(by_loop(views(), tau), rel=1e-12)


@pytest.mark.parametrize("margin", [1.0, 4.0])
def test_the_loss_of_pairs_equals_a_loop_over_them(margin):
    """Equation 4 of Hadsell et al., with the mean of each kind of pair."""
    z = views()
    same, other = [], []
    for i in range(2 * len(z)):
        for j in range(2 * len(z)):
            d = float((z[i // 2, i % 2] - z[j // 2, j % 2]).norm())
            if i // 2 != j // 2:
                other.append(max(0.0, margin - d) ** 2 / 2)
            elif i != j:
                same.append(d**2 / 2)
    expected = sum(same) / len(same) + sum(other) / len(other)
    task = Contrastive(loss="pairwise", margin=margin)
    assert float(task.loss(z, z)) == pytest.approx(expected, rel=1e-12)
    assert task.metrics(z, z)["loss"] == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda z: pairwise(z, margin), views().requires_grad_())


def test_views_that_coincide_are_nearest_by_distance_and_have_a_slope():
    z = views()[:, :1].repeat(1, 2, 1).requires_grad_()
    assert Contrastive(loss="pairwise").metrics(z.detach(), z)["nearest"] == 1.0
    pairwise(torch.cat([z, z]), 1.0).backward()  # of two images, too
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("objective", "line"),
    [
        ("{loss: pairs}", "objective.loss: unknown loss 'pairs'"),
        ("{loss: pairwise, margin: 0}", "objective.margin: must be above 0"),
    ],
)
def test_a_loss_of_pairs_that_is_none_is_one_line(objective, line):
    with pytest.raises(ConfigError, match=line):
        load_config("selfsupervised/simclr", [f"objective={objective}"])


def test_metrics_are_means_over_chunks():
    z, task = views(n=CHUNK + 30), Contrastive(temperature=0.2)
    found = task.metrics(z, torch.zeros(len(z)))
    wanted = (CHUNK * float(nt_xent(z[:CHUNK], 0.2)) + 30 * float(nt_xent(z[CHUNK:], 0.2))) / len(z)
    assert found["loss"] == pytest.approx(wanted)
    alike = z[:, :1].expand(-1, 2, -1)
    assert task.metrics(alike, torch.zeros(len(z)))["nearest"] == 1.0
    assert task.metrics(views(n=CHUNK + 1), torch.zeros(CHUNK + 1))["loss"] > 0  # the one alone is left out


def test_m_is_given_the_other_view_s_h():
    task, h = Contrastive(), views()
    batch = Batch(None, torch.zeros(5, dtype=torch.long))
    context = task.context(batch, Example((2, 1, 8, 8), 10), h)
    assert torch.equal(context[:, 0], h[:, 1])
    assert torch.equal(context[:, 1], h[:, 0])
    assert task.context_at((2, 7), Example((2, 1, 8, 8), 10)) == (2, 7)


def started(*changes: str, precision: str = "fp64"):
    config = load_config("selfsupervised/simclr", [*SMALL, f"train.precision={precision}", *changes])
    data = load_data(config)
    return InProcessGroup(make_plan(config, data), data)


def test_m_learns_the_gradient_of_each_view_by_itself():
    """M says zero at first, so its first loss is its target, 2 B times the gradient of the mean, by plain autograd."""
    group = started("scheme.name=cdni", "objective.temperature=0.5")
    chain = Chain([block for module in group.modules for block in module.learner.chain])
    x = group.modules[0].batches.x(0).double()
    h = chain[1](chain[0](x)).detach().requires_grad_()
    (delta,) = torch.autograd.grad(nt_xent(chain[2](h), 0.5), h)
    (reports,) = group.run([(0, 1)], 1)
    wanted = float((32 * delta).square().sum() / 16)
    assert reports[1].series["sg/loss"] == [pytest.approx(wanted, rel=1e-5)]  # views are drawn in float32


@pytest.mark.parametrize("scheme", ["cdni", "dfa"])
def test_feedback_acts_on_each_view_with_the_same_weights(scheme):
    """Exchanged views exchange what is injected."""
    group = started(f"scheme.name={scheme}")
    learner = group.modules[0].learner
    h, e = torch.randn(16, 2, 64, dtype=torch.float64), torch.randn(16, 2, 6, dtype=torch.float64)
    if scheme == "cdni":
        with torch.no_grad():
            for p in learner.sg.parameters():
                p.normal_(generator=torch.Generator().manual_seed(0))
    batch = Batch(None, torch.zeros(16, dtype=torch.long))
    one = learner.injected([h], batch, e)[0]
    other = learner.injected([h.flip(1)], batch, e.flip(1))[0]
    torch.testing.assert_close(one.flip(1), other)
    assert not torch.allclose(one, other)


def test_parts_and_single_examples_are_refused():
    for change, message in (
        ("data.batch_size=1", "data.batch_size: 1 leaves an example nothing to be compared with"),
        ("data.transforms=[]", "its examples are no two views of an image; data.transforms=\\[views\\] makes them"),
        (
            "parallel={engine: ray, replicas: 2, modules: 1}",
            "parallel.replicas: 2 would share out a minibatch, whose examples the loss of contras",
        ),
        ("objective.temperature=0", "objective.temperature: must be above 0"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            started(change)


def test_a_representation_is_the_input_of_the_last_block():
    torch.manual_seed(0)
    blocks = build("simclr", (2, 1, 8, 8), 10, channels=[4], hidden=[12], projection=6)
    chain, x = Chain(blocks).eval(), torch.randn(9, 1, 8, 8)
    from unlocked.data import Split

    found = represent(chain, Split(x, torch.zeros(9)), Contrastive())
    wanted = blocks[1](blocks[0](x[:, None]))[:, 0]
    torch.testing.assert_close(torch.from_numpy(found).float(), wanted)


def test_a_probe_reads_what_is_linearly_there_and_few_labels_are_few_of_each():
    y = torch.arange(60) % 3
    rows = few_of_each(y, 4, seed=1)
    assert torch.bincount(y[rows]).tolist() == [4, 4, 4]
    assert few_of_each(y, 4, seed=1).tolist() == rows.tolist() != few_of_each(y, 4, seed=2).tolist()
    assert len(few_of_each(y, 1000, seed=0)) == 60
    seen = F.one_hot(y, 3).double().numpy() + 0.01
    assert probe(seen[rows], y[rows].numpy(), seen, y.numpy()) == 1.0


def test_the_task_says_that_it_couples_examples_and_asks_for_views():
    assert TASKS.get("contrastive").couples
    assert Contrastive.misfit("classification", Example((2, 1, 8, 8), 10)) is None
    assert Views().refuse(Example((8,), 10)) == "needs images (channels, height, width), but an example has shape (8,)"
