"""Message passing over edges that have features: neural message passing for molecules."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.graph.edges import as_one
from unlocked_models.graph.layers import EachNode, options, output_of_graph, shapes
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import sequence, vector_norm


@register_model("mpnn", family="graph")
def mpnn(
    in_shape: tuple[int, ...],
    n_outputs: int,
    out_positions: int | None = None,
    edge_features: int | None = None,
    width: int = 32,
    depth: int = 3,
    edge_hidden: list[int] = [],  # noqa: B006  (read, never changed)
    activation: str = "relu",
    dropout: float = 0.0,
    norm: str = "none",
    readout: str = "sum",
    head: list[int] = [],  # noqa: B006
) -> Iterator[nn.Module]:
    """Message-passing network whose messages go by the features of their edge.

    m_v = sum over the edges (u, v) of A(e_uv) h_u,    h_v' = GRU(m_v, h_v)

    A is a network of the edge's features `batch["edge_attr"]`, with hidden layers `edge_hidden`, that gives a matrix.
    Justin Gilmer et al. 2017, "Neural Message Passing for Quantum Chemistry", arXiv:1704.01212, section 5; their layers
    share weights, ours do not, as each block is to be cut from the next. Without features all edges are alike.

    Shapes: as of gcn; a linear layer of each node, `depth` blocks of `width` features, and the outputs of each node or,
    by `readout` (sum, mean, max, attention) and a `head` of hidden layers, of each graph. `dropout` in [0, 1) before
    the outputs, `norm` (none, batch, layer) after each block.
    """
    shapes("mpnn", in_shape, n_outputs)
    checks.whole("width", width)
    checks.whole("depth", depth)
    checks.sizes("edge_hidden", edge_hidden)
    checks.fraction("dropout", dropout)
    options(norm, activation, readout, head)
    yield EachNode(sequence(nn.Linear(in_shape[1], width), activation_layer(activation)))
    for _ in range(depth):
        yield MessagePassing(width, edge_features, edge_hidden, activation, vector_norm(norm, width))
    if out_positions is not None:
        yield EachNode(sequence(nn.Dropout(dropout), nn.Linear(width, n_outputs)))
    else:
        yield output_of_graph(readout, width, head, n_outputs, activation, dropout)


class MessagePassing(nn.Module):
    """One step: messages along the edges, then a gated recurrent unit at every node."""

    def __init__(
        self, width: int, edge_features: int | None, hidden: list[int], activation: str, norm: nn.Module | None
    ):
        super().__init__()
        from torch_geometric.nn import NNConv

        widths, layers = [edge_features or 1, *hidden, width * width], []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), activation_layer(activation)]
        # messages are of size 1 for h of size 1, however wide
        nn.init.normal_(layers[-2].weight, std=(widths[-2] * width) ** -0.5)  # type: ignore[arg-type]
        self.messages = NNConv(width, width, sequence(*layers[:-1]), aggr="add", root_weight=False)
        self.gate, self.norm, self._features = nn.GRUCell(width, width), norm, edge_features is not None

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        graphs = as_one(batch, h)
        rows = graphs.rows(h)
        if self._features:
            features = graphs.features
        else:
            features = torch.ones(graphs.edges.shape[1], 1, dtype=h.dtype, device=h.device)
        rows = self.gate(self.messages(rows, graphs.edges, features), rows)
        return graphs.back(rows if self.norm is None else self.norm(rows))
