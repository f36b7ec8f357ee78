"""Edges of graphs in a data set: what leads to no node is one line; and neighbourhoods that are drawn."""

import numpy as np
import pytest
import torch

from unlocked.data import DATA, RawData, register_data
from unlocked.data.graphs.arrays import NONE, Graph, both_ways, filled
from unlocked.data.sampler import TrainBatches
from unlocked.data.transforms.neighbours import Neighbourhoods
from unlocked.errors import DataError
from unlocked.tasks import load
from unlocked_models import Batch, Chain, Ragged, build

PATH = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])


def test_graphs_of_several_sizes_are_filled_up_and_their_edges_are_ragged():
    two = [Graph(np.ones((3, 2)), PATH, np.ones((4, 1))), Graph(np.ones((1, 2)), np.zeros((2, 0)), np.ones((0, 1)))]
    x, extras = filled(two, 4)
    assert x[:, :, 0].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert extras["lengths"].tolist() == [3, 1]
    assert extras["edge_index"].lengths.tolist() == extras["edge_attr"].lengths.tolist() == [4, 0]


def test_edges_in_both_directions_are_there_once():
    edges, features = both_ways(np.array([[0, 1, 2, 1], [1, 0, 2, 2]]), np.array([[5.0], [6.0], [7.0], [8.0]]))
    assert sorted(zip(*edges.tolist(), features[:, 0].tolist(), strict=True)) == [
        (0, 1, 5.0),
        (1, 0, 6.0),
        (1, 2, 8.0),
        (2, 1, 8.0),
    ]


def pairs(*edges: tuple[int, int]) -> Ragged:
    return Ragged(torch.tensor(edges), torch.tensor([0, 1, *[len(edges)] * 9]))


X, Y = np.ones((10, 4, 2)), np.arange(10) % 2


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"edge_index": np.full((10, 2, 1), 4)}, "an edge with node 4 in example 0, which has nodes 0 to 3"),
        ({"edge_index": pairs((0, 1), (3, -1))}, "an edge with node -1 in example 1, which has nodes 0 to 3"),
        (
            {"edge_index": pairs((0, 1), (2, 1)), "lengths": np.full(10, 2)},
            "an edge with node 2 in example 1, which has nodes 0 to 1",
        ),
        ({"edge_index": np.zeros((10, 3, 2), int)}, r"is torch.int64 of shape \(10, 3, 2\)"),
        ({"edge_index": np.zeros((10, 2, 2))}, "is torch.float32 of shape"),
        (
            {"edge_index": pairs((0, 1), (1, 0)), "edge_attr": np.ones((10, 2, 3))},
            "one row of features for each of extras_train",
        ),
        ({"edge_index": np.zeros((10, 2, 2), int), "edge_attr": np.ones((10, 3, 1))}, "one row of features for each"),
    ],
)
def test_edges_that_fit_no_node_are_one_line(extras, words):
    register_data("bent")(lambda source: RawData(X, Y, extras_train=extras))
    try:
        with pytest.raises(DataError, match=words) as error:
            load("bent")
        assert "\n" not in str(error.value)
    finally:
        DATA._entries.pop("bent")


def test_a_class_without_a_node_to_learn_from_is_one_line():
    y = np.full((1, 4), NONE)
    y[0, :2] = 0, 2
    raw = RawData(X[:1], y, X[:1], y, class_names=["a", "b", "c"], extras_train={}, extras_test={})
    register_data("hollow", task="node_classification")(lambda source: raw)
    try:
        with pytest.raises(DataError, match=r"y_train asks for no node of class 1 \(b\), which cannot be learned"):
            load("hollow")
    finally:
        DATA._entries.pop("hollow")


# neighbourhoods ------------------------------------------------------------------------------------------------


