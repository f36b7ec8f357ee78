"""Deep Sets: a network of a set, that is of nodes without edges."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model
from unlocked_models.graph.layers import EachNode, options, output_of_graph, shapes
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import sequence, vector_norm


@register_model("deepsets", family="graph")
def deepsets(
    in_shape: tuple[int, ...],
    n_outputs: int,
    out_positions: int | None = None,
    hidden: list[int] = [64, 64],  # noqa: B006  (read, never changed)
    activation: str = "relu",
    dropout: float = 0.0,
    norm: str = "none",
    readout: str = "sum",
    head: list[int] = [64],  # noqa: B006
) -> Iterator[nn.Module]:
    """rho(sum over the elements x of a set of phi(x)): any function of a set, in whatever order it comes.

    Manzil Zaheer et al. 2017, "Deep Sets", arXiv:1703.06114, theorem 2. On graphs it is what a network can know without
    the edges.

    Shapes: `(batch, elements, features)` to `(batch, n_outputs)`; one block per layer of phi, one for the rest.

    Options: `hidden` widths of phi; `readout` sum, mean, max or attention; `head` hidden widths of rho; `activation`,
    `norm` (none, batch, layer) in phi; `dropout` in [0, 1), before each layer of rho.
    """
    shapes("deepsets", in_shape, n_outputs)
    checks.sizes("hidden", hidden)
    checks.fraction("dropout", dropout)
    if out_positions is not None:
        raise ValueError(
            "model.name: deepsets gives one output for a whole set; the data has a target at every element"
        )
    options(norm, activation, readout, head)
    for a, b in pairwise([in_shape[1], *hidden]):
        yield EachNode(sequence(nn.Linear(a, b), vector_norm(norm, b), activation_layer(activation)))
    yield output_of_graph(readout, hidden[-1] if hidden else in_shape[1], head, n_outputs, activation, dropout)
