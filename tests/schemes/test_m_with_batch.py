"""An M that reads the minibatch beside h, as one hop over the edges of a graph needs."""

import pytest
import torch
from torch import nn

from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.schemes import SCHEMES, register_scheme
from unlocked.schemes.dni import CDNI
from unlocked.schemes.sg import GraphGradient, SGConfig
from unlocked.tasks import load
from unlocked_models import Batch
from unlocked_models.graph import Neighbours

MLP = {"name": "mlp", "hidden": [6, 5], "activation": "tanh"}


class SeesInput(nn.Module):
    """M(h, c, x), linear."""

    def __init__(self, shape, context, in_shape):
        super().__init__()
        self.last = nn.Linear(shape[0] + context[0] + in_shape[1] * in_shape[2], shape[0])
        self.seen = []

    def forward(self, h, c, batch):
        self.seen.append(batch.x)
        return self.last(torch.cat([h, c, batch.x.flatten(1)], 1))


@pytest.fixture
def scheme():
    @register_scheme("sees_input")
    class WithInput(CDNI):
        @classmethod
        def make_sg(cls, config, shape, task, example, apart=False):
            return SeesInput(shape, task.context_shape(example), example.in_shape)

    yield {"name": "sees_input", "lag": 2}
    del SCHEMES._entries["sees_input"]


def test_m_is_given_the_minibatch_that_its_target_is_of(lab, scheme):
    group = lab.start(model=MLP, scheme=scheme, parallel={"modules": 2})
    learner, batches = group.modules[0].learner, group.modules[0].batches
    lab.train(group, 0, 4)
    # at its tick t it predicts of t and, late, learns of t - 2
    asked = [0, 1, 2, 0, 3, 1]
    assert [torch.equal(x, batches.x(t)) for x, t in zip(learner.sg.seen, asked, strict=True)] == [True] * 6


def test_a_checkpoint_keeps_the_minibatches_whose_targets_have_not_come(lab, scheme):
    data = lab.data()
    whole, resumed = (lab.start(data, model=MLP, scheme=scheme, parallel={"modules": 2}) for _ in range(2))
    expected = lab.train(whole, 0, 7)
    lab.train(resumed, 0, 3, checkpoint_at=3)
    states = resumed.states(3)
    again = InProcessGroup(resumed.modules[0].plan, data)
    again.load_states(states)
    assert lab.train(again, 3, 7) == expected[3:]
    lab.assert_close(lab.weights(again), lab.weights(whole), 0)


# one hop of a graph ------------------------------------------------------------------------------------------

EDGES = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])  # a path of four nodes, both ways


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("conditional", [True, False])
def test_m_sees_h_and_context_of_neighbours(hops, conditional):
    torch.manual_seed(0)
    M = GraphGradient(SGConfig(hops=hops), (4, 3), (4, 2) if conditional else ()).double()
    h, c = torch.randn(1, 4, 3, dtype=torch.float64), torch.randn(1, 4, 2, dtype=torch.float64)
    batch = Batch(h, h, extras={"edge_index": EDGES[None]})
    with torch.no_grad():
        M.net[-1].weight.normal_()
    z = torch.cat([h, c], 2) if conditional else h
    views = [z]
    for _ in range(hops):
        views.append(Neighbours()(views[-1], batch))
    found = M(h, c, batch=batch) if conditional else M(h, batch=batch)
    torch.testing.assert_close(found, M.net[-1](torch.cat(views, 2)[0])[None])


def test_a_graph_is_trained_with_hops_and_goes_on_late_to_the_same_numbers(lab):
    data = load("communities", validation=0.5)
    tree = {
        "model": {"name": "gcn", "hidden": [6]},
        "scheme": {"name": "cdni", "lag": 2, "sg": {"hops": 1}},
        "parallel": {"modules": 2},
        "data": {"name": "communities", "batch_size": 1, "validation": 0.5},
        "train": {"epochs": 10, "precision": "fp64"},
    }
    whole, first, again = (lab.start(data, **tree) for _ in range(3))
    assert isinstance(whole.modules[0].learner.sg, GraphGradient)
    losses = lab.train(whole, 0, 6)
    lab.train(first, 0, 3, checkpoint_at=3)
    again.load_states(first.states(3))
    assert lab.train(again, 3, 6) == losses[3:]
    lab.assert_equal(lab.weights(again), lab.weights(whole))


def test_hops_without_edges_are_refused(lab):
    with pytest.raises(ConfigError, match=r"scheme\.sg\.hops: 1 follows edges of a graph, and digits has none; set 0"):
        lab.plan(model=MLP, scheme={"name": "dni", "sg": {"hops": 1}}, parallel={"modules": 2})
