"""Variational autoencoders (Kingma and Welling 2014; Rezende et al. 2014), also conditioned on a label (Sohn et al.
2015): a code with a distribution, that of the data and that from which new examples are drawn.

    minimise  E_{z ~ q(z|x)} [-log p(x|z)] + beta KL(q(z|x) || N(0, I))

The first term is the task's loss: `reconstruction`, the squared error, is a Gaussian likelihood of variance 1/2 up to
a constant; `reconstruction_bernoulli`, with logits as outputs, a Bernoulli likelihood of values in [0, 1]. The second
is a local loss of the block that gives the distribution, so that under every scheme it needs no message.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.autoencoder.plain import Layer, Posterior, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import activation as activation_layer


@register_model("vae", family="autoencoder")
def vae(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [128],  # noqa: B006  (read, never changed)
    code: int = 8,
    activation: str = "relu",
    beta: float = 1.0,
    warmup: int = 0,
    output: str = "linear",
) -> Iterator[nn.Module]:
    """Variational autoencoder of linear layers: q(z|x) = N(mu(x), diag(sigma^2(x))), prior N(0, I).

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, 2 code)`, the means beside the log variances, of which the next
    block draws `(batch, code)` in training and takes the means else; and back. One block per layer,
    2 (len(hidden) + 1) of them. `n_outputs` is not used: there is no label.

    Options: `hidden` widths of the encoder's layers, the decoder's in reverse; `code` units of z; `activation` as for
    mlp; `beta` weight of the KL divergence (Higgins et al. 2017); `warmup` training steps over which it rises from 0 to
    `beta` (Bowman et al. 2016; Sonderby et al. 2016), 0: none; `output` linear, sigmoid or tanh; linear where the task
    takes logits.

    >>> len(vae((1, 8, 8), 10, hidden=[64, 32]))
    6
    """
    yield from _variational(in_shape, hidden, code, activation, beta, warmup, output, None)


@register_model("cvae", family="autoencoder")
def cvae(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [128],  # noqa: B006  (read, never changed)
    code: int = 8,
    activation: str = "relu",
    beta: float = 1.0,
    warmup: int = 0,
    output: str = "linear",
) -> Iterator[nn.Module]:
    """Conditional variational autoencoder: q(z|x, y) and p(x|z, y); y is a class, one-hot beside input and code.

    Shapes: as `vae`; the data give a class label `(batch,)` below `n_outputs`. Options: as `vae`: `hidden`, `code`,
    `activation`, `beta`, `warmup`, `output`.
    """
    checks.outputs("cvae", n_outputs)
    yield from _variational(in_shape, hidden, code, activation, beta, warmup, output, n_outputs)


class Gaussian(Posterior):
    """q(z|h) = N(mu, diag(exp(v))): `(batch, features)` to `(batch, 2 code)`, mu beside v; its KL to N(0, I) is a loss.

    `steps` counts the training passes, so that the warm-up goes on where a checkpoint was taken: the weight of the KL
    divergence is 0 in the first of them and `beta` from the one after `warmup` on.
    """

    steps: Tensor

    def __init__(self, n_in: int, code: int, beta: float, warmup: int):
        super().__init__()
        self.linear = nn.Linear(n_in, 2 * code)
        self.size, self.beta, self.warmup = code, beta, warmup
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, h: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        out: Tensor = self.linear(h)
        return out

    def local_loss(self, h: Tensor, batch: Batch) -> Tensor:
        kl = kl_to_standard_normal(h).mean()
        if not self.warmup:
            return self.beta * kl
        return self.beta * ((self.steps - 1) / self.warmup).clamp(0, 1).to(h.dtype) * kl

    def code_of(self, h: Tensor) -> Tensor:
        return h.chunk(2, 1)[0]

    def output_of(self, code: Tensor) -> Tensor:
        return torch.cat([code, torch.zeros_like(code)], 1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` codes from the prior, `(n, code)`."""
        return torch.randn(n, self.size, generator=generator)


def kl_to_standard_normal(h: Tensor) -> Tensor:
    """KL(N(mu, diag(exp(v))) || N(0, I)) of every example, `(batch,)`, from mu beside v (Kingma & Welling, app. B)."""
    mean, log_variance = h.chunk(2, 1)
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)


class Sample(nn.Module):
    """z = mu + exp(v / 2) noise in training (the reparametrisation), else mu: `(batch, 2 code)` to `(batch, code)`."""

    def forward(self, h: Tensor) -> Tensor:
        mean, log_variance = h.chunk(2, 1)
        return mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean


class BesideLabel(nn.Module):
    """A layer that is given the label, one-hot, after its features."""

    def __init__(self, before: nn.Module, classes: int, after: nn.Module):
        super().__init__()
        self.before, self.classes, self.after = before, classes, after

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        if batch.y.is_floating_point() or batch.y.dim() != 1:
            raise ValueError("model.name: cvae is conditioned on one class label per example, which this data has not")
        h = self.before(h)
        out: Tensor = self.after(torch.cat([h, F.one_hot(batch.y, self.classes).to(h.dtype)], 1))
        return out


def _variational(
    in_shape: tuple[int, ...],
    hidden: list[int],
    code: int,
    activation: str,
    beta: float,
    warmup: int,
    output: str,
    classes: int | None,
) -> Iterator[nn.Module]:
    checks.sizes("hidden", hidden, least_many=1)
    checks.whole("code", code)
    checks.not_negative("beta", beta)
    checks.whole("warmup", warmup, least=0)

    def layer(n_in: int, n_out: int, before: nn.Module | None = None) -> nn.Module:
        if before is None or classes is None:
            return Layer([before, nn.Linear(n_in, n_out), activation_layer(activation)])
        return BesideLabel(before, classes, Layer([nn.Linear(n_in + classes, n_out), activation_layer(activation)]))

    size, shaped = math.prod(in_shape), output_layers(output, in_shape)
    yield layer(size, hidden[0], nn.Flatten())
    for a, b in pairwise(hidden):
        yield layer(a, b)
    yield Gaussian(hidden[-1], code, beta, warmup)
    yield layer(code, hidden[-1], Sample())
    for a, b in pairwise(reversed(hidden)):
        yield layer(a, b)
    yield Layer([nn.Linear(hidden[0], size), *shaped])
