"""Losses by name, one number for each example: of exclusive classes, of labels that are each there or not, of values.

The loss of a minibatch is the mean over its examples. If the batch has an extra `weight (batch,)`, each example's loss
is multiplied by its weight before: weights of mean 1 keep the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.errors import ConfigError
from unlocked.tasks.base import Task
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import unknown

WEIGHT = "weight"  # the extra of a data set that weighs its examples, if it is one number of each
Each = Callable[[Tensor, Tensor], Tensor]  # outputs and targets of a minibatch to a loss per example, `(batch,)`


def weigh(weight: object) -> TypeGuard[Tensor]:
    """Whether an extra called `WEIGHT` weighs examples: `(batch,)`. Any other is a block's own."""
    return isinstance(weight, Tensor) and weight.dim() == 1


class PerExample(Task):
    """Base of tasks whose loss is a mean over examples, which the data may weigh."""

    own_loss: Any = None  # `tasks.own_loss.OwnLoss`, if the configuration names one

    def take(self, own: Any) -> None:
        """A loss of the user's own, in place of the task's: of tasks that call one as `self._each(output, target)`."""
        self.own_loss = self._each = own

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch,)`"""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self.each(output, target).mean()

    def loss_of(self, output: Tensor, batch: Batch) -> Tensor:
        weight = batch.get(WEIGHT)
        if not weigh(weight):
            return super().loss_of(output, batch)
        each: Tensor = weight.to(output.dtype) * self.each(output, self.target(batch))
        return each.mean()


@dataclass(frozen=True)
class ClassLoss:
    """Of logits z `(batch, classes)`, and class ids `(batch,)` or a distribution over the classes p `(batch, classes)`;
    of an id p is 1 at its class.

        cross_entropy         -sum_c p_c log softmax(z)_c
        kl                    KL(p || softmax(z)): the same less the entropy of p
        nll                   -sum_c p_c z_c, of outputs that are log probabilities already
        focal                 -sum_c p_c (1 - q_c)^gamma log q_c, q = softmax(z) (Lin et al. 2017, arXiv:1708.02002)
        binary_cross_entropy  mean over c of the cross entropy of p_c and sigmoid(z_c): one class against the rest
        hinge                 mean over c of max(0, 1 - t_c z_c), t = 2 p - 1
        max_margin            sum_c p_c 1/C sum_{i != c} max(0, 1 - z_c + z_i) (Crammer & Singer 2001)
        perceptron            max(0, max_{i != c} z_i - z_c); a tie is a mistake (Rosenblatt 1958)
        mse, mae, huber       mean over c of (z_c - p_c)^2, |z_c - p_c|, Huber's of `delta`

    `smoothing` mixes p with the uniform distribution, (1 - s) p + s / C (Szegedy et al. 2016, arXiv:1512.00567).
    `class_weights` multiplies the loss of an example by the weight of its class, sum_c p_c w_c.
    """

    name: str = "cross_entropy"
    smoothing: float = 0.0
    gamma: float = 2.0
    delta: float = 1.0
    class_weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        _known(self.name, CLASS_LOSSES)
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"objective.smoothing: must be at least 0 and less than 1, got {self.smoothing}")
        if self.smoothing and self.name in ("hinge", "max_margin", "perceptron"):
            raise ConfigError(f"objective.smoothing: {self.name} has no distribution to smooth; leave it out")
        _not_negative("gamma", self.gamma)
        _above_0("delta", self.delta)
        for weight in self.class_weights:
            _not_negative("class_weights", weight)

    @property
    def is_plain(self) -> bool:
        return self.name == "cross_entropy" and not self.smoothing and not self.class_weights

    def check(self, classes: int) -> None:
        """Raises `ConfigError` if there are not as many weights as classes."""
        if self.class_weights and len(self.class_weights) != classes:
            raise ConfigError(
                f"objective.class_weights: {len(self.class_weights)} weights, but the data has {classes} classes"
            )

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if self.is_plain:
            return F.cross_entropy(output, target, reduction="none")
        classes = output.shape[-1]
        p = target.to(output.dtype) if target.is_floating_point() else F.one_hot(target, classes).to(output.dtype)
        weight = p @ p.new_tensor(self.class_weights) if self.class_weights else None
        if self.smoothing:
            p = (1 - self.smoothing) * p + self.smoothing / classes
        found = CLASS_LOSSES[self.name](output, p, self)
        return found if weight is None else weight * found


def _kl(z: Tensor, p: Tensor, of: ClassLoss) -> Tensor:
    return torch.xlogy(p, p).sum(-1) - (p * z.log_softmax(-1)).sum(-1)


def _focal(z: Tensor, p: Tensor, of: ClassLoss) -> Tensor:
    log_q = z.log_softmax(-1)
    return -(p * (1 - log_q.exp()) ** of.gamma * log_q).sum(-1)


def _max_margin(z: Tensor, p: Tensor, of: ClassLoss) -> Tensor:
    short = (1 - z[:, :, None] + z[:, None, :]).clamp(min=0)  # (batch, c, i)
    short = short * (1 - torch.eye(z.shape[1], dtype=z.dtype, device=z.device))
    return (p * short.mean(2)).sum(1)


def _perceptron(z: Tensor, p: Tensor, of: ClassLoss) -> Tensor:
    short = z.masked_fill(p > 0, -torch.inf).amax(-1) - (p * z).sum(-1)
    return torch.where(short >= 0, short, 0.0)  # at a tie it is 0 and has a slope


CLASS_LOSSES: dict[str, Callable[[Tensor, Tensor, ClassLoss], Tensor]] = {
    "cross_entropy": lambda z, p, of: -(p * z.log_softmax(-1)).sum(-1),
    "kl": _kl,
    "nll": lambda z, p, of: -(p * z).sum(-1),
    "focal": _focal,
    "binary_cross_entropy": lambda z, p, of: F.binary_cross_entropy_with_logits(z, p, reduction="none").mean(-1),
    "hinge": lambda z, p, of: (1 - (2 * p - 1) * z).clamp(min=0).mean(-1),
    "max_margin": _max_margin,
    "perceptron": _perceptron,
    "mse": lambda z, p, of: (z - p).square().mean(-1),
    "mae": lambda z, p, of: (z - p).abs().mean(-1),
    "huber": lambda z, p, of: F.huber_loss(z, p, reduction="none", delta=of.delta).mean(-1),
}


@dataclass(frozen=True)
class LabelLoss:
    """Of logits z `(batch, labels)` and labels t of 0 and 1 of the same shape, a mean over labels.

    binary_cross_entropy  -w t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)), w = `positive_weight`
    focal                 the same, with w = 1, times (1 - q)^gamma, q the probability of what is the case
    hinge                 max(0, 1 - (2 t - 1) z)
    """

    name: str = "binary_cross_entropy"
    positive_weight: float = 1.0
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _known(self.name, LABEL_LOSSES)
        _above_0("positive_weight", self.positive_weight)
        _not_negative("gamma", self.gamma)
        if self.positive_weight != 1 and self.name != "binary_cross_entropy":
            raise ConfigError(f"objective.positive_weight: is of binary_cross_entropy; {self.name} has none")

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return LABEL_LOSSES[self.name](output, target.to(output.dtype), self).flatten(1).mean(1)


def _label_entropy(z: Tensor, t: Tensor, of: LabelLoss) -> Tensor:
    weight = z.new_tensor(of.positive_weight)
    return F.binary_cross_entropy_with_logits(z, t, reduction="none", pos_weight=weight)


def _label_focal(z: Tensor, t: Tensor, of: LabelLoss) -> Tensor:
    nats = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    return (1 - torch.exp(-nats)) ** of.gamma * nats


LABEL_LOSSES: dict[str, Callable[[Tensor, Tensor, LabelLoss], Tensor]] = {
    "binary_cross_entropy": _label_entropy,
    "focal": _label_focal,
    "hinge": lambda z, t, of: (1 - (2 * t - 1) * z).clamp(min=0),
}


def value_loss(name: str, delta: float) -> Each:
    """Of real values z and targets y, `(batch, values)`, a mean over values:

    mse    (z - y)^2
    mae    |z - y|
    huber  quadratic up to `delta` and linear beyond (Huber 1964)
    """
    _known(name, VALUE_LOSSES)
    _above_0("delta", delta)
    return lambda output, target: VALUE_LOSSES[name](output, target, delta).flatten(1).mean(1)


VALUE_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "mse": lambda output, target, delta: (output - target).square(),
    "mae": lambda output, target, delta: (output - target).abs(),
    "huber": lambda output, target, delta: F.huber_loss(output, target, reduction="none", delta=delta),
}


def _known(name: str, table: dict[str, Callable[..., Tensor]]) -> None:
    if name not in table:
        raise ConfigError(f"objective.loss: {unknown('loss', name, list(table))}")


def _not_negative(key: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ConfigError(f"objective.{key}: must be at least 0 and finite, got {value}")


def _above_0(key: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ConfigError(f"objective.{key}: must be greater than 0 and finite, got {value}")
