"""Activations that are computed again: the same numbers, and nothing of a block's inside is kept."""

import pytest
import torch
from torch import nn

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked_models import Chain

NETS = {
    "mlp": {"name": "mlp", "hidden": [12, 10, 8], "norm": "batch"},
    "cnn": {"name": "cnn", "channels": [4, 6], "norm": "batch"},
}


class Block(nn.Module):
    """Draws, has running statistics, and counts its passes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5))
        self.passes = 0

    def forward(self, h):
        self.passes += 1
        return self.layers(h)


def passed(recomputes):
    torch.manual_seed(0)
    chain = Chain([Block(), Block()]).double()
    chain.recomputes = recomputes
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = chain(x)
    drawn = torch.rand(1)
    out.square().sum().backward()
    gradients = [x.grad, *(p.grad for p in chain.parameters())]
    return chain, len(kept), gradients, [drawn, torch.rand(1), *chain.buffers()]


def test_gradients_draws_and_running_statistics_are_those_without():
    chain, kept, gradients, state = passed(True)
    plain, all_kept, expected, same = passed(False)
    assert [block.passes for block in chain] == [2, 2]
    assert [block.passes for block in plain] == [1, 1]
    assert kept < all_kept / 2
    for found, wanted in zip([*gradients, *state], [*expected, *same], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_evaluation_and_passes_without_gradients_are_run_once():
    chain = Chain([Block()])
    chain.recomputes = True
    with torch.no_grad():
        chain(torch.randn(3, 6))
    chain.eval()
    chain(torch.randn(3, 6)).sum().backward()
    assert chain[0].passes == 2


@pytest.mark.parametrize("model", NETS)
@pytest.mark.parametrize("scheme", ["backprop", "dni", "cdni"])
def test_every_weight_learns_what_it_does_without(lab, scheme, model):
    tree = {"model": NETS[model], "scheme": {"name": scheme}, "parallel": {"modules": 2}}
    plain, again = lab.start(**tree), lab.start(**tree, train={"recompute": True})
    assert all(module.learner.chain.recomputes for module in again.modules)
    for group in (plain, again):
        lab.train(group, 0, 6)
    lab.assert_close(lab.parameters(again), lab.parameters(plain), 1e-12)
    lab.assert_close(lab.weights(again), lab.weights(plain), 1e-12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["scheme.name=dfa"], "train.recompute: true cannot be used with dfa: its weights move before"),
        (["scheme.name=backprop", "parallel.schedule=gpipe"], "train.recompute: true, but the pipeline of"),
    ],
)
def test_where_no_pass_can_be_repeated_it_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        load_config("quickstart", ["train.recompute=true", *options])


def test_layers_that_go_on_where_they_ended_cannot_be_repeated(lab):
    with pytest.raises(ConfigError, match=r"train\.recompute: true, but layers of lstm go on"):
        lab.start(
            lab.stream(n=32),
            data={"validation": 0.0},
            model={"name": "lstm", "hidden": [6], "embedding": 4, "carry": True},
            train={"recompute": True},
        )
