"""Graph convolutions: each layer mixes the features of a node with those of its neighbours.

All of them take the same options: `hidden` widths of the hidden layers, `activation` after each, `dropout` in [0, 1)
before each layer and `norm` (none, batch, layer) before each activation. If there is a target at every node the last
layer gives the outputs there, without norm and activation; else `readout` (sum, mean, max, attention) makes one vector
of a graph, and linear layers with hidden widths `head` the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.graph.layers import Convolution, options, output_of_graph, shapes
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import vector_norm

Make = Callable[[int, int, bool], Any]  # of widths in and out; whether it gives the outputs of the net


def _net(
    make: Make,
    n_in: int,
    n_outputs: int,
    per_node: bool,
    hidden: list[int],
    activation: str,
    dropout: float,
    norm: str,
    readout: str,
    head: list[int],
) -> Iterator[nn.Module]:
    options(norm, activation, readout, head)
    for a, b in pairwise([n_in, *hidden]):
        yield Convolution(make(a, b, False), dropout, vector_norm(norm, b), activation_layer(activation))
    width = hidden[-1] if hidden else n_in
    if per_node:
        yield Convolution(make(width, n_outputs, True), dropout, None, nn.Identity())
    else:
        yield output_of_graph(readout, width, head, n_outputs, activation, dropout)


@register_model("gcn", family="graph")
def gcn(
    in_shape: tuple[int, ...],
    n_outputs: int,
    out_positions: int | None = None,
    hidden: list[int] = [16],  # noqa: B006  (read, never changed)
    activation: str = "relu",
    dropout: float = 0.5,
    norm: str = "none",
    readout: str = "mean",
    head: list[int] = [],  # noqa: B006
) -> Iterator[nn.Module]:
    """Graph convolutional network: H_k = phi(A' dropout(H_{k-1}) W_k + b_k) (Kipf and Welling 2017, equation 2).

    A' = D^-1/2 (A + I) D^-1/2, with the degrees D of A + I, and in A the weights of edges if they have some. The last
    layer has no phi: its outputs are logits. Thomas Kipf and Max Welling 2017, "Semi-Supervised Classification with
    Graph Convolutional Networks", arXiv:1609.02907.

    Shapes: `(batch, nodes, features)` to `(batch, nodes, n_outputs)`, or `(batch, n_outputs)` by a readout; one block
    per layer.

    Options: `hidden` widths of the hidden layers; `activation` as of mlp; `dropout` in [0, 1), before each layer;
    `norm` none, batch or layer; `readout` sum, mean, max or attention, and hidden widths `head` after it, if there is
    one target per graph.
    """
    _check("gcn", in_shape, n_outputs, hidden, dropout)

    def layer(n_in: int, n_out: int, last: bool) -> Any:
        from torch_geometric.nn import GCNConv  # seconds of imports

        return GCNConv(n_in, n_out)

    rest = (hidden, activation, dropout, norm, readout, head)
    yield from _net(layer, in_shape[1], n_outputs, out_positions is not None, *rest)


@register_model("gat", family="graph")
def gat(
    in_shape: tuple[int, ...],
    n_outputs: int,
    out_positions: int | None = None,
    hidden: list[int] = [64],  # noqa: B006
    heads: int = 8,
    out_heads: int = 1,
    activation: str = "elu",
    dropout: float = 0.6,
    norm: str = "none",
    readout: str = "mean",
    head: list[int] = [],  # noqa: B006
) -> Iterator[nn.Module]:
    """Graph attention network: each head weighs the neighbours of a node by softmax_u(LeakyReLU(a^T [W h_v, W h_u])).

    Hidden layers concatenate their heads, the last one averages `out_heads` of them. Petar Velickovic et al. 2018,
    "Graph Attention Networks", arXiv:1710.10903, equations 3 to 6. A run's figures show the weights.

    Shapes: as of gcn, and so the other options; `hidden` is divided among the `heads`, and
    `dropout` acts on the weights too.
    """
    _check("gat", in_shape, n_outputs, hidden, dropout)
    for name, value in (("heads", heads), ("out_heads", out_heads)):
        checks.whole(name, value)
    for width in hidden:
        if width % heads:
            raise ValueError(f"model.hidden: {width} does not divide among {heads} heads")

    def layer(n_in: int, n_out: int, last: bool) -> Any:
        from torch_geometric.nn import GATConv

        if last:
            return GATConv(n_in, n_out, out_heads, concat=False, dropout=dropout)
        return GATConv(n_in, n_out // heads, heads, dropout=dropout)

    rest = (hidden, activation, dropout, norm, readout, head)
    yield from _net(layer, in_shape[1], n_outputs, out_positions is not None, *rest)


@register_model("sage", family="graph")
def sage(
    in_shape: tuple[int, ...],
    n_outputs: int,
    out_positions: int | None = None,
    hidden: list[int] = [64],  # noqa: B006
    aggregate: str = "mean",
    activation: str = "relu",
    dropout: float = 0.5,
    norm: str = "none",
    readout: str = "mean",
    head: list[int] = [],  # noqa: B006
) -> Iterator[nn.Module]:
    """GraphSAGE: h_v' = phi(W_1 h_v + W_2 aggregate over the neighbours u of h_u).

    William Hamilton, Rex Ying and Jure Leskovec 2017, "Inductive Representation Learning on Large Graphs",
    arXiv:1706.02216, algorithm 1; on neighbours that every minibatch draws, if the data draws them.

    Shapes: as of gcn, and so the other options; `aggregate` is mean, max or sum.
    """
    _check("sage", in_shape, n_outputs, hidden, dropout)
    checks.pick(dict.fromkeys(("mean", "max", "sum")), "aggregate", aggregate)

    def layer(n_in: int, n_out: int, last: bool) -> Any:
        from torch_geometric.nn import SAGEConv

        return SAGEConv(n_in, n_out, aggr=aggregate)

    rest = (hidden, activation, dropout, norm, readout, head)
    yield from _net(layer, in_shape[1], n_outputs, out_positions is not None, *rest)


@register_model("gin", family="graph")
def gin(
    in_shape: tuple[int, ...],
    n_outputs: int,
    out_positions: int | None = None,
    hidden: list[int] = [32, 32, 32],  # noqa: B006
    inner: int = 1,
    activation: str = "relu",
    dropout: float = 0.0,
    norm: str = "batch",
    readout: str = "sum",
    head: list[int] = [],  # noqa: B006
) -> Iterator[nn.Module]:
    """Graph isomorphism network: h_v' = phi(MLP((1 + eps) h_v + sum over the neighbours u of h_u)), eps learned.

    As able to tell graphs apart as the Weisfeiler-Lehman test. Keyulu Xu et al. 2019, "How Powerful are Graph Neural
    Networks?", arXiv:1810.00826, equation 4.1. The readout is of the last layer alone, not of all as theirs.

    Shapes: as of gcn, and so the other options; the MLP has `inner` hidden layers, as wide as its output.
    """
    _check("gin", in_shape, n_outputs, hidden, dropout)
    checks.whole("inner", inner, least=0)

    def layer(n_in: int, n_out: int, last: bool) -> Any:
        from torch_geometric.nn import GINConv

        layers: list[nn.Module] = []
        for _ in range(inner):
            inside = vector_norm(norm, n_out)
            layers += [nn.Linear(n_in, n_out), *([inside] if inside is not None else []), activation_layer(activation)]
            n_in = n_out
        return GINConv(nn.Sequential(*layers, nn.Linear(n_in, n_out)), train_eps=True)

    rest = (hidden, activation, dropout, norm, readout, head)
    yield from _net(layer, in_shape[1], n_outputs, out_positions is not None, *rest)


def _check(model: str, in_shape: tuple[int, ...], n_outputs: int, hidden: list[int], dropout: float) -> None:
    shapes(model, in_shape, n_outputs)
    checks.sizes("hidden", hidden)
    checks.fraction("dropout", dropout)
