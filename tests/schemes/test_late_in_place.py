"""Errors of dfa that come late meet tensors as their forward pass left them, or the run ends in one line.

The plan refuses blocks that always change a tensor in place (`engine.rehearsal`); here they begin to after it.
"""

import pytest
import torch
from torch import nn

from unlocked.errors import RunFailed
from unlocked_models import MODELS, register_model

FLAT = {"name": "sgd", "lr": 0.1, "momentum": 0.0}
CUT = {"modules": 2, "partition": [2, 1]}


class Switch(nn.Module):
    on = False


class ChangesItsOutput(Switch):
    """tanh needs its output for its backward pass."""

    def forward(self, h):
        a = torch.tanh(h)
        return a.mul_(0.5) if self.on else a * 0.5


class ChangesItsInput(Switch):
    def forward(self, h):
        return h.mul_(0.5) if self.on else h * 0.5


class InPlaceAsItMay(Switch):
    """Changes before anything is kept."""

    def forward(self, h):
        return torch.relu_(h * 1) if self.on else torch.relu(h)


class Tracks(nn.Module):
    """Scales by a buffer that every forward pass moves."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(12))

    def forward(self, h):
        self.scale.mul_(0.9)
        return h * self.scale.clone() if not self.late else h * self.scale

    late = True


class SparseInside(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 12) / 4)

    def forward(self, h):
        return torch.sparse.mm(h.relu().to_sparse(), self.weight)


class DenseInside(SparseInside):
    def forward(self, h):
        return h.relu() @ self.weight


@pytest.fixture
def start(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    def make(middle, lag=2, scheme="dfa", granularity="block"):
        @register_model("own")
        def own(in_shape, n_outputs):
            return [
                nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh()),
                nn.Sequential(nn.Linear(12, 12), middle(), nn.Linear(12, 12)),
                nn.Linear(12, n_outputs),
            ]

        return lab.start(
            model={"name": "own"},
            optimizer=FLAT,
            parallel=CUT,
            scheme={"name": scheme, "lag": lag, "feedback": {"granularity": granularity}},
        )

    return make


def layer(group):
    return group.modules[0].learner.chain[1][1]


@pytest.mark.parametrize("granularity", ["block", "layer", "module"])
@pytest.mark.parametrize("lag", [1, 2, 4])
def test_a_kept_tensor_that_is_changed_in_place_ends_the_run_as_at_lag_0(lab, start, lag, granularity):
    group = start(ChangesItsOutput, lag, granularity=granularity)
    lab.train(group, 0, 3)
    layer(group).on = True
    with pytest.raises(RunFailed, match=r"^block 1: a tensor that its backward pass needs was changed in place"):
        lab.train(group, 3, 12)


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_at_lag_0_autograd_notices_and_the_run_ends_in_one_line_too(lab, start, scheme):
    group = start(ChangesItsOutput, 0, scheme)
    layer(group).on = True
    with pytest.raises(RunFailed, match=r"^module 0: one of the variables needed .* modified by an inplace operation"):
        lab.train(group, 0, 2)


@pytest.mark.parametrize("scheme", ["backprop", "dfa"])
def test_a_probe_that_meets_a_change_in_place_ends_in_one_line(lab, start, scheme):
    group = start(ChangesItsOutput, 0, scheme)
    layer(group).on = True
    with pytest.raises(RunFailed, match=r"^module 0: one of the variables needed .* modified by an inplace operation"):
        group.probe()


@pytest.mark.parametrize("scheme", ["backprop", "dni", "dfa", "frozen"])
def test_an_input_that_begins_to_be_changed_in_place_ends_the_run_in_one_line(lab, monkeypatch, scheme):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("own")
    def own(in_shape, n_outputs):
        return [nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh()), ChangesItsInput(), nn.Linear(12, n_outputs)]

    group = lab.start(
        model={"name": "own"}, scheme={"name": scheme, "lag": 0}, parallel={"modules": 2, "partition": [1, 2]}
    )
    lab.train(group, 0, 3)
    group.modules[1].learner.chain[0].on = True
    with pytest.raises(RunFailed, match=r"^module 1 changed its input in place at minibatch 3; its first block"):
        lab.train(group, 3, 4)


def test_a_block_that_changes_the_output_of_the_one_below_is_noticed_late_too(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("own")
    def own(in_shape, n_outputs):
        return [nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh()), ChangesItsInput(), nn.Linear(12, n_outputs)]

    group = lab.start(model={"name": "own"}, optimizer=FLAT, scheme={"name": "dfa", "lag": 2}, parallel=CUT)
    lab.train(group, 0, 3)
    group.modules[0].learner.chain[1].on = True
    with pytest.raises(RunFailed, match=r"^block 0: a tensor that its backward pass needs was changed in place"):
        lab.train(group, 3, 12)


def test_changes_in_place_before_a_tensor_is_kept_are_nobodys_business(lab, start):
    plain, in_place = start(InPlaceAsItMay), start(InPlaceAsItMay)
    layer(in_place).on = True
    assert lab.train(in_place, 0, 10) == lab.train(plain, 0, 10)


def test_a_buffer_is_kept_as_the_forward_pass_read_it(lab, start):
    read, copied = start(Tracks), start(Tracks)
    layer(copied).late = False
    assert lab.train(read, 0, 10) == lab.train(copied, 0, 10)
    lab.assert_equal(lab.weights(read), lab.weights(copied))


def test_a_probe_between_a_forward_pass_and_its_late_error_changes_nothing(lab):
    """It puts back the running statistics of batch norms, which the passes that wait have kept."""
    model = {"name": "mlp", "hidden": [16, 14, 12], "norm": "batch"}
    probed, left = (lab.start(model=model, scheme={"name": "dfa", "lag": 3}, parallel={"modules": 2}) for _ in range(2))
    losses = lab.train(probed, 0, 5)
    probed.probe()
    assert losses + lab.train(probed, 5, 10) == lab.train(left, 0, 10)


@pytest.mark.parametrize("lag", [0, 2])
def test_a_sparse_tensor_inside_a_block_trains_as_a_dense_one(lab, start, lag):
    sparse, dense = start(SparseInside, lag), start(DenseInside, lag)
    dense.load_weights(lab.weights(sparse))
    assert lab.train(sparse, 0, 10) == pytest.approx(lab.train(dense, 0, 10), abs=1e-12)
    lab.assert_close(lab.weights(sparse), lab.weights(dense), 1e-12)
