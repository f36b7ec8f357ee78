"""An M that reads the minibatch beside h, as one hop over the edges of a graph needs."""

import pytest
import torch
from torch import nn

from unlocked.engine.group import InProcessGroup
from unlocked.schemes import SCHEMES, register_scheme
from unlocked.schemes.dni import CDNI

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
