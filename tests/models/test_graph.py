"""Graph convolutions against their equation, with dense matrices."""

import pytest
import torch

from unlocked_models import Batch, Chain, Ragged, build
from unlocked_models.graph import Neighbours
from unlocked_models.graph.layers import READOUTS

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
    net, batch = Chain(build("gcn", (NODES, 4), 3, out_positions=NODES, hidden=[5])).double().eval(), batch_of(0)
    A, first, second = normalised(batch["edge_index"][0]), net[0].convolution, net[1].convolution
    for layer in (first, second):
        torch.nn.init.normal_(layer.bias)
    h = (A @ batch.x[0] @ first.lin.weight.T + first.bias).relu()
    torch.testing.assert_close(net(batch.x, batch)[0], A @ h @ second.lin.weight.T + second.bias)


def test_graphs_of_a_minibatch_do_not_meet():
    torch.manual_seed(0)
    net, both = Chain(build("gcn", (NODES, 4), 3, out_positions=NODES, dropout=0.0)).double(), batch_of(0, 1)
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


# every model against its equation, and what the order of nodes and filling may not change -----------------------

PER_NODE = {"gcn": {}, "gat": {"hidden": [6], "heads": 2}, "sage": {"hidden": [5]}, "gin": {"hidden": [5]}}
SIZES = torch.tensor([5, 3, 7])


def net_of(name: str, per_node: bool, **options) -> Chain:
    torch.manual_seed(1)
    asked = {"out_positions": NODES if per_node else None, **PER_NODE.get(name, {}), **options}
    if name == "mpnn":
        asked["edge_features"] = 2
    net = Chain(build(name, (NODES, 4), 3, **asked)).double()
    return net.eval()


