"""Networks on graphs, by the layers of PyTorch Geometric: one example is a whole graph, its positions are the nodes.

Nodes are `h (batch, nodes, features)`; edges are the minibatch's, `batch["edge_index"] (batch, 2, edges)`, from row 0
to row 1 of it, an undirected one in both directions. They never cross a boundary: every module has them from the data.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.basic import activation as activation_layer

EDGES = "edge_index"


@register_model("gcn", family="graph")
def gcn(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [16],  # noqa: B006  (read, never changed)
    activation: str = "relu",
    dropout: float = 0.5,
) -> list[nn.Module]:
    """Graph convolutional network: H_k = phi(A' dropout(H_{k-1}) W_k + b_k) (Kipf and Welling 2017, equation 2).

    A' = D^-1/2 (A + I) D^-1/2, with the degrees D of A + I. The last layer has no phi: its outputs are logits.
    Thomas Kipf and Max Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks",
    arXiv:1609.02907.

    Shapes: `(batch, nodes, features)` to `(batch, nodes, n_outputs)`; one block per layer.

    Options: `hidden` widths of the hidden layers; `activation` as of mlp; `dropout` in [0, 1), before each layer.
    """
    checks.outputs("gcn", n_outputs)
    checks.sizes("hidden", hidden)
    checks.fraction("dropout", dropout)
    if len(in_shape) != 2:
        raise ValueError(
            f"model.name: gcn takes graphs (nodes, features), the data has examples of shape {tuple(in_shape)}"
        )
    widths = [in_shape[1], *hidden, n_outputs]
    phis = [activation_layer(activation) for _ in hidden]
    return [
        GraphConvolution(n_in, n_out, dropout, phi)
        for n_in, n_out, phi in zip(widths, widths[1:], [*phis, nn.Identity()], strict=False)
    ]


class GraphConvolution(nn.Module):
    """`phi(A' dropout(h) W + b)`, of every graph of a minibatch."""

    def __init__(self, n_in: int, n_out: int, dropout: float, phi: nn.Module):
        super().__init__()
        from torch_geometric.nn import GCNConv  # seconds of imports

        self.dropout, self.convolution, self.phi = nn.Dropout(dropout), GCNConv(n_in, n_out), phi

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        rows = self.convolution(self.dropout(h).flatten(0, 1), as_one_graph(batch[EDGES], h.shape[1]))
        out: Tensor = self.phi(rows.view(*h.shape[:2], -1))
        return out


def as_one_graph(edges: Tensor, nodes: int) -> Tensor:
    """Edges `(batch, 2, edges)` of graphs of as many `nodes` each as those of one graph `(2, batch x edges)`, in which
    node i of graph b is row b x nodes + i."""
    first = torch.arange(len(edges), device=edges.device) * nodes
    return (edges + first[:, None, None]).transpose(0, 1).flatten(1)


class Neighbours(nn.Module):
    """A' z, one hop along the edges, of numbers `z (batch, nodes, features)`; no weights."""

    def forward(self, z: Tensor, batch: Batch) -> Tensor:
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

        rows = z.flatten(0, 1)
        edges = as_one_graph(batch[EDGES], z.shape[1])
        (source, target), weight = gcn_norm(edges, None, len(rows), dtype=z.dtype)
        out = torch.zeros_like(rows).index_add(0, target, rows[source] * weight[:, None])
        return out.view_as(z)


def has_edges(example: Example) -> bool:
    return any(extra.name == EDGES for extra in example.extras)
