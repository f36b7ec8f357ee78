"""Nets whose wiring evolves: a graph of units that grows, a picture or a policy by itself, or a CPPN that paints the
weights of another net.

    Stanley & Miikkulainen 2002, "Evolving Neural Networks through Augmenting Topologies" (NEAT)
    Stanley 2007, "Compositional Pattern Producing Networks" (CPPN)
    Stanley, D'Ambrosio & Gauci 2009, "A Hypercube-Based Encoding for Evolving Large-Scale Neural Networks" (HyperNEAT)

A block with `grows` is written by a strategy, and its arrays have one size however many units are in use: its weights
are saved, loaded and evaluated as those of any net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model

UNITS: dict[str, Callable[[Tensor], Tensor]] = {
    "steep": lambda a: torch.sigmoid(4.9 * a),  # NEAT's sigmoid
    "tanh": torch.tanh,
    "linear": lambda a: a,
    "relu": torch.relu,
    "gaussian": lambda a: torch.exp(-a * a),
    "sine": lambda a: torch.sin(math.pi * a),
    "abs": torch.abs,
}
KINDS = list(UNITS)


class GrownNet(nn.Module):
    """v_j = phi_j(sum_i v_i W_ij) for units in their order: inputs, a constant 1, hidden units, outputs.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, outputs)`. `links (nodes, nodes)` says which weights there are:
    none before the diagonal, so a unit sees only those before it. `kinds (nodes,)` are places in `KINDS`. Without any
    hidden unit every output sees every input, with weight 0, until a strategy writes it.
    """

    grows = True
    links: Tensor
    kinds: Tensor

    def __init__(self, n_in: int, n_out: int, hidden: int, output: str):
        super().__init__()
        self.n_in, self.n_out, self.room = n_in, n_out, hidden
        nodes = n_in + 1 + hidden + n_out
        self.weight = nn.Parameter(torch.zeros(nodes, nodes))
        links = torch.zeros(nodes, nodes, dtype=torch.bool)
        links[: n_in + 1, nodes - n_out :] = True
        kinds = torch.full((nodes,), KINDS.index("linear"))
        kinds[nodes - n_out :] = KINDS.index(output)
        self.register_buffer("links", links)
        self.register_buffer("kinds", kinds)

    @property
    def graph(self) -> GrownNet:
        """The units that a strategy writes."""
        return self

    def express(self) -> None:
        """After it was written."""

    def forward(self, h: Tensor) -> Tensor:
        h = h.flatten(1)
        nodes = len(self.kinds)
        v = [*h.unbind(1), torch.ones_like(h[:, 0])]
        v += [torch.zeros_like(h[:, 0])] * (nodes - len(v))
        for j in range(self.n_in + 1, nodes):
            sources = self.links[:j, j].nonzero()[:, 0].tolist()
            if sources or j >= nodes - self.n_out:
                a = sum((v[i] * self.weight[i, j] for i in sources), torch.zeros_like(v[0]))
                v[j] = UNITS[KINDS[int(self.kinds[j])]](a)
        return torch.stack(v[nodes - self.n_out :], 1)


class Painted(nn.Module):
    """A net of fully connected layers whose weights a CPPN paints (HyperNEAT).

    Every unit has a place in the plane, those of a layer side by side and the layers above each other. The weight from
    (x1, y1) to (x2, y2) is w(x1, y1, x2, y2), left out if |w| is at most `threshold`, else brought to +-`reach` as w
    goes to +-1; the CPPN's second output paints biases. Shapes: `(batch, *in_shape)`, flattened, to `(batch, outputs)`.
    """

    grows = True

    def __init__(self, sizes: Sequence[int], hidden: int, threshold: float, reach: float, activation: str):
        super().__init__()
        self.painter = GrownNet(4, 2, hidden, "tanh")
        self.threshold, self.reach, self.activation = threshold, reach, activation
        self._places = [_row(n, k, len(sizes)) for k, n in enumerate(sizes)]
        for k, (n, m) in enumerate(pairwise(sizes)):
            self.register_buffer(f"weight_{k}", torch.zeros(m, n))
            self.register_buffer(f"bias_{k}", torch.zeros(m))
        self._layers = len(sizes) - 1

    @property
    def graph(self) -> GrownNet:
        return self.painter

    def express(self) -> None:
        with torch.no_grad():
            for k in range(self._layers):
                one, other = self._places[k], self._places[k + 1]
                pairs = torch.cat([one.repeat(len(other), 1), other.repeat_interleave(len(one), 0)], 1)
                weight, bias = getattr(self, f"weight_{k}"), getattr(self, f"bias_{k}")
                weight.copy_(self._strength(self.painter(pairs.to(weight))[:, 0]).view_as(weight))
                alone = torch.cat([torch.zeros_like(other), other], 1)
                bias.copy_(self._strength(self.painter(alone.to(bias))[:, 1]))

    def _strength(self, w: Tensor) -> Tensor:
        beyond = (w.abs() - self.threshold).clamp(min=0) / (1 - self.threshold)
        return w.sign() * beyond * self.reach

    def forward(self, h: Tensor) -> Tensor:
        h = h.flatten(1)
        for k in range(self._layers):
            h = nn.functional.linear(h, getattr(self, f"weight_{k}"), getattr(self, f"bias_{k}"))
            if k < self._layers - 1:
                h = UNITS[self.activation](h)
        return h


def _row(n: int, k: int, layers: int) -> Tensor:
    """`(n, 2)`: places of the units of layer k, within -1 and 1."""
    x = torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
    return torch.stack([x, torch.full((n,), 2 * k / (layers - 1) - 1)], 1)


@register_model("grown", family="evolved", pictured=True)
def grown(in_shape: tuple[int, ...], n_outputs: int, hidden: int = 16, output: str = "linear") -> Iterator[nn.Module]:
    """A net whose units and connections evolve by NEAT, from none but those of every input to every output.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`; one block.

    Options: `hidden` units that it may grow to; `output` of the output units: linear, tanh, steep (NEAT's sigmoid),
    relu, gaussian, sine or abs.

    >>> [block.links.sum().item() for block in grown((2,), 1)]
    [3]
    """
    checks.outputs("grown", n_outputs)
    checks.whole("hidden", hidden)
    checks.pick(UNITS, "output", output)
    yield GrownNet(math.prod(in_shape), n_outputs, hidden, output)


@register_model("hyperneat", family="evolved", pictured=True)
def hyperneat(
    in_shape: tuple[int, ...],
    n_outputs: int,
    layers: list[int] = [8],  # noqa: B006  (read, never changed)
    hidden: int = 16,
    threshold: float = 0.2,
    reach: float = 3.0,
    activation: str = "tanh",
) -> Iterator[nn.Module]:
    """A net of fully connected layers whose weights are painted by a CPPN, which evolves by NEAT.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`; one block.

    Options: `layers`, widths of the hidden layers of the painted net; `hidden` units that the CPPN may grow to;
    `threshold` below which a connection is left out; `reach`, the largest weight; `activation` of the painted net.

    >>> [tuple(block.weight_0.shape) for block in hyperneat((4,), 2)]
    [(8, 4)]
    """
    checks.outputs("hyperneat", n_outputs)
    checks.sizes("layers", layers)
    checks.whole("hidden", hidden)
    checks.fraction("threshold", threshold)
    checks.positive("reach", reach)
    checks.pick(UNITS, "activation", activation)
    yield Painted([math.prod(in_shape), *layers, n_outputs], hidden, threshold, reach, activation)
