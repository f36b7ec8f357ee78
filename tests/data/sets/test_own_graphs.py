"""A graph of one's own from tables and arrays; what is wrong in them is one line with the file and its place."""

import numpy as np
import pytest
import torch

from unlocked.data.files.looking import kind_of, look_at
from unlocked.data.files.source import Source
from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import Reading
from unlocked.data.new.targets import read_labelled
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
        (
            {"edges": "from,to\nann,bob\n"},
            "edges.csv has no column 'source', and its first line .'from', 'to'. names no",
        ),
        ({"nodes": NODES.replace("bob,", "ann,", 1)}, "nodes.csv, line 3: has the node 'ann' twice, first in line 2"),
        ({"nodes": NODES.replace("3,4", "3,tall")}, "nodes.csv, line 3: height is 'tall', which is no number"),
        ({"nodes": NODES.replace("3,4", "3")}, "nodes.csv, line 3: has 4 of the 5 values that the first line has"),
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
        ({"nodes": NODES.replace("height", "age")}, "nodes.csv: has the column 'age' twice"),
        (
            {"nodes": "id,label\nann,red\n", "edges": "source,target\n"},
            "every node with a class is 'red'; to tell classes apart it needs two",
        ),
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
        load("graph", labels=20, **arrays())


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


MANY = "name;class;part;kind;size\n" + "".join(
    f"n{i};{'ab'[i % 2]};{i // 4};{('oak', 'elm', '')[i % 3]};{i if i % 5 else ''}\n" for i in range(40)
)
LIST = "# who knows whom\n" + "".join(f"n{i} n{(i + 1) % 40} {1 + i % 3}\n" for i in range(40))


@pytest.fixture
def many(tmp_path):
    (tmp_path / "nodes.csv").write_text(MANY)
    (tmp_path / "edges.txt").write_text(LIST)
    given = {"root": tmp_path, "nodes": "nodes.csv", "edges": "edges.txt", "id": "name", "label": "class"}
    return lambda **options: load("graph", **{**given, "validation": 0.5, **options})


def test_categories_missing_numbers_and_a_list_of_edges_without_a_header(many):
    data = many(ignore=["part"], weight="weight", seed=1)
    sizes = np.array([i for i in range(40) if i % 5], float)
    x = data.train.x[0]
    assert x[0].tolist() == [0, 1, pytest.approx(sizes.mean())]  # elm, oak, size
    assert x[1].tolist() == [1, 0, 1]
    assert x[2].tolist() == [0, 0, 2]
    assert data.train.extras["edge_index"].shape == (1, 2, 80)
    weights, edges = data.train.extras["edge_weight"][0], data.train.extras["edge_index"][0].T.tolist()
    assert {(min(e), max(e)): w for e, w in zip(map(tuple, edges), weights.tolist(), strict=True)}[1, 2] == 2.0
    asked = [set((split.y[0] >= 0).nonzero().flatten().tolist()) for split in (data.train, data.validation, data.test)]
    assert [len(each) for each in asked] == [24, 8, 8]
    assert set.union(*asked) == set(range(40))
    assert many(ignore=["part"], normalise=True).train.x[0].mean(0).abs().max() < 1e-6
    assert many(categories=["part"], ignore=["kind", "size"]).in_shape == (40, 10)


def test_nodes_go_to_splits_by_folds_and_by_groups(many):
    tests = [(many(folds=4, fold=k).test.y[0] >= 0).nonzero().flatten().tolist() for k in range(4)]
    assert sorted(node for part in tests for node in part) == list(range(40))
    data = many(group="part", test=0.3)
    for split in (data.train, data.validation, data.test):
        asked = (split.y[0] >= 0).nonzero().flatten()
        assert len(asked) == 4 * len(set((asked // 4).tolist()))
    assert data.in_shape == (40, 3)  # the group is no feature


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "id"}, "nodes.csv has no column 'id' .it has 'name', .*; name it by data.options.id"),
        ({"ignore": ["colour"]}, "nodes.csv has no column 'colour'"),
        ({"weight": "weight", "edges": "low.csv"}, "low.csv, line 2: weight is '0'; a weight is a number above 0"),
        ({"test": "nodes.csv"}, "data.options.test: a graph is one; name the nodes of its test split in a column"),
        ({"nodes": "ids.csv"}, "ids.csv: note has 300 different texts; leave it out by data.options.ignore=.note."),
        ({"label": "one"}, "every node with a class is 'x'; to tell classes apart it needs two"),
        ({"separator": "dot"}, "data.options.separator: unknown separator 'dot'"),
    ],
)
def test_what_own_columns_cannot_be_is_one_line(many, tmp_path, options, words):
    if options.get("label") == "one":
        (tmp_path / "nodes.csv").write_text("name,one\n" + "".join(f"n{i},x\n" for i in range(40)))
    (tmp_path / "low.csv").write_text("source,target,weight\nn1,n2,0\n")
    (tmp_path / "ids.csv").write_text("name,class,note\n" + "".join(f"n{i},a,text {i}\n" for i in range(300)))
    with pytest.raises(DataError, match=words) as error:
        many(**options)
    assert "\n" not in str(error.value)


