"""A graph of one's own, from tables or arrays: the classes of its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.looking import Look, register_look
from unlocked.data.files.source import Source
from unlocked.data.graphs.arrays import NONE
from unlocked.data.graphs.files import GraphFile, read_graph
from unlocked.data.graphs.tables import Columns
from unlocked.data.new.graphs import files_of
from unlocked.data.sets.graphs import drawn_splits, one_graph
from unlocked.data.splits import Splits, set_aside, with_splits
from unlocked.errors import DataError
from unlocked.seeding import derive_seed
from unlocked_models.contract.batch import EDGE_FEATURES, EDGE_WEIGHTS

MOST_SHOWN = 20  # columns


@register_data("graph", task="node_classification", family="graphs")
@with_splits(without=("validation_file", "time"))
def graph(
    source: Source,
    splits: Splits,
    file: str = "",
    nodes: str = "",
    edges: str = "",
    directed: bool = False,
    labels: int | None = None,
    neighbours: list[int] = [],  # noqa: B006  (read, never changed)
    id: str = "id",
    label: str = "label",
    source_column: str = "source",
    target_column: str = "target",
    weight: str | None = None,
    categories: list[str] = [],  # noqa: B006
    ignore: list[str] = [],  # noqa: B006
    normalise: bool = False,
    separator: str = "",
) -> RawData:
    """A graph of your own, some of whose nodes have a class: `file=graph.npz`, a folder with nodes.csv and edges.csv,
    or these by their names, `nodes=nodes.csv edges=edges.csv`.

    Tables (CSV, TSV, JSON lines; edges as a plain list too): nodes have columns `id`, `label` and, if you like,
    `split`; every other one is a feature, numbers or `categories`, unless it is in `ignore`; edges have
    `source_column`, `target_column`, perhaps a `weight`, which gcn reads, and numbers, their features, which mpnn
    reads. Arrays: `edge_index`, `y`, and if they are there `x`, `edge_attr`, `train`, `val` and `test`. Edges go both
    ways unless `directed`. `normalise`: features to mean 0 and deviation 1.

    Without splits of its own, `test` and `folds` are of the nodes with a class; the validation split is as large as the
    test split. `labels`: so many nodes of each class are training, half of the others validation. `neighbours`: as of
    citations.
    """
    if labels is not None and labels < 1:
        raise DataError(f"data.options.labels: must be at least 1, got {labels}")
    if splits.test_file is not None:
        raise DataError("data.options.test: a graph is one; name the nodes of its test split in a column `split`")
    held = [each for each in (splits.group,) if each]
    columns = Columns(
        id, label, splits.split, source_column, target_column, weight, categories, ignore, held, separator
    )
    found = read_graph(source, file, nodes, edges, directed, columns)
    where = f"data.options.{'file' if file else 'nodes'}: {file or nodes}"
    y, names = found.y, found.class_names
    if y is None or (y == NONE).all():
        raise DataError(f"{where} has no {'array y' if file else f'column {label}'} with classes of nodes")
    if len(names) < 2:
        raise DataError(f"{where}: every node with a class is {names[0]!r}; to tell classes apart it needs two")
    train, validation, test = found.splits or _drawn(source, splits, found, labels)
    for part, chosen in (("train", train), ("validation", validation), ("test", test)):
        if len(chosen) and (y[chosen] == NONE).any():
            raise DataError(f"{where}: a node of the {part} split has no label")
    if not len(train):
        own = "arrays train and test" if file else "column split"
        raise DataError(
            f"{where} has no node in the train split; name some there, or leave out the {own}: then some are drawn"
        )
    if len(test) < (1 if len(validation) else 2):
        drawn = f"; take fewer than labels={labels} of each class" if found.splits is None and labels else ""
        raise DataError(
            f"{where} has {len(train)} training and {len(test)} test nodes; without a validation split, which is half "
            f"of them, the test split needs 2{drawn}"
        )
    for c, name in enumerate(names):
        if not (y[train] == c).any():
            how = f"; labels={labels} of each class are drawn for it" if found.splits is None and labels else ""
            raise DataError(f"{where}: class {name!r} has no node in the train split{how}")
    if not len(validation):
        validation = test[: len(test) // 2]
        test = test[len(test) // 2 :]
    given = ((EDGE_FEATURES, found.graph.features), (EDGE_WEIGHTS, found.weights))
    beside = {key: values for key, values in given if values is not None}
    if neighbours and weight is not None:
        raise DataError("data.options.weight: neighbours that are drawn have none; leave out data.options.neighbours")
    whole = one_graph(found.graph.x, y, found.graph.edges, train, validation, test, names, neighbours, beside)
    return replace(whole, normalise="train" if normalise else None, files=files_of(columns, found, directed))


def _drawn(
    source: Source, splits: Splits, found: GraphFile, labels: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of each split, of those whose class is known."""
    assert found.y is not None
    if labels is not None:
        return drawn_splits(found.y, labels, np.random.default_rng(derive_seed(0, "splits")))
    known = np.flatnonzero(found.y != NONE)
    group = None
    if splits.group is not None:
        if found.tables is None:
            raise DataError("data.options.group: an NPZ file has no columns; give tables")
        group = np.array(found.tables.nodes.column(splits.group, "group"))[known]
    parts = splits.parts(source, len(known), labels=found.y[known], group=group)
    assert parts.test is not None
    share = len(parts.test) / max(1, len(parts.train))
    groups = None if parts.groups is None else parts.groups[parts.train]
    train, validation = set_aside(
        source.name, found.y[known][parts.train], min(share, 0.5), source.seed, "by class", groups=groups
    )
    return known[parts.train[train]], known[parts.train[validation]], known[parts.test]


