"""Deep belief nets (Hinton, Osindero and Teh 2006, "A Fast Learning Algorithm for Deep Belief Nets"): a stack of
restricted Boltzmann machines, of which the top one also has a unit for every class among its visible ones.

    p(y | h) proportional to exp(-F(h, y)),    -F(h, y) = a.h + d_y + sum_i softplus(c_i + W_i.h + U_iy)

The top machine gives these as logits (Larochelle and Bengio 2008, eq. 2), so the stack is an ordinary chain of sigmoid
layers with a classifier at its end, and any scheme that trains an mlp fine-tunes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.boltzmann.restricted import RBM
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model


@register_model("dbn", family="boltzmann", also=("mlp",))
def dbn(in_shape: tuple[int, ...], n_outputs: int, hidden: list[int] = [64, 64]) -> Iterator[nn.Module]:  # noqa: B006
    """Deep belief net with label units: one block per machine, of `hidden` units each.

    Shapes: `(batch, *in_shape)` in [0, 1], flattened, to the logits of `n_outputs` classes. Pre-train it by cd or pcd
    (`pretrain.scheme`), fine-tune it under any scheme, or train it by cd and have it draw examples of a class.

    >>> [tuple(block.weight.shape) for block in dbn((1, 8, 8), 10)]
    [(64, 64), (64, 74)]
    """
    checks.sizes("hidden", hidden, 1)
    widths = [math.prod(in_shape), *hidden]
    for visible, units in pairwise(widths[:-1]):
        yield RBM(visible, units)
    yield LabelRBM(widths[-2], n_outputs, widths[-1])


class LabelRBM(RBM):
    """Visible units are the input and, as one unit of several states, the label: `(batch, inputs + classes)`."""

    def __init__(self, inputs: int, classes: int, hidden: int):
        super().__init__(inputs + classes, hidden)
        self.inputs, self.classes = inputs, classes

    def forward(self, x: Tensor) -> Tensor:
        h, U = x.flatten(1), self.weight[:, self.inputs :]
        fields = F.linear(h, self.weight[:, : self.inputs], self.bias)  # (batch, hidden)
        with_label = fields[:, None] + U.t()  # (batch, classes, hidden)
        return self.visible_bias[self.inputs :] + F.softplus(with_label).sum(2)

    def visible(self, x: Tensor, batch: Batch | None = None) -> Tensor:
        assert batch is not None
        return torch.cat([x.flatten(1), F.one_hot(batch.y, self.classes).to(x.dtype)], 1)

    def visible_sum(self, fields: Tensor) -> Tensor:
        return F.softplus(fields[..., : self.inputs]).sum(-1) + torch.logsumexp(fields[..., self.inputs :], -1)

    def visible_mean(self, fields: Tensor) -> Tensor:
        units, label = fields[..., : self.inputs], fields[..., self.inputs :]
        return torch.cat([torch.sigmoid(units), label.softmax(-1)], -1)

    def draw_visible(self, fields: Tensor, generator: torch.Generator | None = None) -> Tensor:
        means = self.visible_mean(fields)
        units = torch.bernoulli(means[:, : self.inputs], generator=generator)
        label = torch.multinomial(means[:, self.inputs :], 1, generator=generator).squeeze(1)
        return torch.cat([units, F.one_hot(label, self.classes).to(units.dtype)], 1)

    def gibbs_given(self, label: Tensor, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """As `gibbs`, with the label `(batch,)` clamped."""
        clamped = torch.cat([state[:, : self.inputs], F.one_hot(label, self.classes).to(state.dtype)], 1)
        units = self.gibbs(clamped, generator)[:, : self.inputs]
        return torch.cat([units, clamped[:, self.inputs :]], 1)
