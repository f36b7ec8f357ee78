"""Networks over trees against a recursive function, in float64."""

import pytest
import torch

from unlocked import load_config, train
from unlocked_models import Batch, Chain, Ragged, build
from unlocked_models.recursive import heights

PARENTS = ([0, 0, 1, 1, 3, 0], [0, 0, 1, 2], [])  # of nodes 1, 2, ...; the third is a root alone
NODES = 8


def trees(seed: int = 0) -> Batch:
    x = torch.zeros(3, NODES, 4, dtype=torch.float64)
    pairs, lengths = [], []
    generator = torch.Generator().manual_seed(seed)
    for b, parents in enumerate(PARENTS):
        n = len(parents) + 1
        x[b, :n] = torch.randn(n, 4, generator=generator, dtype=torch.float64)
        there = torch.tensor([[child, parent] for child, parent in enumerate(parents, 1)], dtype=torch.long).view(-1, 2)
        pairs.append(torch.cat([there, there.flip(1)]))
        lengths.append(n)
    offsets = torch.tensor([0, *[len(p) for p in pairs]]).cumsum(0)
    extras = {"edge_index": Ragged(torch.cat(pairs), offsets), "lengths": torch.tensor(lengths)}
    return Batch(x, torch.zeros(3, dtype=torch.long), extras=extras)


def by_recursion(layer, name: str, x: torch.Tensor, parents: list[int], j: int = 0) -> tuple[torch.Tensor, ...]:
    """h, and c of an LSTM, of node j."""
    below = [by_recursion(layer, name, x, parents, k) for k, parent in enumerate(parents, 1) if parent == j]
    total = sum((h for h, *_ in below), torch.zeros(layer.width).double())
    if name == "recursive":
        return (torch.tanh(layer.features(x[j]) + layer.of_children.weight @ total),)
    W = layer.features.weight.split(layer.width)
    b = layer.features.bias.split(layer.width)
    U = layer.of_children.weight.split(layer.width)
    i, o, u = (W[n] @ x[j] + b[n] + U[n] @ total for n in range(3))
    c = i.sigmoid() * u.tanh()
    for h_k, c_k in below:
        c = c + torch.sigmoid(W[3] @ x[j] + b[3] + layer.forget.weight @ h_k) * c_k
    return o.sigmoid() * c.tanh(), c


@pytest.mark.parametrize("name", ["tree_lstm", "recursive"])
def test_a_layer_and_its_gradients_equal_a_recursive_loop(name):
    torch.manual_seed(0)
    layer, batch = build(name, (NODES, 4), 3, hidden=[5])[0].double(), trees()
    found = layer(batch.x, batch)
    for b, parents in enumerate(PARENTS):
        expected = [by_recursion(layer, name, batch.x[b], parents, j)[0] for j in range(len(parents) + 1)]
        torch.testing.assert_close(found[b, : len(expected)], torch.stack(expected))
        assert (found[b, len(expected) :] == 0).all()
    roots = torch.stack([by_recursion(layer, name, batch.x[b], parents)[0] for b, parents in enumerate(PARENTS)])
    weights = list(layer.parameters())
    mine, theirs = (torch.autograd.grad(h.square().sum(), weights) for h in (found[:, 0], roots))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["tree_lstm", "recursive"])
def test_under_autocast_states_of_nodes_stay_in_float32(name):
    torch.manual_seed(0)
    layer, batch = build(name, (NODES, 4), 3, hidden=[5])[0], trees()
    h = batch.x.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(h, batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, layer(h, batch), atol=0.03, rtol=0.03)


def test_heights_are_one_more_than_those_of_the_highest_child():
    child, parent = torch.arange(1, 7), torch.tensor(PARENTS[0])
    assert heights(child, parent, 7).tolist() == [3, 2, 0, 1, 0, 0, 0]
    assert heights(child[:0], parent[:0], 2).tolist() == [0, 0]


@pytest.mark.parametrize("readout", ["root", "mean", "attention"])
def test_trees_of_a_minibatch_do_not_meet_and_order_of_children_means_nothing(readout):
    torch.manual_seed(0)
    net = Chain(build("tree_lstm", (NODES, 4), 3, hidden=[5, 4], readout=readout)).double()
    batch = trees()
    out = net(batch.x, batch)
    other = trees()
    other.x[1:] += 1
    torch.testing.assert_close(net(other.x, other)[0], out[0])
    swapped = trees()
    swapped.x[2, 0], swapped.x[0, 5] = batch.x[2, 0], batch.x[0, 5]
    edges = swapped["edge_index"]
    edges.values[: edges.offsets[1]] = edges.values[: edges.offsets[1]].flip(0)
    torch.testing.assert_close(net(swapped.x, swapped), out)


@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni", "dni", "local", "frozen"])
def test_trees_train_under_every_scheme(scheme, tmp_path):
    small = [
        "data.options={nodes: 12, packages: [http, email]}",
        "model.hidden=[8, 8]",
        "data.batch_size=8",
        "parallel={modules: 3, partition: [1, 1, 1]}",
    ]
    quiet = [f"tracking.runs={tmp_path}", "tracking.uri=off", "tracking.figures=false", "train.probe_every=0"]
    summary = train(load_config("recursive/tree_lstm", [*small, *quiet, f"scheme.name={scheme}", "train.steps=6"]))
    assert summary["metrics"]["test/loss"] < 3


def test_what_is_no_tree_is_refused():
    with pytest.raises(ValueError, match=r"tree_lstm takes graphs \(nodes, features\)"):
        build("tree_lstm", (1, 8, 8), 3)
    with pytest.raises(ValueError, match="gives one output for a whole tree"):
        build("recursive", (9, 4), 3, out_positions=9)
