"""Contrastive learning: two views of one image are told from the views of all others of the minibatch.

The loss is NT-Xent (Chen et al. 2020, arXiv:2002.05709, equation 1): of views z_1 ... z_2B of B images, of which i and
j are of one,

    l(i, j) = -log( exp(s_ij / tau) / sum_{k != i} exp(s_ik / tau) ),    s_ik the cosine of z_i and z_k

and its mean over all 2B ordered pairs; or, by the distance D = |z_i - z_j| of pairs (Hadsell et al. 2006, equation 4),

    l(i, j) = D^2 / 2  of two views of one image,    max(0, m - D)^2 / 2  of views of two,

of each kind the mean, so that the few pairs of one image weigh as much as all others. Every example is a negative of
every other, so the examples of a minibatch are coupled: no part of it has a loss of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.tasks.base import Rows, Task, register_task
from unlocked.tasks.probing import FEW, Probed, draw_representation
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown

CHUNK = 128  # examples that evaluations compare: how hard that is goes by their number


@register_task("contrastive")
class Contrastive(Probed, Task):
    """Outputs are `(batch, 2, features)`, of two views of each image, which `data.transforms=[views]` makes; labels are
    not looked at.

    `loss` is nt_xent, with tau the `temperature`, or pairwise, with m the `margin`. `nearest` is the share of views
    whose nearest of 255 others is the other view of their image. `probe` and `probe_few` are accuracies of logistic
    regression on the representation, the input of the last block, of images without changes: with the labels of all
    training examples, and with `few` of each class; both only if the data has classes.

    cdni's M is given the other view's h: there is no label, and the gradient of a view depends on its partner first.
    """

    monitor = "loss"
    higher_is_better = False
    also = ("nearest", "probe", "probe_few")
    couples = True

    def __init__(self, temperature: float = 0.5, few: int = FEW, loss: str = "nt_xent", margin: float = 1.0):
        if loss not in LOSSES:
            raise ConfigError(f"objective.loss: {unknown('loss', loss, list(LOSSES))}")
        for name, value in (("temperature", temperature), ("margin", margin)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"objective.{name}: must be above 0, got {value}")
        Probed.__init__(self, few)
        self._of, self._near = LOSSES[loss]
        self._scale = temperature if loss == "nt_xent" else margin

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if len(example.in_shape) == 4 and example.in_shape[0] == 2:
            return None
        return "its examples are no two views of an image; data.transforms=[views] makes them"

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (2, example.n_outputs)

    def takes_output(self, shape: tuple[int, ...], example: Example) -> bool:
        """Of any number of features."""
        return len(shape) == 2 and shape[0] == 2

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self._of(output, self._scale)

    def terms(self, example: Example) -> int:
        return 2

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        """Over chunks of `CHUNK` examples, the last of which may be smaller."""
        chunks = kept.double().split(CHUNK)
        if len(chunks) > 1 and len(chunks[-1]) == 1:  # an example alone has nothing to be told from
            chunks = chunks[:-1]
        total = sum(len(chunk) for chunk in chunks)
        losses = [float(self._of(chunk, self._scale)) * len(chunk) for chunk in chunks]
        right = [float(is_nearest(chunk, self._near).double().mean()) * len(chunk) for chunk in chunks]
        return {"loss": sum(losses) / total, "nearest": sum(right) / total}

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        from unlocked.drawing.views import draw_views

        drawn = [draw_views(data.given["test"].x, data.test.x, folder / "views.png")]
        return drawn + ([] if chain is None else [draw_representation(chain, data, self, folder)])

    def alone(self, x: Tensor) -> Tensor:
        """Images as the net takes them without a second view."""
        return x[:, None]

    # what conditions M: the other view -------------------------------------------------------------------------

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return self.context_at((2, example.n_outputs), example)

    def context_at(self, shape: tuple[int, ...], example: Example) -> tuple[int, ...]:
        return shape

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        """`like (batch, 2, ...)` with its views exchanged."""
        return like.flip(1)


def similarities(z: Tensor) -> Tensor:
    """`(2 B, 2 B)` cosines of `z (B, 2, features)`, example by example; minus infinity of a view with itself."""
    z = F.normalize(z.flatten(0, 1), dim=1)
    return (z @ z.T).masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """The loss of views `z (B, 2, features)`."""
    return F.cross_entropy(similarities(z) / temperature, _partners(z))


def pairwise(z: Tensor, margin: float) -> Tensor:
    """The loss of pairs of views `z (B, 2, features)` by their distances."""
    one, of = z.flatten(0, 1), torch.arange(2 * len(z), device=z.device) // 2
    apart = (margin - torch.cdist(one, one, compute_mode="donot_use_mm_for_euclid_dist")).clamp(min=0)
    return 0.5 * (z[:, 0] - z[:, 1]).square().sum(1).mean() + 0.5 * apart[of[:, None] != of].square().mean()


def closeness(z: Tensor) -> Tensor:
    """`(2 B, 2 B)`: minus the distances of `z (B, 2, features)`; minus infinity of a view with itself."""
    return -torch.cdist(z.flatten(0, 1), z.flatten(0, 1)).fill_diagonal_(torch.inf)


LOSSES = {"nt_xent": (nt_xent, similarities), "pairwise": (pairwise, closeness)}  # and how near two views are


def is_nearest(z: Tensor, near: Callable[[Tensor], Tensor] = similarities) -> Tensor:
    """Of every view whether its partner is the nearest, `(2 B,)`."""
    return near(z).argmax(1) == _partners(z)


def _partners(z: Tensor) -> Tensor:
    return torch.arange(2 * len(z), device=z.device) ^ 1
