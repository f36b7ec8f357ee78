"""One graph of one's own from files: a table of nodes and a list of edges (`graph_tables`), or the arrays of an NPZ.

Arrays. `edge_index (2, edges)`, and if they are there `x (nodes, features)`, `y (nodes,)` with -1 for nodes without a
label, `edge_attr (edges, features)`, `class_names`, and `train`, `val` and `test`, the numbers of their nodes.

Files are data and nothing else: nothing in them is unpickled or run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from unlocked.data.files.source import Source
from unlocked.data.files.text_rows import located
from unlocked.data.graphs.arrays import NONE, Graph, both_ways
from unlocked.data.graphs.tables import SPLITS, Columns, Encoding, Tables, read_tables, tables_in
from unlocked.data.splits import VALUES
from unlocked.errors import DataError, reason


@dataclass(frozen=True)
class GraphFile:
    """A graph, the classes of its nodes `y (nodes,)` if some are known, the nodes of each split if it says, weights of
    its edges if it has some, and the tables that it was read from, if it was."""

    graph: Graph
    y: np.ndarray | None
    class_names: list[str]
    splits: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    weights: np.ndarray | None = None
    tables: Tables | None = None


def read_graph(
    source: Source,
    file: str,
    nodes: str,
    edges: str,
    directed: bool,
    columns: Columns = Columns(),  # noqa: B008  (frozen)
    known: Encoding | None = None,
) -> GraphFile:
    """Of `file`, an NPZ, or of the tables `nodes` and `edges`; paths, or names in the data folder.

    A folder as `file` is its tables nodes.* and edges.*. Edges go both ways unless they are `directed`. Without
    features each node is told by its place: one-hot. `known`: how features of nodes were encoded in training.
    """
    if bool(file) == bool(nodes or edges) or bool(nodes) != bool(edges):
        raise DataError(
            "data.options.file: give a graph as file=graph.npz, or as nodes=nodes.csv and edges=edges.csv (columns id, "
            "label, split and features; source and target)"
        )
    if file and (folder := _folder(source, file)) is not None:
        nodes, edges = map(str, tables_in(folder))
        return read_graph(source, "", nodes, edges, directed, columns, known)
    found = _of_arrays(source, file) if file else _of_tables(read_tables(source, nodes, edges, columns, known))
    graph, weights = found.graph, found.weights
    if not len(graph.x):
        raise DataError(f"data.options.{'file' if file else 'nodes'}: {file or nodes} has no nodes: the graph is empty")
    links, features = graph.edges, graph.features
    if not directed:
        beside = [each for each in (features, None if weights is None else weights[:, None]) if each is not None]
        links, both = both_ways(links, np.concatenate(beside, 1) if beside else None)
        if weights is not None and both is not None:
            both, weights = both[:, :-1], both[:, -1]
        features = None if features is None else both
    x = graph.x if graph.x.shape[1] else np.eye(len(graph.x), dtype=np.float32)
    return replace(found, graph=Graph(x, links, features), weights=weights)


def _folder(source: Source, file: str) -> Path | None:
    return source.given("data.options.file", file, Path.is_dir)


def _of_tables(tables: Tables) -> GraphFile:
    y, names = tables.y
    splits = None
    if tables.split is not None:
        meant = [VALUES.get(each.lower(), each.lower()) for each in tables.split]
        for i, value in enumerate(meant):
            if value not in (*SPLITS, ""):
                raise tables.nodes.refuse(i, f"split is {tables.split[i]!r}; it is train, validation, test or empty")
        parts = [np.array([i for i, value in enumerate(meant) if value == s], np.int64) for s in SPLITS]
        splits = parts[0], parts[1], parts[2]
    return GraphFile(tables.graph, y, names, splits, tables.weights, tables)


def arrays_of(path: Path, option: str) -> dict[str, np.ndarray]:
    """Raises `DataError` if it is no NPZ, holds pickled objects, or unpacks to more than this machine has room for."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                refuse_larger_than_memory(sum(each.file_size for each in packed.infolist()))
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise TypeError("it is an NPY file of one array; numpy.savez writes several by their names")
        with stored:
            return {name: stored[name] for name in stored.files}
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        AttributeError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(
            f"data.options.{option}: {path} cannot be read as an NPZ file of plain arrays: {reason(error)}"
        ) from None


def refuse_larger_than_memory(size: int) -> None:
    """A small file may unpack to terabytes. Raises `ValueError` for more bytes than are free."""
    free = psutil.virtual_memory().available
    if size > free:
        raise ValueError(f"it unpacks to {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are free")


