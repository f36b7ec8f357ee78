"""One graph whose nodes are to be classified, a few of them labelled: citations in a file, and a made one.

Every split has the whole graph, and asks for the classes of other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unlocked.data.arrays import wrong
from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import DataFile, Source
from unlocked.data.graphs.arrays import NONE
from unlocked.data.graphs.files import arrays_of
from unlocked.data.transforms.neighbours import NODE, Neighbourhoods
from unlocked.errors import DataError
from unlocked.seeding import derive_seed

SPLITS = ("train", "val", "test")
FIELDS = ("x_row", "x_col", "x_val", "shape", "y", "edge_index", *SPLITS)


@register_data("citations", task="node_classification", family="graphs")
def citations(source: Source, graph: str = "cora", neighbours: list[int] = []) -> RawData:  # noqa: B006
    """A citation network with the public split of Planetoid (Yang et al. 2016): 20 labels a class, 500 and 1,000 nodes.

    Read from `<graph>.npz` in the data folder; Cora has 2,708 papers of 7 classes with 1,433 words, and 10,556 edges in
    both directions. Papers are rows of words divided by their sum (Kipf and Welling 2017, section 5.1). The arrays of
    the file: words as triples `x_row`, `x_col`, `x_val` of a matrix of that `shape`, `y (nodes,)`, `edge_index (2,
    edges)`, and the nodes `train`, `val`, `test`. `torch_geometric.datasets.Planetoid` downloads both graphs.

    `neighbours`, such as [10, 5]: an example is one paper and a tree of as many drawn neighbours on each level; []: it
    is the whole graph.
    """
    arrays = citation_arrays(source, graph)
    x = word_shares(arrays)
    splits = (arrays["train"], arrays["val"], arrays["test"])
    return one_graph(x, arrays["y"], arrays["edge_index"], *splits, neighbours=neighbours)


def citation_arrays(source: Source, graph: str) -> dict[str, np.ndarray]:
    """Of `<graph>.npz`, all `FIELDS`."""
    found = source.find([DataFile(f"{graph}.npz")], ["", source.name])
    if found is None:
        raise DataError(
            f"data.options.graph: {graph}.npz is not in {source.root}; set data.root to the folder that holds it, or "
            f"write it from torch_geometric.datasets.Planetoid with the arrays {', '.join(FIELDS)}"
        )
    arrays = arrays_of(found[0], "graph")
    lacking = [field for field in FIELDS if field not in arrays]
    if lacking:
        raise wrong(source.name, f"{found[0]} has no array {lacking[0]}; it needs {', '.join(FIELDS)}")
    for field in FIELDS:
        if arrays[field].ndim != (2 if field == "edge_index" else 1) or arrays[field].dtype.kind not in "biuf":
            raise wrong(source.name, f"{found[0]}: {field} is {arrays[field].dtype} of shape {arrays[field].shape}")
    nodes, words = arrays["shape"].tolist() if len(arrays["shape"]) == 2 else (-1, -1)
    if nodes < 1 or words < 1 or len(arrays["y"]) != nodes:
        raise wrong(source.name, f"{found[0]}: shape is {arrays['shape'].tolist()}, and y has {len(arrays['y'])} nodes")
    for field, count in (("x_col", words), *((field, nodes) for field in ("x_row", "edge_index", *SPLITS))):
        outside = arrays[field][(arrays[field] < 0) | (arrays[field] >= count)]
        if outside.size:
            raise wrong(source.name, f"{found[0]}: {field} holds {outside[0]}, and there are 0 to {count - 1}")
    return {field: arrays[field] for field in FIELDS}


def word_shares(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """`(nodes, words)`; each row sums to 1."""
    x = np.zeros(tuple(arrays["shape"]), np.float32)
    x[arrays["x_row"], arrays["x_col"]] = arrays["x_val"]
    x /= np.maximum(x.sum(1, keepdims=True), 1)
    return x


@register_data("communities", task="node_classification", family="made")
def communities(
    source: Source,
    nodes: int = 600,
    classes: int = 6,
    words: int = 120,
    inside: float = 0.02,
    across: float = 0.002,
    topical: float = 0.2,
    common: float = 0.05,
    labels: int = 10,
    draw: int = 0,
    neighbours: list[int] = [],  # noqa: B006
) -> RawData:
    """A graph with communities and words, made as citation networks are: neighbours are mostly of one class.

    Edges are drawn by a stochastic block model (Holland et al. 1983): with probability `inside` between two nodes of
    one class, `across` between others. Each class has a share of the `words`, which its nodes hold with probability
    `topical`, other nodes with `common`. `labels` nodes of each class are training, half of the others validation.
    `neighbours`: as of citations.
    """
    import networkx

    for name, count in (("words", words), ("labels", labels)):
        if count < 1:
            raise DataError(f"data.options.{name}: must be at least 1, got {count}")
    for name, chance in (("inside", inside), ("across", across), ("topical", topical), ("common", common)):
        if not 0 <= chance <= 1:
            raise DataError(f"data.options.{name}: must be a probability from 0 to 1, got {chance}")
    if classes < 2 or nodes < classes * (labels + 2):
        raise DataError(
            f"data.options.nodes: {nodes} nodes of {classes} classes leave none beside {labels} labels of each; give "
            f"at least 2 classes, and {max(classes, 2) * (labels + 2)} nodes"
        )
    rng = np.random.default_rng(derive_seed(draw, "communities"))
    y = np.sort(np.arange(nodes) % classes)  # the model numbers its blocks one after the other
    links = np.full((classes, classes), across) + (inside - across) * np.eye(classes)
    graph = networkx.stochastic_block_model(np.bincount(y).tolist(), links.tolist(), seed=derive_seed(draw, "edges"))
    edges = np.array(graph.edges, dtype=np.int64).reshape(-1, 2).T
    held = np.where(np.arange(words) % classes == y[:, None], topical, common)
    x = (rng.random((nodes, words)) < held).astype(np.float32)
    x /= np.maximum(x.sum(1, keepdims=True), 1)
    splits = drawn_splits(y, labels, rng)
    return one_graph(x, y, np.concatenate([edges, edges[::-1]], 1), *splits, neighbours=neighbours)


def drawn_splits(y: np.ndarray, labels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`labels` nodes of each class for training, half of the others for validation, the rest for the test."""
    order = rng.permutation(len(y))
    order = order[y[order] != NONE]
    train = np.concatenate([order[y[order] == c][:labels] for c in np.unique(y[order])])
    others = order[~np.isin(order, train)]
    middle = len(others) // 2
    return train, others[:middle], others[middle:]