def whole_and_roots(fanouts):
    """A graph of 60 nodes, node 59 without an edge, whole and as trees of drawn neighbours of all nodes."""
    rng = np.random.default_rng(0)
    edges, _ = both_ways(rng.integers(0, 59, (2, 150)))
    x = rng.normal(size=(60, 3)).astype(np.float32)
    nodes = torch.arange(60)
    draw = Neighbourhoods(x, edges, fanouts, NONE)
    roots = Batch(torch.from_numpy(x)[:, None], nodes[:, None], extras={"node": nodes})
    return Batch(torch.from_numpy(x)[None], nodes, extras={"edge_index": torch.from_numpy(edges)[None]}), draw, roots


def drawn(draw, roots, seed=0):
    return draw(roots, torch.Generator().manual_seed(seed))


def test_all_neighbours_give_a_root_what_the_whole_graph_gives_it():
    whole, draw, roots = whole_and_roots([60, 60])
    draw.fanouts = (20, 20)  # above every degree
    torch.manual_seed(0)
    net = Chain(build("sage", (60, 3), 4, out_positions=60, hidden=[5])).eval()
    trees = drawn(draw, roots)
    torch.testing.assert_close(net(trees.x, trees)[:, 0], net(whole.x, whole)[0])


def test_neighbours_are_drawn_without_replacement_and_only_from_neighbours():
    whole, draw, roots = whole_and_roots([3, 2])
    linked = set(map(tuple, whole["edge_index"][0].T.tolist()))
    degree = torch.bincount(whole["edge_index"][0, 1], minlength=60)
    trees = drawn(draw, roots)
    assert trees.x.shape == (60, 10, 3)
    place = {tuple(row.tolist()): i for i, row in enumerate(whole.x[0])}
    for root in range(60):
        edges = trees["edge_index"][root]
        node = [place[tuple(row.tolist())] for row in trees.x[root, : trees.lengths[root]]]
        assert node[0] == root
        assert all((node[child], node[parent]) in linked for child, parent in edges.tolist())
        children = [node[child] for child, parent in edges.tolist() if parent == 0]
        assert len(set(children)) == len(children) == min(3, int(degree[root]))
        assert not trees.x[root, trees.lengths[root] :].any()
    assert trees.y[:, 0].equal(roots.y[:, 0])
    assert (trees.y[:, 1:] == NONE).all()


def test_every_neighbour_is_drawn_equally_often():
    star = np.array([np.arange(1, 7), np.zeros(6, int)])
    draw = Neighbourhoods(np.eye(7), star, [2], NONE)
    roots = Batch(
        torch.zeros(3000, 1, 7),
        torch.zeros(3000, 1, dtype=torch.long),
        extras={"node": torch.zeros(3000, dtype=torch.long)},
    )
    counts = drawn(draw, roots).x[:, 1:].sum((0, 1))[1:]
    assert counts.sum() == 6000
    assert (counts - 1000).abs().max() < 4 * 26  # four deviations of a binomial


def test_a_replica_draws_its_rows_of_the_minibatch():
    _, draw, roots = whole_and_roots([2, 2])
    both = drawn(draw, roots)
    mine = Batch(roots.x[1::2], roots.y[1::2], extras={"node": roots["node"][1::2]})
    half = draw.of_replica(mine, torch.Generator().manual_seed(0), (1, 2))
    assert half.x.equal(both.x[1::2])
    assert half["edge_index"][3].equal(both["edge_index"][7])


def test_drawn_minibatches_are_of_the_seed_and_step_alone():
    data = load("communities", validation=0.5, neighbours=[3, 2])
    assert data.in_shape == (10, 120)
    assert (len(data.train), len(data.validation), len(data.test)) == (60, 270, 270)
    first, again = (TrainBatches(data.train, 20, seed=1, transforms=data.transforms) for _ in range(2))
    again.x(1)
    assert first.x(4).equal(again.x(4))
    assert first.x(4).ne(first.x(3)).any()
    assert first.extras(4)["edge_index"].values.equal(again.extras(4)["edge_index"].values)
    with pytest.raises(DataError, match=r"data.options.neighbours: must be a whole number of at least 1, got 0"):
        load("communities", neighbours=[3, 0])