def of_several_sizes(fill: float = 0.0) -> Batch:
    """Graphs of 5, 3 and 7 nodes, filled up with `fill`; the second has no edge."""
    x = torch.randn(3, NODES, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.where((torch.arange(NODES) < SIZES[:, None])[..., None], x, fill)
    edges = [torch.tensor([[0, 1], [1, 0], [3, 2]]), torch.zeros(0, 2, dtype=torch.long), graph(2).T]
    offsets = torch.tensor([0, *map(len, edges)]).cumsum(0)
    features = torch.rand(int(offsets[-1]), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    extras = {"edge_index": Ragged(torch.cat(edges), offsets), "edge_attr": Ragged(features, offsets)}
    return Batch(x, x, extras={**extras, "lengths": SIZES})


def alone(batch: Batch, i: int) -> Batch:
    """Graph i without filling, its edges as a plain tensor."""
    x = batch.x[i : i + 1, : SIZES[i]]
    extras = {"edge_index": batch["edge_index"][i].T[None], "edge_attr": batch["edge_attr"][i][None]}
    return Batch(x, x, extras=extras)


def adjacency(edges: torch.Tensor) -> torch.Tensor:
    A = torch.zeros(NODES, NODES, dtype=torch.float64)
    A[edges[1], edges[0]] = 1
    return A


def test_sage_is_its_equation():
    net, batch = net_of("sage", True, hidden=[]), batch_of(0)
    layer, A, x = net[0].convolution, adjacency(graph(0)), batch.x[0]
    mean = A @ x / A.sum(1, keepdim=True).clamp(min=1)
    expected = mean @ layer.lin_l.weight.T + layer.lin_l.bias + x @ layer.lin_r.weight.T
    torch.testing.assert_close(net(batch.x, batch)[0], expected)


def test_gin_is_its_equation():
    net, batch = net_of("gin", True, hidden=[], inner=1, norm="none"), batch_of(0)
    layer, x = net[0].convolution, batch.x[0]
    torch.nn.init.constant_(layer.eps, 0.3)
    torch.testing.assert_close(net(batch.x, batch)[0], layer.nn(1.3 * x + adjacency(graph(0)) @ x))


def test_gat_is_its_equation_and_its_weights_sum_to_one():
    net, batch = net_of("gat", True, hidden=[]), batch_of(0)
    layer, x = net[0].convolution, batch.x[0]
    h = x @ layer.lin.weight.T
    scores = (h * layer.att_dst[0]).sum(1)[:, None] + (h * layer.att_src[0]).sum(1)
    there = adjacency(graph(0)) + torch.eye(NODES)
    weights = torch.nn.functional.leaky_relu(scores, 0.2).masked_fill(there == 0, -torch.inf).softmax(1)
    torch.testing.assert_close(net(batch.x, batch)[0], weights @ h + layer.bias)
    (source, target), given = net[0].attention(batch.x, batch)
    torch.testing.assert_close(given[:, 0], weights[target, source])
    assert net_of("gcn", True)[0].attention(batch.x, batch) is None


def test_attention_counts_nodes_with_the_filling_before_them():
    net, batch = net_of("gat", True, hidden=[]), of_several_sizes()
    (source, target), _ = net[0].attention(batch.x, batch)
    third = [(i // NODES, i % NODES) for i in target.tolist() if i >= 2 * NODES]
    assert set(third) == {(2, node) for node in range(NODES)}  # each has its loop
    assert {i // NODES for i in source.tolist()} == {0, 1, 2}
    assert all(i % NODES < SIZES[i // NODES] for i in source.tolist())


def test_a_message_goes_by_the_features_of_its_edge():
    net, batch = net_of("mpnn", False, depth=1, width=3), of_several_sizes()
    h, step = net[0](batch.x, batch), net[1]
    by_hand = torch.zeros(5, 3, dtype=torch.float64)
    for (source, target), features in zip(batch["edge_index"][0], batch["edge_attr"][0], strict=True):
        by_hand[target] += h[0, source] @ step.messages.nn(features).view(3, 3)
    torch.testing.assert_close(step(h, batch)[0, :5], step.gate(by_hand, h[0, :5]))


@pytest.mark.parametrize("name", PER_NODE)
def test_nodes_in_another_order_give_outputs_in_that_order(name):
    net, batch = net_of(name, True), batch_of(0)
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(4))
    edges = order.argsort()[batch["edge_index"]]
    shuffled = Batch(batch.x[:, order], batch.y, extras={"edge_index": edges})
    torch.testing.assert_close(net(shuffled.x, shuffled), net(batch.x, batch)[:, order])


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", [*PER_NODE, "mpnn", "deepsets"])
def test_filling_and_the_order_of_nodes_change_no_graph_s_output(name, readout):
    """Graphs of several sizes in one minibatch give what each gives alone, whatever stands after their nodes."""
    net, batch = net_of(name, False, readout=readout, head=[4]), of_several_sizes()
    together = net(batch.x, batch)
    assert together.shape == (3, 3)
    for i in range(3):
        one = alone(batch, i)
        torch.testing.assert_close(net(one.x, one), together[i : i + 1])
    order = torch.randperm(5, generator=torch.Generator().manual_seed(4))
    first = alone(batch, 0)
    shuffled = Batch(
        first.x[:, order], first.y, extras={**first.extras, "edge_index": order.argsort()[first["edge_index"]]}
    )
    torch.testing.assert_close(net(shuffled.x, shuffled), together[:1])
    filled = of_several_sizes(fill=9.0)
    torch.testing.assert_close(net(filled.x, filled), together)


@pytest.mark.parametrize("name", [*PER_NODE, "mpnn", "deepsets"])
def test_filling_gets_no_gradient(name):
    net, batch = net_of(name, False, dropout=0.0).train(), of_several_sizes()
    h = batch.x.clone().requires_grad_()
    net(h, batch).square().sum().backward()
    assert not h.grad[torch.arange(NODES) >= SIZES[:, None]].any()
    assert h.grad[1, :3].any()  # nodes without an edge have one


def test_a_readout_without_edges_is_a_sum_over_a_set():
    net, batch = net_of("deepsets", False, readout="sum", hidden=[5], head=[]), of_several_sizes()
    each = net[0](batch.x, batch)
    torch.testing.assert_close(net(batch.x, batch), net[1].head(each.sum(1)))


def test_a_set_has_no_outputs_at_its_elements():
    with pytest.raises(ValueError, match="deepsets gives one output for a whole set"):
        build("deepsets", (NODES, 4), 3, out_positions=NODES)


def test_an_unknown_readout_and_heads_that_do_not_divide_are_one_line():
    with pytest.raises(ValueError, match=r"model.readout: unknown readout 'men'; did you mean 'mean'\?"):
        build("gin", (NODES, 4), 3, readout="men")
    with pytest.raises(ValueError, match=r"model.hidden: 6 does not divide among 4 heads"):
        build("gat", (NODES, 4), 3, hidden=[6], heads=4)