def one_graph(
    x: np.ndarray,
    y: np.ndarray,
    edges: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    class_names: list[str] | None = None,
    neighbours: list[int] = [],  # noqa: B006  (read, never changed)
    beside: Mapping[str, np.ndarray] | None = None,
) -> RawData:
    """`x (nodes, features)`, classes `y (nodes,)`, `edges (2, edges)`, and the nodes that each split asks for;
    `beside`: further extras, of each edge in its order."""
    if neighbours:
        return _neighbourhoods(x, y, edges, (train, validation, test), class_names, neighbours)

    def asked(nodes: np.ndarray) -> np.ndarray:
        ids = np.full(len(y), NONE, np.int64)
        ids[nodes] = y[nodes]
        return ids[None]

    extras = {"edge_index": edges.astype(np.int64)[None], **{key: x[None] for key, x in (beside or {}).items()}}
    return RawData(
        x[None],
        asked(train),
        x[None],
        asked(test),
        x_validation=x[None],
        y_validation=asked(validation),
        extras_train=extras,
        extras_test=extras,
        extras_validation=extras,
        class_names=class_names,
    )


def _neighbourhoods(
    x: np.ndarray,
    y: np.ndarray,
    edges: np.ndarray,
    splits: tuple[np.ndarray, np.ndarray, np.ndarray],
    class_names: list[str] | None,
    neighbours: list[int],
) -> RawData:
    """Examples are the nodes of the splits, each alone, until the transform brings its neighbours."""
    train, validation, test = splits
    return RawData(
        x[train][:, None],
        y[train][:, None],
        x[test][:, None],
        y[test][:, None],
        x_validation=x[validation][:, None],
        y_validation=y[validation][:, None],
        extras_train={NODE: train},
        extras_test={NODE: test},
        extras_validation={NODE: validation},
        class_names=class_names,
        transforms=[Neighbourhoods(x, edges, neighbours, NONE)],
    )
