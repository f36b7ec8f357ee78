"""Graphs as arrays: several of them filled up to one size, checks of their edges, and neighbourhoods that are drawn.

A minibatch has nodes `x (batch, nodes, features)`, how many of each graph are no filling (`lengths`), and edges from
one row of `x` to another: `edge_index (batch, 2, edges)`, or `Ragged` pairs `(edges, 2)` if graphs have different
numbers; `edge_attr` has the features of the same edges in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlocked.data.arrays import wrong
from unlocked_models.contract.batch import EDGE_FEATURES, EDGES, LENGTHS, Extra, Ragged

NONE = -1  # the class id of a node that a split does not ask for


@dataclass(frozen=True)
class Graph:
    """One graph: `x (nodes, features)`, `edges (2, edges)` in both directions if it has none, and their `features
    (edges, features)`, None if they have none."""

    x: np.ndarray
    edges: np.ndarray
    features: np.ndarray | None = None


def filled(graphs: Sequence[Graph], nodes: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Nodes `(graphs, nodes, features)` with zeros after those of each, and the extras of the graphs."""
    x = np.zeros((len(graphs), nodes, graphs[0].x.shape[1]), np.float32)
    for row, graph in zip(x, graphs, strict=True):
        row[: len(graph.x)] = graph.x
    offsets = np.cumsum([0, *(graph.edges.shape[1] for graph in graphs)])
    pairs = np.concatenate([graph.edges.T for graph in graphs]).astype(np.int64).reshape(-1, 2)
    extras: dict[str, Any] = {LENGTHS: np.array([len(graph.x) for graph in graphs]), EDGES: ragged(pairs, offsets)}
    features = [graph.features for graph in graphs if graph.features is not None]
    if features:
        extras[EDGE_FEATURES] = ragged(np.concatenate(features).astype(np.float32), offsets)
    return x, extras


def ragged(values: np.ndarray, offsets: np.ndarray) -> Ragged:
    import torch

    return Ragged(torch.from_numpy(values), torch.from_numpy(offsets.astype(np.int64)))


def both_ways(edges: np.ndarray, features: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`edges (2, edges)` in both directions, each once; loops and repeated ones are left out."""
    pairs = np.concatenate([edges, edges[::-1]], 1)
    twice = None if features is None else np.concatenate([features, features])
    _, first = np.unique(pairs, axis=1, return_index=True)
    first = np.sort(first[pairs[0, first] != pairs[1, first]])
    return pairs[:, first], None if twice is None else twice[first]


def check_edges(name: str, part: str, x: np.ndarray, extras: Mapping[str, Extra]) -> None:
    """Raises `DataError`, one line, for edges that lead to no node, or features that are not one row for each edge."""
    edges, lengths = extras.get(EDGES), extras.get(LENGTHS)
    if edges is None:
        return
    what = f"extras_{part}[{EDGES!r}]"
    ends = edges.values if isinstance(edges, Ragged) else edges
    shape = "pairs (edges, 2)" if isinstance(edges, Ragged) else "pairs (n, 2, edges)"
    sound = ends.shape[1:] == (2,) if isinstance(edges, Ragged) else ends.ndim == 3 and ends.shape[1] == 2
    if not sound or ends.is_floating_point() or x.ndim != 3:
        raise wrong(
            name,
            f"{what} is {ends.dtype} of shape {tuple(ends.shape)} and x_{part} has shape {x.shape}; a graph has nodes "
            f"(n, nodes, features) and integer {shape}",
        )
    if isinstance(edges, Ragged):
        graph = np.repeat(np.arange(len(edges)), edges.lengths.numpy())
        flat, counts = ends.numpy(), edges.lengths
    else:
        graph = np.repeat(np.arange(len(edges)), ends.shape[2])
        flat, counts = ends.transpose(1, 2).reshape(-1, 2).numpy(), None
    nodes = np.full(len(edges), x.shape[1]) if not hasattr(lengths, "numpy") else lengths.numpy()  # type: ignore[union-attr]
    bad = np.argwhere((flat < 0) | (flat >= nodes[graph][:, None]))
    if len(bad):
        at, end = bad[0]
        raise wrong(
            name,
            f"{what} has an edge with node {flat[at, end]} in example {graph[at]}, which has nodes 0 to "
            f"{nodes[graph[at]] - 1}",
        )
    features = extras.get(EDGE_FEATURES)
    if features is None:
        return
    if counts is not None:
        agree = isinstance(features, Ragged) and bool((features.lengths == counts).all()) and features.values.ndim == 2
    else:
        agree = not isinstance(features, Ragged) and features.ndim == 3 and features.shape[1] == ends.shape[2]
    if not agree:
        raise wrong(name, f"extras_{part}[{EDGE_FEATURES!r}] has to have one row of features for each of {what}")