def _of_arrays(source: Source, file: str) -> GraphFile:
    path = located(source, "file", file)
    arrays = arrays_of(path, "file")

    def refuse(what: str) -> DataError:
        return DataError(f"data.options.file: {path}: {what}")

    if "edge_index" not in arrays:
        raise refuse(f"has no array edge_index (it has {', '.join(arrays) or 'none'})")
    edges = arrays["edge_index"]
    if edges.ndim != 2 or len(edges) != 2 or (edges.size and edges.dtype.kind not in "iu"):
        raise refuse(f"edge_index is {edges.dtype} of shape {edges.shape}; it needs integers (2, edges)")
    edges = edges.astype(np.int64)
    sized = [len(arrays[key]) for key in ("x", "y") if key in arrays and arrays[key].ndim]
    count = sized[0] if sized else int(edges.max(initial=-1)) + 1
    x = _real(arrays.get("x", np.zeros((count, 0), np.float32)), "x", "(nodes, features)", refuse)
    y = arrays.get("y")
    if y is not None and (y.shape != (count,) or y.dtype.kind not in "iu"):
        raise refuse(f"y is {y.dtype} of shape {y.shape}; it needs an integer class id, or {NONE}, of {count} nodes")
    outside = np.argwhere((edges < 0) | (edges >= count))
    if len(outside):
        end, at = outside[0]
        raise refuse(f"edge {at} leads to node {edges[end, at]}; nodes are 0 to {count - 1}")
    features = arrays.get("edge_attr")
    if features is not None:
        features = _real(features, "edge_attr", f"(edges, features) of {edges.shape[1]} edges", refuse)
        if len(features) != edges.shape[1]:
            raise refuse(f"edge_attr has shape {features.shape}; it needs (edges, features) of {edges.shape[1]} edges")
    splits = None
    if "train" in arrays or "test" in arrays:
        if "train" not in arrays or "test" not in arrays:
            raise refuse("has one of the arrays train and test; it needs both, and val for a validation split")
        train, validation, test = (_chosen(arrays.get(key), key, count, refuse) for key in ("train", "val", "test"))
        splits = train, validation, test
        held = np.concatenate(splits)
        if len(held) > len(np.unique(held)):
            twice = np.flatnonzero(np.bincount(held) > 1)[0]
            raise refuse(f"train, val and test name node {twice} more than once; each node is in one split, once")
    named = arrays.get("class_names", np.zeros(0, str))
    names = [str(name) for name in named.flatten()]
    if named.ndim != 1 or len(set(names)) < len(names):
        raise refuse(f"class_names is {names} of shape {named.shape}; it needs different names (classes,)")
    if y is not None:
        y = y.astype(np.int64)
        low, high = int(y.min(initial=NONE)), int(y.max(initial=NONE))
        if low < NONE:
            raise refuse(f"y holds class {low}; classes are numbered from 0, and {NONE} is no label")
        if not names and high >= count:
            raise refuse(f"y holds class {high} of {count} nodes; number the classes from 0, without gaps")
        names = names or [str(c) for c in range(high + 1)]
        if high >= len(names):
            raise refuse(f"y holds class {high}; class_names names {len(names)}")
    return GraphFile(Graph(x, edges, features), y, names, splits)


def _real(values: np.ndarray, key: str, shape: str, refuse: Callable[[str], DataError]) -> np.ndarray:
    """An array of two axes as float32, all of it finite."""
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise refuse(f"{key} has shape {values.shape} and holds {values.dtype}; it needs real numbers {shape}")
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    if not np.isfinite(small).all():
        row = np.argwhere(~np.isfinite(small))[0, 0]
        raise refuse(f"{key} has values that are not finite, or do not fit float32, the first in row {row}")
    return small


def _chosen(part: np.ndarray | None, key: str, count: int, refuse: Callable[[str], DataError]) -> np.ndarray:
    """Numbers of nodes, from numbers or a mask."""
    if part is None:
        return np.zeros(0, np.int64)
    if part.dtype == bool and part.shape == (count,):
        return np.flatnonzero(part)
    if part.ndim != 1 or (part.size and part.dtype.kind not in "iu"):
        raise refuse(
            f"{key} is {part.dtype} of shape {part.shape}; it needs the numbers of nodes, or a mask ({count},) of "
            "booleans"
        )
    chosen = part.astype(np.int64)
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if len(outside):
        raise refuse(f"the split {key} names node {outside[0]}; nodes are 0 to {count - 1}")
    return chosen
