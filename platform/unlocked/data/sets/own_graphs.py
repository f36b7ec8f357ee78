"""A graph of one's own, from tables or arrays: the classes of its nodes."""

from __future__ import annotations

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.graph_files import read_graph
from unlocked.data.graphs import NONE
from unlocked.data.sets.graphs import drawn_splits, one_graph
from unlocked.data.source import Source
from unlocked.errors import DataError
from unlocked.seeding import derive_seed


@register_data("graph", task="node_classification", family="graphs")
def graph(
    source: Source,
    file: str = "",
    nodes: str = "",
    edges: str = "",
    directed: bool = False,
    labels: int = 20,
    neighbours: list[int] = [],  # noqa: B006  (read, never changed)
) -> RawData:
    """A graph of your own, some of whose nodes have a class: `file=graph.npz`, or `nodes=nodes.csv edges=edges.csv`.

    Tables: nodes have columns `id`, `label` and, if you like, `split`, and numbers; edges have `source` and `target`.
    Arrays: `edge_index`, `y`, and if they are there `x`, `train`, `val` and `test`. Without splits `labels` nodes of
    each class are training, half of the others validation. Edges go both ways unless `directed`. `neighbours`: as of
    citations.
    """
    if labels < 1:
        raise DataError(f"data.options.labels: must be at least 1, got {labels}")
    found = read_graph(source, file, nodes, edges, directed)
    where = f"data.options.{'file' if file else 'nodes'}: {file or nodes}"
    y, names = found.y, found.class_names
    if y is None or (y == NONE).all():
        raise DataError(f"{where} has no {'array y' if file else 'column label'} with classes of nodes")
    train, validation, test = found.splits or drawn_splits(y, labels, np.random.default_rng(derive_seed(0, "splits")))
    for part, chosen in (("train", train), ("validation", validation), ("test", test)):
        if len(chosen) and (y[chosen] == NONE).any():
            raise DataError(f"{where}: a node of the {part} split has no label")
    if not len(train):
        own = "arrays train and test" if file else "column split"
        raise DataError(
            f"{where} has no node in the train split; name some there, or leave out the {own}: then some are drawn"
        )
    if len(test) < (1 if len(validation) else 2):
        drawn = f"; take fewer than labels={labels} of each class" if found.splits is None else ""
        raise DataError(
            f"{where} has {len(train)} training and {len(test)} test nodes; without a validation split, which is half "
            f"of them, the test split needs 2{drawn}"
        )
    for c, name in enumerate(names):
        if not (y[train] == c).any():
            raise DataError(
                f"{where}: class {name!r} has no node in the train split" + _how(found.splits is None, labels)
            )
    if not len(validation):
        validation = test[: len(test) // 2]
        test = test[len(test) // 2 :]
    return one_graph(found.graph.x, y, found.graph.edges, train, validation, test, names, neighbours)


def _how(drawn: bool, labels: int) -> str:
    return f"; labels={labels} of each class are drawn for it" if drawn else ""