def test_weights_of_edges_are_those_of_the_adjacency_matrix(many):
    pytest.importorskip("torch_geometric")
    from unlocked_models import Chain, build

    data = many(ignore=["part"], weight="weight")
    chain = Chain(build("gcn", data.in_shape, 2, example=data.example, hidden=[])).eval()
    batch = data.train.batch(torch.arange(1))
    x, (ends, weight) = batch.x[0], (batch["edge_index"][0], batch["edge_weight"][0])
    A = torch.zeros(40, 40).index_put((ends[1], ends[0]), weight) + torch.eye(40)
    D = A.sum(1).rsqrt()
    layer = chain[0].convolution
    wanted = (D[:, None] * A * D) @ (x @ layer.lin.weight.T) + layer.bias
    torch.testing.assert_close(chain(batch.x, batch)[0], wanted, rtol=1e-5, atol=1e-5)


def test_a_folder_is_looked_at_and_its_configuration_loads(tmp_path):
    (tmp_path / "nodes.csv").write_text(MANY)
    (tmp_path / "edges.txt").write_text(LIST)
    options = {"id": "name", "label": "class", "ignore": ["part"], "weight": "weight"}
    for path in (tmp_path, tmp_path / "nodes.csv"):
        assert kind_of(path) == "graph"
        look = look_at(Source("graph", tmp_path), path, "graph", options)
        assert look.counts == {"nodes": 40, "edges": 40, "nodes with a class": 40}
        assert look.tables["columns"] == [
            {"column of nodes": "kind", "read as": "2 categories", "missing": 13},
            {"column of nodes": "size", "read as": "numbers", "missing": 8},
        ]
        assert look.tables["classes"] == [{"class": "a", "nodes": 20}, {"class": "b", "nodes": 20}]
        data = dict(look.config["data"])
        assert load(data["name"], validation=0.5, **data["options"]).in_shape == (40, 3)
    np.savez(tmp_path / "mine.npz", edge_index=np.array([[0, 1], [1, 2]]))
    look = look_at(Source("graph", tmp_path), tmp_path / "mine.npz", kind_of(tmp_path / "mine.npz"), {})
    assert look.notes == ["no node has a class: links can be learned (data.name=links), classes cannot"]


def test_a_new_graph_is_read_as_the_one_of_training_was(many, tmp_path):
    data = many(ignore=["part"], weight="weight", normalise=True)
    reading = Reading.of(data)
    reading.write(tmp_path)
    reading = Reading.read(tmp_path)
    new = read_file(tmp_path, reading)
    assert (new.named, new.names[:2]) == ("id", ["n0", "n1"])
    torch.testing.assert_close(new.x, data.train.x)
    for name in ("edge_index", "edge_weight"):
        torch.testing.assert_close(new.extras[name], data.train.extras[name])
    found = read_labelled(tmp_path, reading, {})
    assert found.y.tolist() == [[i % 2 for i in range(40)]]
    (tmp_path / "nodes.csv").write_text(MANY.replace("oak", "ash", 1))
    with pytest.raises(DataError, match=r"nodes\.csv, line 2: kind is 'ash', which no node had in training"):
        read_file(tmp_path, reading)
    (tmp_path / "nodes.tsv").write_text("id\n")
    with pytest.raises(DataError, match=r"has 2 files nodes\.\* \(nodes\.csv, nodes\.tsv\); a graph is one of"):
        read_file(tmp_path, reading)


def test_a_table_that_is_a_link_out_of_its_folder_is_not_followed(tmp_path):
    (tmp_path / "secret.csv").write_text(MANY)
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "nodes.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "edges.txt").write_text(LIST)
    with pytest.raises(DataError, match=r"nodes\.csv: is a link that leads out of its folder"):
        load("graph", file=str(folder), id="name", label="class")
