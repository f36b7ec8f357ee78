"""Autoencoders: an encoder to a code, a decoder back (Rumelhart, Hinton and Williams 1986; Hinton and Salakhutdinov
2006), and what keeps a code from being a copy: few units, noise, sparsity, a small Jacobian.

The output has the shape of the input, which is the target (task `reconstruction`). One block is marked as the one whose
output holds the code; `encode` and `decode` take a trained chain apart there, whichever autoencoder it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import ACTIVATIONS
from unlocked_models.layers.activations import activation as activation_layer

OUTPUTS: dict[str, Callable[[], nn.Module] | None] = {"linear": None, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}

# phi'(a) from h = phi(a), for the activations whose slope follows from their output
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": torch.ones_like,
    "sigmoid": lambda h: h * (1 - h),
    "tanh": lambda h: 1 - h.square(),
    "hard_tanh": lambda h: (h.abs() < 1).to(h.dtype),
    "relu": lambda h: (h > 0).to(h.dtype),
    "leaky_relu": lambda h: (h > 0).to(h.dtype) * 0.99 + 0.01,
    "elu": lambda h: torch.where(h > 0, 1.0, h + 1),
    "softplus": lambda h: -torch.expm1(-h),
}

Penalty = Callable[[Tensor], Tensor]  # of a block's output, a mean over examples


@register_model("autoencoder", family="autoencoder")
def autoencoder(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [128],  # noqa: B006  (read, never changed)
    code: int = 16,
    activation: str = "relu",
    code_activation: str = "linear",
    output: str = "linear",
    noise: str = "none",
    level: float = 0.3,
    sparsity: str = "none",
    sparsity_weight: float = 0.1,
    sparsity_target: float = 0.05,
    contractive: float = 0.0,
    tied: bool = False,
) -> Iterator[nn.Module]:
    """Autoencoder of linear layers: an encoder through `hidden` to `code` units, and its mirror image back.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, code)` and back to `(batch, *in_shape)`. One block per layer,
    2 (len(hidden) + 1) of them; those of the encoder have the parameters of an `mlp` with hidden layers
    `[*hidden, code]`, so a classifier can begin with them. `n_outputs` is not used: there is no label.

    Undercomplete with `code` below the input's size, else kept from copying by one of

    * denoising (Vincent et al. 2008): the first block corrupts its input in training, the target is the clean one.
      `noise` gaussian adds noise of deviation `level`, masking sets the fraction `level` of the inputs to zero;
    * sparsity of the code: `sparsity` l1 adds `sparsity_weight` sum_j |h_j|; kl adds `sparsity_weight`
      sum_j KL(rho || mean of h_j over the minibatch), rho = `sparsity_target`, for `code_activation` sigmoid (Ng 2011,
      CS294A lecture notes, section 3);
    * contraction (Rifai et al. 2011, eq. 5): every layer of the encoder adds `contractive` times the squared Frobenius
      norm of the Jacobian of its output by its own input, sum_j phi'(a_j)^2 |W_j|^2, a mean over examples.

    Other options: `activation` as for mlp; `code_activation` linear or one of those; `output` linear, sigmoid or tanh;
    `tied`: the decoder's weights are the encoder's, transposed. One worker must then hold both, and the chain has no
    place to cut between them.

    >>> len(autoencoder((1, 8, 8), 10, hidden=[64, 32], code=8))
    6
    """
    checks.sizes("hidden", hidden)
    checks.whole("code", code)
    checks.pick(ACTIVATIONS, "activation", activation)
    checks.pick(ACTIVATIONS, "code_activation", code_activation)
    checks.not_negative("contractive", contractive)
    on_code = sparsity_penalties(sparsity, sparsity_weight, sparsity_target, code_activation)
    corrupted, shaped = corruption(noise, level), output_layers(output, in_shape)
    phis = [activation] * len(hidden) + [code_activation]
    if contractive:
        for phi in phis:
            slope(phi)

    widths = [math.prod(in_shape), *hidden, code]
    linears: list[nn.Linear] = []
    for k, phi in enumerate(phis):
        last = k == len(hidden)
        linears.append(nn.Linear(widths[k], widths[k + 1]))
        penalties = on_code if last else []
        if contractive:
            penalties = [*penalties, Contraction(contractive, linears[-1], phi)]
        before = [corrupted, nn.Flatten() if len(in_shape) > 1 else None] if k == 0 else []
        layers = [*before, linears[-1], code_layer(phi)]
        yield penalised(layers, penalties, gives_code=last)
    for k in reversed(range(len(linears))):
        linear = TiedLinear(linears[k]) if tied else nn.Linear(widths[k + 1], widths[k])
        end = shaped if k == 0 else [activation_layer(activation)]
        yield Layer([linear, *end])


# the code of any autoencoder --------------------------------------------------------------------------------


def code_block(blocks: Iterable[nn.Module]) -> int | None:
    """Which block's output holds the code; None if the model has none."""
    return next((i for i, block in enumerate(blocks) if getattr(block, "gives_code", False)), None)


def encode(blocks: list[nn.Module], batch: Batch) -> Tensor:
    """Codes `(batch, ...)` of `batch.x`; of a variational encoder their means. Set the blocks to evaluation first."""
    at = code_block(blocks)
    assert at is not None
    assert batch.x is not None
    block, h = blocks[at], Chain(blocks[: at + 1])(batch.x, batch)
    return block.code_of(h) if isinstance(block, Posterior) else h


def decode(blocks: list[nn.Module], code: Tensor, batch: Batch) -> Tensor:
    """What the codes `(n, ...)` are reconstructed as, `(n, *in_shape)`; of `batch` only labels are looked at."""
    at = code_block(blocks)
    assert at is not None
    block = blocks[at]
    h = block.output_of(code) if isinstance(block, Posterior) else code
    out: Tensor = Chain(blocks[at + 1 :])(h, batch)
    return out


class Posterior(nn.Module, ABC):
    """Base of the blocks whose output says more of a code than its value."""

    gives_code = True

    @abstractmethod
    def code_of(self, h: Tensor) -> Tensor:
        """The code in the block's output."""

    @abstractmethod
    def output_of(self, code: Tensor) -> Tensor:
        """An output in which `code_of` finds this code."""


# blocks -----------------------------------------------------------------------------------------------------


class Layer(nn.Sequential):
    """Layers that make one block. `gives_code`: its output is the code."""

    def __init__(self, layers: Iterable[nn.Module | None], gives_code: bool = False):
        super().__init__(*[layer for layer in layers if layer is not None])
        self.gives_code = gives_code


class PenalisedLayer(Layer):
    """A layer whose output is part of the loss."""

    def __init__(self, layers: Iterable[nn.Module | None], penalties: Iterable[Penalty], gives_code: bool = False):
        super().__init__(layers, gives_code)
        self._penalties = list(penalties)

    def local_loss(self, h: Tensor, batch: Batch) -> Tensor:
        return torch.stack([penalty(h) for penalty in self._penalties]).sum()


def penalised(layers: Iterable[nn.Module | None], penalties: list[Penalty], gives_code: bool = False) -> Layer:
    return PenalisedLayer(layers, penalties, gives_code) if penalties else Layer(layers, gives_code)


class TiedLinear(nn.Module):
    """x = W^T h + c, with the W of an encoder's layer: the very same parameter."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = linear.weight
        self.bias = nn.Parameter(torch.zeros(linear.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight.t(), self.bias)


class Corruption(nn.Module):
    """Noise on the input, in training alone: `gaussian` of deviation `level`, or `masking` that fraction to zero."""

    def __init__(self, kind: str, level: float):
        super().__init__()
        self.kind, self.level = kind, level

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if self.kind == "gaussian":
            return x + self.level * torch.randn_like(x)
        return x * (torch.rand_like(x) >= self.level)


def corruption(kind: str, level: float) -> Corruption | None:
    """By name; None for "none"."""
    checks.pick({"none": 0, "gaussian": 0, "masking": 0}, "noise", kind)
    if kind == "masking":
        checks.fraction("level", level)
    else:
        checks.not_negative("level", level)
    return None if kind == "none" else Corruption(kind, level)


def output_layers(output: str, in_shape: tuple[int, ...]) -> list[nn.Module | None]:
    """What stands after the last linear layer: the squashing, and the input's shape."""
    squash = checks.pick(OUTPUTS, "output", output)
    return [squash and squash(), nn.Unflatten(1, in_shape) if len(in_shape) > 1 else None]


def code_layer(name: str) -> nn.Module | None:
    """The activation of a code; None for "linear"."""
    return None if name == "linear" else activation_layer(name)


# penalties --------------------------------------------------------------------------------------------------


def sparsity_penalties(kind: str, weight: float, target: float, code_activation: str) -> list[Penalty]:
    """Those of the code, by name."""
    checks.pick({"none": 0, "l1": 0, "kl": 0}, "sparsity", kind)
    checks.not_negative("sparsity_weight", weight)
    if kind == "none":
        return []
    if kind == "l1":
        return [lambda h: weight * h.flatten(1).abs().sum(1).mean()]
    if not 0 < target < 1:
        raise ValueError(f"model.sparsity_target: must be greater than 0 and less than 1, got {target!r}")
    if code_activation != "sigmoid":
        raise ValueError(
            f"model.sparsity: kl compares mean activations in (0, 1), so model.code_activation must be "
            f"sigmoid, not {code_activation}"
        )
    return [lambda h: weight * bernoulli_divergence(target, h.flatten(1).mean(0)).sum()]


def bernoulli_divergence(target: float, mean: Tensor) -> Tensor:
    """KL(rho || mean) of Bernoulli variables, for each mean; means of 0 and 1 are kept a rounding error away."""
    eps = torch.finfo(mean.dtype).eps
    mean = mean.clamp(eps, 1 - eps)
    return target * (math.log(target) - mean.log()) + (1 - target) * (math.log1p(-target) - torch.log1p(-mean))


def slope(phi: str) -> Callable[[Tensor], Tensor]:
    """phi'(a) from phi(a)."""
    if phi not in SLOPES:
        raise ValueError(
            f"model.contractive: the slope of {phi} does not follow from its output; choose one of "
            f"{', '.join(sorted(SLOPES))}"
        )
    return SLOPES[phi]


class Contraction:
    """`weight` times the squared Frobenius norm of dh/dinput for h = phi(W input + b), from h: a mean over examples."""

    def __init__(self, weight: float, linear: nn.Linear, phi: str):
        self.weight, self.linear, self.slope = weight, linear, slope(phi)

    def __call__(self, h: Tensor) -> Tensor:
        rows = self.linear.weight.square().sum(1)  # |W_j|^2
        return self.weight * (self.slope(h).square() @ rows).mean()
