"""Edges of a minibatch: its graphs as one graph, which is what the layers of PyTorch Geometric take.

`batch["edge_index"]` is `(batch, 2, edges)` if all graphs have as many edges, else `Ragged` rows of pairs
`(edges, 2)`; both go from row 0 to row 1. `batch["edge_attr"]` has the features of the same edges in their order,
`(batch, edges, features)` or ragged `(edges, features)`; `batch["edge_weight"]` the weight of each, `(batch, edges)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlocked_models.contract.batch import EDGE_FEATURES, EDGE_WEIGHTS, EDGES, Batch, Example, Extra, Ragged

__all__ = ["EDGES", "EDGE_FEATURES", "Neighbours", "OneGraph", "as_one", "as_one_graph", "has_edges"]


@dataclass(frozen=True)
class OneGraph:
    """The graphs of a minibatch as one, whose rows are their nodes without those that only fill up."""

    size: tuple[int, int]  # batch, nodes of each with filling
    edges: Tensor  # (2, edges), between rows
    features: Tensor | None  # (edges, features)
    graph: Tensor  # (rows,): the place of each row's graph in the minibatch
    real: Tensor | None  # (batch x nodes,): whether a node is no filling; None if none is
    weights: Tensor | None = None  # (edges,)

    def rows(self, h: Tensor) -> Tensor:
        """`h (batch, nodes, features)` as `(rows, features)`."""
        flat = h.flatten(0, 1)
        return flat if self.real is None else flat[self.real]

    def back(self, rows: Tensor) -> Tensor:
        """`rows (rows, features)` in their places, `(batch, nodes, features)`; zeros at filling."""
        if self.real is not None:
            rows = rows.new_zeros(len(self.real), rows.shape[1]).masked_scatter(self.real[:, None], rows)
        return rows.view(*self.size, -1)


def as_one(batch: Batch, h: Tensor) -> OneGraph:
    """Of the graphs whose nodes are `h (batch, nodes, features)`. A set without edges has none."""
    n, nodes = h.shape[:2]
    given: Extra | None = batch.get(EDGES)
    edges = h.new_zeros(2, 0, dtype=torch.long) if given is None else as_one_graph(given, nodes)
    features: Extra | None = batch.get(EDGE_FEATURES)
    if features is not None:
        features = features.values if isinstance(features, Ragged) else features.flatten(0, 1)
    weights: Extra | None = batch.get(EDGE_WEIGHTS)
    if weights is not None:
        weights = (weights.values if isinstance(weights, Ragged) else weights.flatten()).to(h.dtype)
    graph = torch.arange(n, device=h.device).repeat_interleave(nodes)
    if batch.lengths is None:
        return OneGraph((n, nodes), edges, features, graph, None, weights)
    real = (torch.arange(nodes, device=h.device) < batch.lengths[:, None]).flatten()
    return OneGraph((n, nodes), (real.cumsum(0) - 1)[edges], features, graph[real], real, weights)


def as_one_graph(edges: Extra, nodes: int) -> Tensor:
    """Edges of graphs of as many `nodes` each as those of one graph `(2, all edges)`, in which node i of graph b is row
    b x nodes + i."""
    if isinstance(edges, Ragged):
        graph = torch.arange(len(edges), device=edges.offsets.device).repeat_interleave(edges.lengths)
        return (edges.values + graph[:, None] * nodes).t()
    first = torch.arange(len(edges), device=edges.device) * nodes
    return (edges + first[:, None, None]).transpose(0, 1).flatten(1)


class Neighbours(nn.Module):
    """A' z, one hop along the edges, of numbers `z (batch, nodes, features)`; no weights."""

    def forward(self, z: Tensor, batch: Batch) -> Tensor:
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

        graphs = as_one(batch, z)
        rows = graphs.rows(z)
        (source, target), weight = gcn_norm(graphs.edges, graphs.weights, len(rows), dtype=z.dtype)
        return graphs.back(torch.zeros_like(rows).index_add(0, target, rows[source] * weight[:, None]))


def has_edges(example: Example) -> bool:
    return any(extra.name == EDGES for extra in example.extras)