def _fits(path: Path) -> int:
    if path.is_dir():
        return 3 * all(len([*path.glob(f"{name}.*")]) == 1 for name in ("nodes", "edges"))
    if path.stem == "nodes" and len([*path.parent.glob("edges.*")]) == 1:
        return 3
    return 3 * (path.suffix == ".npz" and is_zipfile(path) and "edge_index.npy" in ZipFile(path).namelist())


@register_look("graph", fits=_fits)
def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    """Nodes, edges, classes, and how each column is read."""
    given = {key: value for key, value in options.items() if key not in ("file", "nodes", "edges")}
    where: dict[str, Any] = {"file": str(path)}
    if path.is_file() and path.suffix != ".npz":
        where = {"nodes": str(path), "edges": str(next(path.parent.glob("edges.*")))}
    own = ("id", "label", "split", "weight", "categories", "ignore", "separator")
    names: dict[str, Any] = {key: given[key] for key in own if key in given}
    names |= {key: given[f"{key}_column"] for key in ("source", "target") if f"{key}_column" in given}
    place = {"file": "", "nodes": "", "edges": "", **where}
    found = read_graph(source, **place, directed=True, columns=Columns(**names))
    number = (
        np.zeros(0, np.int64)
        if found.y is None
        else np.bincount(found.y[found.y != NONE], minlength=len(found.class_names))
    )
    known = int(number.sum())
    counts = {"nodes": len(found.graph.x), "edges": found.graph.edges.shape[1], "nodes with a class": known}
    classes = [{"class": name, "nodes": int(many)} for name, many in zip(found.class_names, number, strict=True)]
    columns, notes = [], []
    if found.tables is not None:
        for name, kind in found.tables.encoding.columns.items():
            read_as = "numbers" if isinstance(kind, float) else f"{len(kind)} categories"
            empty = sum(not cell for cell in found.tables.nodes.column(name))
            columns.append({"column of nodes": name, "read as": read_as, "missing": empty})
        columns += [
            {"column of nodes": f"{name} (of edges)", "read as": "numbers", "missing": 0}
            for name in found.tables.edge_features
        ]
    if len(columns) > MOST_SHOWN:
        notes.append(f"{len(columns) - MOST_SHOWN:,} more columns are not shown")
    alone = len(found.graph.x) - len(np.unique(found.graph.edges))
    if alone:
        notes.append(f"{alone:,} nodes have no edge")
    if not known:
        notes.append("no node has a class: links can be learned (data.name=links), classes cannot")
    elif known < len(found.graph.x):
        notes.append(f"{len(found.graph.x) - known:,} nodes have no class; unlocked predict says one")
    config = {
        "data": {"name": "graph", "batch_size": 1, "validation": 0.5, "options": {**where, **given}},
        "model": {"name": "gcn", "hidden": [32]},
        "optimizer": {"name": "adam", "lr": 1.0e-2, "weight_decay": 5.0e-4},
        "train": {"epochs": 150, "log_every": 10, "evaluate_every": 5, "checkpoint_every": 50},
    }
    read_as = "an NPZ file of arrays" if found.tables is None else "tables of nodes and of edges"
    return Look(read_as, counts, {"columns": columns[:MOST_SHOWN], "classes": classes}, notes, config)
