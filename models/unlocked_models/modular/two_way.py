"""A net of two views of one thing, such as the halves of a picture: from each it draws the other.

    code_k = f_k(x_k)                     an encoder for each view, k = 1, 2
    code^_1 = A_1(code_2),  code^_2 = A_2(code_1)        the association, both ways
    x^_k = g_k(code^_k)                   a decoder for each view

Every view's encoder and decoder are the blocks of an `autoencoder`, side by side with those of the other view. So they
can be trained apart, each on its own view, with no pair ever seen, and be joined (`transfer.parts`); then the
association alone learns from pairs. Of an output each half depends on the other half of the input alone, so the input
is the target: task `cross_reconstruction`.

An association of linear maps is a linear associator (Kohonen 1972), and least squares find the best one at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.autoencoder.plain import autoencoder
from unlocked_models.contract import checks
from unlocked_models.contract.registry import one_by_one, register_model
from unlocked_models.layers.activations import ACTIVATIONS
from unlocked_models.layers.activations import activation as activation_layer
from unlocked_models.layers.basic import sequence

BEGINS = ("drawn", "least_squares")


class Beside(nn.Module):
    """Two blocks side by side: the last axis is cut before feature `cut`, and their outputs are put together again.

    `views`, of the block that sees the input: how many features of its last axis are of each view.
    """

    def __init__(self, first: nn.Module, second: nn.Module, cut: int, views: tuple[int, int] | None = None):
        super().__init__()
        self.first, self.second, self.cut, self.views = first, second, cut, views

    def forward(self, h: Tensor) -> Tensor:
        one, other = h.tensor_split([self.cut], -1)
        return torch.cat([self.first(one), self.second(other)], -1)


class Association(nn.Module):
    """`[code_1, code_2] (batch, 2 code)` to `[A_1(code_2), A_2(code_1)]`: each code as the other one calls it up."""

    feedback_point = True

    def __init__(self, code: int, inner: list[int], activation: str):
        super().__init__()
        self.to_first, self.to_second = (_layers([code, *inner, code], activation) for _ in range(2))

    def forward(self, h: Tensor) -> Tensor:
        one, other = h.chunk(2, -1)
        return torch.cat([self.to_first(other), self.to_second(one)], -1)


class FittedAssociation(Association):
    """One of linear maps, which begins with those of least squares on the codes of the training pairs."""

    def __init__(self, code: int):
        super().__init__(code, [], "relu")

    @torch.no_grad()
    def begin_from(self, h: Tensor, seed: int) -> None:
        """Given the codes of all training pairs, `(n, 2 code)`; of as good maps the one of the least norm."""
        one, other = h.double().chunk(2, -1)
        for maps, given, wanted in ((self.to_first, other, one), (self.to_second, one, other)):
            (linear,) = maps
            assert isinstance(linear, nn.Linear)
            known = torch.cat([given, torch.ones_like(given[:, :1])], 1)
            found = torch.linalg.lstsq(known, wanted, driver="gelsd").solution  # (code + 1, code)
            linear.weight.copy_(found[:-1].T)
            linear.bias.copy_(found[-1])


def _layers(widths: list[int], activation: str) -> nn.Sequential:
    layers: list[nn.Module | None] = []
    for k in range(len(widths) - 1):
        layers += [activation_layer(activation) if k else None, nn.Linear(widths[k], widths[k + 1])]
    return sequence(*layers)


@register_model("two_way", family="modular", parts=("first", "second"))
def two_way(
    in_shape: tuple[int, ...],
    n_outputs: int,
    first: int = 0,
    hidden: list[int] = [96],  # noqa: B006  (read, never changed)
    code: int = 8,
    activation: str = "relu",
    output: str = "linear",
    inner: list[int] = [64],  # noqa: B006
    begin: str = "drawn",
) -> Iterator[nn.Module]:
    """Two views, each drawn from the other: two autoencoders side by side, and an association between their codes.

    Shapes: `(batch, *in_shape)`, whose last axis holds one view and then the other, to the same shape. One block for
    each layer of the encoders, one for the association, one for each layer of the decoders. `n_outputs` is not used.

    Options: `first`, how much of the last axis is the first view (0: half of it); `hidden`, `code`, `activation` and
    `output` of both autoencoders, as for `autoencoder`; `inner` hidden layers of the association, `[]` for linear maps;
    `begin` drawn, or least_squares: linear maps that begin as the best ones for the codes of the training pairs.

    Its parts `first` and `second` can each begin as a run of `autoencoder` on its view: `transfer.parts`.

    >>> len(two_way((1, 8, 8), 10, hidden=[32], code=8))
    5
    """
    if in_shape[-1] < 2:
        raise ValueError(f"model.name: two_way cuts the last axis of its input in two, and {in_shape} has one feature")
    checks.whole("first", first, least=0)
    size = first or in_shape[-1] // 2
    if size >= in_shape[-1]:
        raise ValueError(f"model.first: {size} leaves nothing of {in_shape} to the second view")
    checks.sizes("hidden", hidden)
    checks.whole("code", code)
    checks.sizes("inner", inner)
    checks.pick(ACTIVATIONS, "activation", activation)
    checks.pick(dict.fromkeys(BEGINS), "begin", begin)
    if begin == "least_squares" and inner:
        raise ValueError(f"model.begin: least_squares fits linear maps; set model.inner=[], not {inner}")
    make = one_by_one(autoencoder)
    one, other = (
        make((*in_shape[:-1], width), n_outputs, hidden=hidden, code=code, activation=activation, output=output)
        for width in (size, in_shape[-1] - size)
    )
    cuts = [size, *hidden, code, *reversed(hidden)]
    for k, cut in enumerate(cuts):
        if k == len(hidden) + 1:
            yield FittedAssociation(code) if begin == "least_squares" else Association(code, inner, activation)
        yield Beside(next(one), next(other), cut, None if k else (size, in_shape[-1] - size))
