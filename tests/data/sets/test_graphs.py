"""Graphs: a made one, and citations from a file."""

import numpy as np
import pytest

from unlocked.errors import DataError
from unlocked.tasks import load


def test_every_split_of_a_made_graph_asks_for_other_nodes_of_the_same():
    data = load("communities", validation=0.5)
    splits = (data.train, data.validation, data.test)
    asked = [set((split.y[0] >= 0).nonzero().flatten().tolist()) for split in splits]
    assert [len(nodes) for nodes in asked] == [60, 270, 270]
    assert set.union(*asked) == set(range(600))
    assert data.train.y[0][data.train.y[0] >= 0].bincount().tolist() == [10] * 6
    for split in splits[1:]:
        assert split.x.equal(data.train.x)
        assert split.extras["edge_index"].equal(data.train.extras["edge_index"])
    ends = data.test.extras["edge_index"][0]
    labels = sum(split.y[0].clamp(min=0) for split in splits)
    assert (labels[ends[0]] == labels[ends[1]]).float().mean() > 0.6  # of two nodes at random it is 1 in 6
    assert {tuple(edge) for edge in ends.T.tolist()} == {tuple(edge) for edge in ends.flip(0).T.tolist()}
    assert load("communities", validation=0.5, draw=1).train.x.ne(data.train.x).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inside": 1.5}, "data.options.inside: must be a probability from 0 to 1, got 1.5"),
        ({"common": float("nan")}, "data.options.common: must be a probability from 0 to 1, got nan"),
        ({"words": 0}, "data.options.words: must be at least 1, got 0"),
        ({"labels": -1}, "data.options.labels: must be at least 1, got -1"),
    ],
)
def test_options_of_a_made_graph_that_cannot_be_are_one_line(options, words):
    with pytest.raises(DataError, match=words):
        load("communities", **options)


def test_a_graph_without_nodes_to_ask_for_is_refused():
    with pytest.raises(DataError, match=r"data.options.nodes: 70 nodes of 6 classes leave none beside 10 labels"):
        load("communities", nodes=70)


@pytest.fixture
def citations(tmp_path):
    arrays = {
        "x_row": np.array([0, 0, 1, 3]),
        "x_col": np.array([0, 2, 1, 2]),
        "x_val": np.ones(4),
        "shape": np.array([4, 3]),
        "y": np.array([0, 1, 0, 1]),
        "edge_index": np.array([[0, 1], [1, 0]]),
        "train": np.array([0, 1]),
        "val": np.array([2]),
        "test": np.array([3]),
    }

    np.savez(tmp_path / "cora.npz", **arrays)
    return tmp_path


def test_citations_are_read_from_their_file(citations):
    data = load("citations", root=citations, validation=0.5)
    assert data.train.x[0].tolist() == [[0.5, 0, 0.5], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert [split.y[0].tolist() for split in (data.train, data.validation, data.test)] == [
        [0, 1, -1, -1],
        [-1, -1, 0, -1],
        [-1, -1, -1, 1],
    ]
    assert data.train.extras["edge_index"].tolist() == [[[0, 1], [1, 0]]]


def test_a_file_that_is_missing_or_lacks_an_array_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data.options.graph: cora.npz is not in .*; set data.root"):
        load("citations", root=tmp_path)
    (tmp_path / "cora.npz").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"data.options.graph: .*cora.npz cannot be read as an NPZ file of plain"):
        load("citations", root=tmp_path)
    np.savez(tmp_path / "cora.npz", y=np.zeros(3))
    with pytest.raises(DataError, match=r"cora.npz has no array x_row; it needs x_row, x_col"):
        load("citations", root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_row": np.array([0, 0, 1, 4])}, "cora.npz: x_row holds 4, and there are 0 to 3"),
        ({"edge_index": np.array([[0, 1], [-1, 0]])}, "cora.npz: edge_index holds -1, and there are 0 to 3"),
        ({"test": np.array([9])}, "cora.npz: test holds 9, and there are 0 to 3"),
        ({"y": np.array([0, 1])}, r"cora.npz: shape is \[4, 3\], and y has 2 nodes"),
        ({"y": np.array(["a", "b", "a", "b"])}, r"cora.npz: y is <U1 of shape \(4,\)"),
    ],
)
def test_arrays_of_citations_that_disagree_are_one_line(citations, changes, words):
    path = citations / "cora.npz"
    with np.load(path) as stored:
        arrays = {**stored, **changes}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=words):
        load("citations", root=citations, neighbours=[2])
