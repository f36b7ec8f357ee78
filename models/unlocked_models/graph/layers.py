"""Blocks of networks on graphs: a convolution of any kind, a layer of each node by itself, and the readout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.graph.edges import as_one
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import sequence, vector_norm

READOUTS = ("sum", "mean", "max", "attention")


def shapes(model: str, in_shape: tuple[int, ...], n_outputs: int) -> None:
    """Refuses data that is no graphs, or an output of no width."""
    checks.outputs(model, n_outputs)
    if len(in_shape) != 2:
        raise ValueError(
            f"model.name: {model} takes graphs (nodes, features), the data has examples of shape {tuple(in_shape)}"
        )


def options(norm: str, activation: str, readout: str, head: Sequence[int]) -> None:
    """Refuses those that no block can be made with, before the first."""
    vector_norm(norm, 1)
    activation_layer(activation)
    checks.pick(dict.fromkeys(READOUTS), "readout", readout)
    checks.sizes("head", head)


class Convolution(nn.Module):
    """`phi(norm(layer(dropout(h), edges)))`, of every graph of a minibatch; `layer` is one of PyTorch Geometric's."""

    def __init__(
        self, layer: nn.Module, dropout: float, norm: nn.Module | None, phi: nn.Module, features: bool = False
    ):
        """`features`: whether the layer reads those of the edges."""
        from torch_geometric.nn import GCNConv

        super().__init__()
        self._weighs = isinstance(layer, GCNConv)
        self.dropout, self.convolution, self.phi = nn.Dropout(dropout), layer, phi
        self.norm, self._features = norm, features

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        graphs = as_one(batch, h)
        rows = graphs.rows(self.dropout(h))
        if self._features:
            rows = self.convolution(rows, graphs.edges, graphs.features)
        elif self._weighs:
            rows = self.convolution(rows, graphs.edges, graphs.weights)
        else:
            rows = self.convolution(rows, graphs.edges)
        return graphs.back(self.phi(rows if self.norm is None else self.norm(rows)))

    def attention(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Of a layer that attends: edges `(2, edges)` between the nodes of all graphs in a row, filling included, loops
        among them, and their weights `(edges, heads)`, which sum to 1 over those into a node; None of another layer."""
        if not hasattr(self.convolution, "att_src"):
            return None
        graphs = as_one(batch, h)
        _, (edges, weights) = self.convolution(graphs.rows(h), graphs.edges, return_attention_weights=True)
        return edges if graphs.real is None else graphs.real.nonzero().flatten()[edges], weights


class EachNode(nn.Module):
    """`layer` of every node by itself; filling stays zero."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        graphs = as_one(batch, h)
        return graphs.back(self.layer(graphs.rows(h)))


class Readout(nn.Module):
    """One vector per graph, `(batch, features)`: the sum, mean or maximum over its nodes, or the mean by attention
    (Li et al. 2016, arXiv:1511.05493, equation 7: weights softmax(g(h_v)) over the nodes of a graph); then `head`."""

    def __init__(self, kind: str, width: int, head: nn.Module):
        super().__init__()
        from torch_geometric.nn import aggr

        kinds: dict[str, Any] = {
            "sum": aggr.SumAggregation,
            "mean": aggr.MeanAggregation,
            "max": aggr.MaxAggregation,
            "attention": lambda: aggr.AttentionalAggregation(nn.Linear(width, 1)),
        }
        self.pool, self.head = checks.pick(kinds, "readout", kind)(), head

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        graphs = as_one(batch, h)
        out: Tensor = self.head(self.pool(graphs.rows(h), graphs.graph, dim_size=len(h)))
        return out


def output_of_graph(
    kind: str, width: int, head: Sequence[int], n_outputs: int, activation: str, dropout: float
) -> Readout:
    """A readout whose head has hidden layers of these widths."""
    widths = [width, *head, n_outputs]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Dropout(dropout), nn.Linear(n_in, n_out), activation_layer(activation)]
    return Readout(kind, width, sequence(*layers[:-1]))
