"""Graph convolutions against their equation, with dense matrices."""

import pytest
import torch

from unlocked_models import Batch, Chain, build
from unlocked_models.graph import Neighbours

NODES = 7


def graph(seed: int) -> torch.Tensor:
    """Edges `(2, 12)` in both directions, without loops."""
    g = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(NODES))
    one_way = pairs[torch.randperm(len(pairs), generator=g)[:6]].T
    return torch.cat([one_way, one_way.flip(0)], 1)


def normalised(edges: torch.Tensor) -> torch.Tensor:
    """D^-1/2 (A + I) D^-1/2."""
    A = torch.eye(NODES, dtype=torch.float64)
    A[edges[1], edges[0]] = 1
    d = A.sum(1).rsqrt()
    return d[:, None] * A * d


def batch_of(*seeds: int) -> Batch:
    x = torch.randn(len(seeds), NODES, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Batch(x, x, extras={"edge_index": torch.stack([graph(seed) for seed in seeds])})


def test_a_gcn_is_equation_2_of_kipf_and_welling():
    torch.manual_seed(0)
    net, batch = Chain(build("gcn", (NODES, 4), 3, hidden=[5])).double().eval(), batch_of(0)
    A, first, second = normalised(batch["edge_index"][0]), net[0].convolution, net[1].convolution
    for layer in (first, second):
        torch.nn.init.normal_(layer.bias)
    h = (A @ batch.x[0] @ first.lin.weight.T + first.bias).relu()
    torch.testing.assert_close(net(batch.x, batch)[0], A @ h @ second.lin.weight.T + second.bias)


def test_graphs_of_a_minibatch_do_not_meet():
    torch.manual_seed(0)
    net, both = Chain(build("gcn", (NODES, 4), 3, dropout=0.0)).double(), batch_of(0, 1)
    for i, seed in enumerate((0, 1)):
        alone = Batch(both.x[i : i + 1], both.y, extras={"edge_index": graph(seed)[None]})
        torch.testing.assert_close(net(both.x, both)[i : i + 1], net(alone.x, alone))


def test_a_hop_has_the_weights_of_a_convolution():
    batch = batch_of(0, 1)
    expected = torch.stack([normalised(edges) @ x for edges, x in zip(batch["edge_index"], batch.x, strict=True)])
    torch.testing.assert_close(Neighbours()(batch.x, batch), expected)


def test_what_is_no_graph_is_refused():
    with pytest.raises(ValueError, match=r"gcn takes graphs \(nodes, features\), the data has examples of shape"):
        build("gcn", (1, 8, 8), 3)
