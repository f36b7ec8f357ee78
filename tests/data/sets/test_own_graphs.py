"""A graph of one's own from tables and arrays; what is wrong in them is one line with the file and its place."""

import numpy as np
import pytest

from unlocked.errors import DataError
from unlocked.tasks import load

NODES = """id,label,split,age,height
ann,red,train,1,2
bob,blue,train,3,4
cid,red,test,5,6
dee,,,7,8
eve,blue,test,9,10
"""
EDGES = "source,target,weight\nann,bob,1\nbob,cid,2\ncid,ann,3\n"


@pytest.fixture
def tables(tmp_path):
    def write(nodes=NODES, edges=EDGES):
        (tmp_path / "nodes.csv").write_text(nodes)
        (tmp_path / "edges.csv").write_text(edges)
        return {"root": tmp_path, "nodes": "nodes.csv", "edges": "edges.csv"}

    return write


@pytest.fixture
def arrays(tmp_path):
    def write(**changes):
        given = {"edge_index": np.array([[0, 1, 2], [1, 2, 3]]), "y": np.array([0, 1, 0, 1]), **changes}
        np.savez(tmp_path / "mine.npz", **{key: value for key, value in given.items() if value is not None})
        return {"root": tmp_path, "file": "mine.npz"}

    return write


def test_a_graph_comes_from_a_table_of_nodes_and_a_list_of_edges(tables):
    data = load("graph", validation=0.5, **tables())
    assert data.class_names == ["blue", "red"]
    assert data.train.x[0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]  # dee and eve have no edge
    assert data.train.y.tolist() == [[1, 0, -1, -1, -1]]
    assert [split.y[0].nonzero().flatten().tolist() for split in (data.validation, data.test)] == [
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3],
    ]
    edges = {tuple(edge) for edge in data.train.extras["edge_index"][0].T.tolist()}
    assert edges == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)}
    assert load("graph", directed=True, **tables()).train.extras["edge_index"].tolist() == [[[0, 1, 2], [1, 2, 0]]]


