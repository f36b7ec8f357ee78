"""Recursive networks over trees: the state of a node is made of its own features and the states of its children.

An example is a tree as a graph: `h (batch, nodes, features)` and its edges. Of the two nodes of an edge the later one
is the child, so node 0 is the root and children come after their parent. A layer gives all states, so that layers can
be stacked; the recursion is inside of one block, whose weights all nodes share.

Recursive net (Goller and Kuechler 1996; Socher et al. 2011), for any number of children:

    h_j = tanh(W x_j + U sum_k h_k + b)

Child-Sum tree-LSTM (Tai, Socher and Manning 2015, arXiv:1503.00075, equations 2 to 8), k the children of j:

    h~ = sum_k h_k                               i, o = sigma(W x_j + U h~ + b),  u = tanh(W x_j + U h~ + b)
    f_jk = sigma(W_f x_j + U_f h_k + b_f)        c_j = i u + sum_k f_jk c_k,      h_j = o tanh(c_j)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.graph.edges import as_one
from unlocked_models.graph.layers import READOUTS, output_of_graph, shapes


def heights(child: Tensor, parent: Tensor, nodes: int) -> Tensor:
    """`(nodes,)`: 0 of leaves, else one more than that of the highest child; of edges from `child` to `parent`, each
    with the child later."""
    found = torch.zeros(nodes, dtype=torch.long, device=child.device)
    while True:
        higher = found.scatter_reduce(0, parent, found[child] + 1, "amax")
        if torch.equal(higher, found):
            return found
        found = higher


class TreeLayer(nn.Module, ABC):
    """`(batch, nodes, features)` to the states of all nodes `(batch, nodes, width)`, from the leaves up, all nodes of
    one height at once."""

    feedback_point = True

    def __init__(self, n_in: int, width: int, dropout: float):
        super().__init__()
        self.width, self.dropout = width, nn.Dropout(dropout)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        trees = as_one(batch, h)
        rows, (source, target) = trees.rows(h), trees.edges
        down = source > target  # each edge once, from the child to its parent
        child, parent = source[down], target[down]
        height = heights(child, parent, len(rows))
        driven, state = self.begin(self.dropout(rows)), rows.new_zeros(len(rows), self.size)
        for level in range(int(height.max()) + 1 if len(rows) else 0):
            here = (height == level).nonzero().flatten()
            into = (height[parent] == level).nonzero().flatten()
            places = torch.searchsorted(here, parent[into])  # of the parents, among the nodes of this height
            found = self.step(driven[here], state[child[into]], places)
            state = state.index_copy(0, here, found.to(state.dtype))  # under autocast products are short, states not
        return trees.back(state[:, : self.width])

    @property
    @abstractmethod
    def size(self) -> int:
        """Numbers of a node's state, of which the first `width` are h."""

    @abstractmethod
    def begin(self, x: Tensor) -> Tensor:
        """What the features `(rows, features)` of all nodes say, whatever their children."""

    @abstractmethod
    def step(self, driven: Tensor, below: Tensor, parent: Tensor) -> Tensor:
        """States `(nodes, size)` of nodes whose children's are `below (children, size)`, each of node `parent`."""


class SumLayer(TreeLayer):
    """The recursive net."""

    def __init__(self, n_in: int, width: int, dropout: float):
        super().__init__(n_in, width, dropout)
        self.features, self.of_children = nn.Linear(n_in, width), nn.Linear(width, width, bias=False)

    @property
    def size(self) -> int:
        return self.width

    def begin(self, x: Tensor) -> Tensor:
        out: Tensor = self.features(x)
        return out

    def step(self, driven: Tensor, below: Tensor, parent: Tensor) -> Tensor:
        return (driven.index_add(0, parent, self.of_children(below))).tanh()


class TreeLSTM(TreeLayer):
    """Child-Sum; the forget gates' bias starts at 1."""

    def __init__(self, n_in: int, width: int, dropout: float):
        super().__init__(n_in, width, dropout)
        self.features = nn.Linear(n_in, 4 * width)  # i, o, u, f
        self.of_children = nn.Linear(width, 3 * width, bias=False)  # i, o, u
        self.forget = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.features.bias[3 * width :] = 1.0

    @property
    def size(self) -> int:
        return 2 * self.width

    def begin(self, x: Tensor) -> Tensor:
        out: Tensor = self.features(x)
        return out

    def step(self, driven: Tensor, below: Tensor, parent: Tensor) -> Tensor:
        h, c = below.split(self.width, 1)
        gates, drive = driven.split([3 * self.width, self.width], 1)
        total = h.new_zeros(len(driven), self.width).index_add(0, parent, h)
        i, o, u = (gates + self.of_children(total)).chunk(3, 1)
        f = (drive[parent] + self.forget(h)).sigmoid()
        c = (i.sigmoid() * u.tanh()).to(c.dtype).index_add(0, parent, f * c)
        return torch.cat([o.sigmoid() * c.tanh(), c], 1)


class Root(nn.Module):
    """The output of the root's state, or of the first of a filled row."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.head(h[:, 0])
        return out


@register_model("tree_lstm", family="recursive")
def tree_lstm(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64],  # noqa: B006  (read, never changed)
    dropout: float = 0.0,
    readout: str = "root",
    out_positions: int | None = None,
) -> Iterator[nn.Module]:
    """Child-Sum tree-LSTM (Tai et al. 2015, arXiv:1503.00075), layer upon layer.

    Shapes: trees `(batch, nodes, features)` with their edges to `(batch, n_outputs)`. A block per layer, and the head.

    Options: `hidden` widths of the layers; `dropout` in [0, 1), before each; `readout` root, or sum, mean, max or
    attention over all nodes.
    """
    yield from _stack("tree_lstm", TreeLSTM, in_shape, n_outputs, hidden, dropout, readout, out_positions)


@register_model("recursive", family="recursive")
def recursive(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64],  # noqa: B006
    dropout: float = 0.0,
    readout: str = "root",
    out_positions: int | None = None,
) -> Iterator[nn.Module]:
    """Recursive network over trees (Goller and Kuechler 1996; Socher et al. 2011).

    Shapes: as of `tree_lstm`, and so are its options.
    """
    yield from _stack("recursive", SumLayer, in_shape, n_outputs, hidden, dropout, readout, out_positions)


def _stack(
    name: str,
    kind: type[TreeLayer],
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int],
    dropout: float,
    readout: str,
    out_positions: int | None,
) -> Iterator[nn.Module]:
    shapes(name, in_shape, n_outputs)
    checks.sizes("hidden", hidden, least_many=1)
    checks.fraction("dropout", dropout)
    checks.pick(dict.fromkeys(("root", *READOUTS)), "readout", readout)
    if out_positions is not None:
        raise ValueError(f"model.name: {name} gives one output for a whole tree; the data has a target at every node")
    n_in = in_shape[1]
    for width in hidden:
        yield kind(n_in, width, dropout)
        n_in = width
    if readout == "root":
        yield Root(nn.Linear(n_in, n_outputs))
    else:
        yield output_of_graph(readout, n_in, [], n_outputs, "relu", 0.0)