def test_a_graph_comes_from_arrays_and_its_splits_are_drawn(arrays):
    data = load("graph", labels=1, **arrays())
    assert data.train.x[0].tolist() == np.eye(4).tolist()  # no features: told by its place
    assert sorted(data.train.y[data.train.y >= 0].tolist()) == [0, 1]
    masks = {"train": np.array([True, True, False, False]), "test": np.array([2, 3])}
    assert load("graph", **arrays(**masks, x=np.ones((4, 2)))).train.y.tolist() == [[0, 1, -1, -1]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"edges": "source,target\nann,bob\nann,zoe\n"},
            "edges.csv, line 3: target is 'zoe', which is no id in nodes.csv",
        ),
        ({"edges": "from,to\nann,bob\n"}, "edges.csv has no column source .it has 'from', 'to'."),
        ({"nodes": NODES.replace("bob,", "ann,", 1)}, "nodes.csv has the node 'ann' twice"),
        ({"nodes": NODES.replace("3,4", "3,tall")}, "nodes.csv, line 3: height is 'tall', which is no number"),
        ({"nodes": NODES.replace("3,4", "3")}, "line 3 has not one value for each of its 5 columns"),
        ({"nodes": NODES.replace("test", "held")}, "nodes.csv, line 4: split is 'held'; it is train, validation"),
        ({"nodes": "id,label\n", "edges": "source,target\n"}, "nodes.csv has no nodes: the graph is empty"),
        ({"nodes": NODES.replace("bob,blue,train", "bob,blue,")}, "class 'blue' has no node in the train split"),
        (
            {"nodes": NODES.replace(",train,", ",,").replace(",test,", ",,")},
            "nodes.csv has no node in the train split; name some there, or leave out the column split",
        ),
        ({"nodes": NODES.replace("cid,red", "cid,")}, "a node of the test split has no label"),
        ({"nodes": NODES.replace("3,4", "3,nan")}, "nodes.csv, line 3: height is 'nan', which is no number"),
        ({"edges": EDGES.replace("bob,1", "bob,inf")}, "edges.csv, line 2: weight is 'inf', which is no number"),
        ({"nodes": NODES.replace("height", "age")}, "nodes.csv has the column 'age' twice"),
        ({"nodes": "id,label\nann,red\n", "edges": "source,target\n"}, "1 training and 0 test nodes"),
        ({"nodes": "id,age\nann,1\nbob,2\ncid,3\n"}, "nodes.csv has no column label"),
    ],
)
def test_tables_that_disagree_are_one_line(tables, changes, words):
    with pytest.raises(DataError, match=words) as error:
        load("graph", **tables(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edge_index": np.array([[0, 7], [1, 2]])}, "mine.npz: edge 1 leads to node 7; nodes are 0 to 3"),
        ({"edge_index": np.array([[0, -1], [1, 2]])}, "edge 1 leads to node -1"),
        ({"edge_index": np.zeros((2, 2))}, r"edge_index is float64 of shape \(2, 2\); it needs integers \(2, edges\)"),
        ({"edge_index": None}, "has no array edge_index .it has y."),
        ({"y": np.array([0, 1]), "x": np.ones((4, 2))}, r"y is int64 of shape \(2,\); it needs an integer class id"),
        ({"edge_attr": np.ones((2, 1))}, r"edge_attr has shape \(2, 1\); it needs \(edges, features\) of 3 edges"),
        ({"train": np.array([0, 1])}, "one of the arrays train and test; it needs both"),
        ({"train": np.array([0, 1]), "test": np.array([9])}, "the split test names node 9; nodes are 0 to 3"),
        ({"y": np.array([0, 1, 2, 3]), "class_names": np.array(["a", "b"])}, "y holds class 3; class_names names 2"),
        (
            {"x": np.array([["a"]] * 4)},
            r"x has shape \(4, 1\) and holds <U1; it needs real numbers \(nodes, features\)",
        ),
        ({"x": np.full((4, 2), np.nan)}, "x has values that are not finite, or do not fit float32, the first in row 0"),
        ({"edge_attr": np.full((3, 1), np.inf)}, "edge_attr has values that are not finite"),
        ({"x": np.array(3.0)}, r"x has shape \(\) and holds float64"),
        ({"y": np.array(1)}, r"y is int64 of shape \(\); it needs an integer class id"),
        ({"y": np.array([0, 1, -5, 1])}, "y holds class -5; classes are numbered from 0, and -1 is no label"),
        ({"y": np.array([0, 1, 0, 2**40])}, "y holds class 1099511627776 of 4 nodes; number the classes from 0"),
        ({"class_names": np.array(["a", "a"])}, "class_names is .'a', 'a'.* it needs different names"),
        (
            {"train": np.array([True, False, True]), "test": np.array([3])},
            r"train is bool of shape \(3,\); it needs the numbers of nodes, or a mask \(4,\) of booleans",
        ),
        ({"train": np.array([0, 1]), "test": np.array([2.5, 3])}, r"test is float64 of shape \(2,\)"),
        ({"train": np.array([0, 1, 2]), "test": np.array([2, 3])}, "train, val and test name node 2 more than once"),
        (
            {"train": np.array([0, 1]), "test": np.array([2])},
            "2 training and 1 test nodes; without a validation split, which is half of them, the test split needs 2",
        ),
        ({"y": np.array([0, 1, {}, 1], dtype=object)}, "cannot be read as an NPZ file of plain arrays"),
    ],
)
def test_arrays_that_are_no_graph_are_one_line(arrays, changes, words):
    with pytest.raises(DataError, match=words) as error:
        load("graph", **arrays(**changes))
    assert "\n" not in str(error.value)


def test_small_integers_are_read_and_labels_are_at_least_one(arrays):
    small = {"edge_index": np.array([[0, 1], [1, 3]], np.uint8), "y": np.array([0, 1, 0, 1], np.uint8)}
    assert load("graph", labels=1, **arrays(**small)).n_outputs == 2
    with pytest.raises(DataError, match=r"data.options.labels: must be at least 1, got 0"):
        load("graph", labels=0, **arrays())
    with pytest.raises(DataError, match=r"the test split needs 2; take fewer than labels=20 of each class"):
        load("graph", **arrays())


def test_a_graph_without_files_says_how_to_give_one(tmp_path):
    with pytest.raises(
        DataError, match=r"data.options.file: give a graph as file=graph.npz, or as nodes=nodes.csv and"
    ):
        load("graph", nodes="nodes.csv")
    with pytest.raises(DataError, match=r"data.options.file: gone.npz is no file, here or in"):
        load("graph", root=tmp_path, file="gone.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(DataError, match=r"one.npy cannot be read as an NPZ file of plain arrays: it is an NPY file of"):
        load("graph", root=tmp_path, file="one.npy")
