"""The optimisers: every one of torch.optim by its name in small letters, whose own arguments are keys, and a few more.

An argument that torch gives a default is an option that may be null, which leaves torch's default. `SparseAdam` is left
out: it takes sparse gradients alone, which no block here has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.optim.registry import Factory, SetOptions, register_optimizer
from unlocked.schema.facts import key
from unlocked.schema.keys import OptimizerConfig

# Arguments by which an optimiser is computed, not what it computes; `maximize` would turn every loss around.
_HOW = ("params", "lr", "foreach", "maximize", "capturable", "differentiable", "fused")
_COMMON = OptimizerConfig.__dataclass_fields__.keys()

# meaning and range of torch's own arguments; one that is not here is taken as torch's documentation has it
_FACTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "adjust_lr_fn": (str, "how the rate follows the matrix", {"choices": ("original", "match_rms_adamw")}),
    "alpha": (float, "decay of the average of squares (rmsprop), or power of the falling rate (asgd)", {"low": 0}),
    "amsgrad": (bool, "divide by the largest average of squares so far (Reddi et al. 2018)", {}),
    "beta2_decay": (float, "power by which the average of squares grows longer", {"high": 0}),
    "centered": (bool, "divide by the variance of the gradient, not by its square", {}),
    "d": (float, "largest root mean square of an update", {"low": 1}),
    "dampening": (float, "of the gradient that enters the momentum", {}),
    "decoupled_weight_decay": (bool, "weight_decay as of adamw", {}),
    "etas": (list[float], "factors of a weight's step when its gradient turns, and when it does not", {"above": 0}),
    "history_size": (int, "pairs of steps and changes of the gradient that are kept", {"low": 1}),
    "initial_accumulator_value": (float, "of the sum of squares", {"low": 0}),
    "lambd": (float, "decay of the weights towards zero", {}),
    "line_search_fn": (str, "null: a step of lr", {"choices": ("strong_wolfe",)}),
    "lr_decay": (float, "lr / (1 + steps * lr_decay)", {"low": 0}),
    "max_eval": (int, "evaluations of the loss in a step; null: 1.25 max_iter", {"low": 1}),
    "max_iter": (int, "iterations in a step", {"low": 1}),
    "momentum_decay": (float, "of the schedule of the momentum", {"low": 0}),
    "ns_coefficients": (list[float], "of the Newton-Schulz iteration", {}),
    "ns_steps": (int, "Newton-Schulz iterations", {"low": 1, "high": 99}),
    "rho": (float, "decay of the averages of squares", {"low": 0, "high": 1}),
    "step_sizes": (list[float], "smallest and largest step of a weight", {"above": 0}),
    "t0": (float, "step at which averaging begins", {}),
    "tolerance_change": (float, "of the loss or the weights, below which a step ends", {"low": 0}),
    "tolerance_grad": (float, "largest entry of the gradient at which a step ends", {"low": 0}),
}
_PLAIN = {"float": float, "int": int, "bool": bool, "str": str}


def torch_options(kind: type[torch.optim.Optimizer]) -> type:
    """The keys of an optimiser of torch, from its signature.

    >>> from dataclasses import fields
    >>> [field.name for field in fields(torch_options(torch.optim.Adagrad))]
    ['lr_decay', 'initial_accumulator_value']
    """
    found: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in _HOW or name in _COMMON or parameter.default is parameter.empty:
            continue
        written, meaning, facts = _FACTS.get(name, (_kind_of(parameter), f"as of torch.optim.{kind.__name__}", {}))
        if written is not None:
            entries: dict[str, Any] = (
                {"entries": len(parameter.default)} if isinstance(parameter.default, tuple) else {}
            )
            found.append(
                (
                    name,
                    written | None,
                    key(None, meaning if "null:" in meaning else f"{meaning}; null: torch's", **facts, **entries),
                )
            )
    return make_dataclass(f"{kind.__name__}Options", found, bases=(SetOptions,))


def _kind_of(parameter: inspect.Parameter) -> Any:
    """Of an argument that a later torch has added."""
    return _PLAIN.get(type(parameter.default).__name__)


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for weights that are matrices; AdamW with the same rate and decay for all others.

    Its update is orthogonalised by Newton-Schulz iterations, which are of a matrix: biases, the scales of norms and
    kernels of convolutions have none.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.1, **options: Any):
        matrices, others = _by_axes(params)
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, **options))
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay))
        self.defaults = {"lr": lr, "weight_decay": weight_decay}

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return [group for part in self._parts for group in part.param_groups]

    @property
    def state(self) -> Mapping[Tensor, Any]:  # type: ignore[override]
        return {p: state for part in self._parts for p, state in part.state.items()}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self._parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def _by_axes(params: Iterable[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Groups of the matrices and groups of the others; empty ones are left out."""
    given = list(params)
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    split: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for group in groups:
        for matrix, into in zip((True, False), split, strict=True):
            mine = [p for p in group["params"] if (p.dim() == 2) is matrix]
            if mine:
                into.append({**group, "params": mine})
    return split


@dataclass
class GainOptions:
    gain_up: float = key(0.05, "added to a weight's gain while its gradient keeps its sign (kappa)", low=0)
    gain_down: float = key(0.05, "share of the gain that is lost when it turns (phi)", low=0, below=1)
    gain_average: float = key(0.7, "of the gradients before, whose sign this one is compared with", low=0, below=1)
    gain_limits: list[float] = key([0.01, 100.0], "smallest and largest gain", above=0, entries=2)


class DeltaBarDelta(torch.optim.Optimizer):
    """A learning rate for each weight (Jacobs 1988, "Increased rates of convergence through learning rate adaptation").

        gain += kappa          if delta_bar * delta > 0        delta: the gradient of this step
        gain *= 1 - phi        if delta_bar * delta < 0        delta_bar: average of the gradients before
        w -= lr * gain * delta;     delta_bar = (1 - theta) delta + theta delta_bar

    Gains begin at 1. Signs of minibatches are noisy: it is for large ones.
    """

    Options = GainOptions

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        gain_up: float = 0.05,
        gain_down: float = 0.05,
        gain_average: float = 0.7,
        gain_limits: Iterable[float] = (0.01, 100.0),
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self._up, self._down, self._average, self._limits = gain_up, gain_down, gain_average, tuple(gain_limits)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                delta, state = p.grad, self.state[p]
                if group["weight_decay"]:
                    delta = delta.add(p, alpha=group["weight_decay"])
                if not state:
                    state["gain"], state["average"] = torch.ones_like(p), torch.zeros_like(p)
                gain, average = state["gain"], state["average"]
                agreed = average * delta
                gain.copy_(torch.where(agreed > 0, gain + self._up, gain))
                gain.copy_(torch.where(agreed < 0, gain * (1 - self._down), gain)).clamp_(*self._limits)
                p.sub_(group["lr"] * gain * delta)
                average.lerp_(delta, 1 - self._average)


def _momentum(nesterov: bool) -> Factory:
    def make(
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, fused=fused)

    make.__qualname__ = "nesterov" if nesterov else "momentum"
    return make


def _kinds() -> Iterator[tuple[str, type[torch.optim.Optimizer]]]:
    for name in torch.optim.__all__:
        kind = getattr(torch.optim, name)
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer):
            yield name, kind


def register_all() -> None:
    for name, kind in _kinds():
        if kind in (torch.optim.Optimizer, torch.optim.SparseAdam):
            continue
        factory: Callable[..., Any] = Muon if name == "Muon" else kind
        # its fused form is of the CPU alone
        facts: dict[str, Any] = {"fused": False} if name == "Adagrad" else {}
        if name == "LBFGS":  # the kept pairs, the direction, the gradient before, and their sum
            facts = {"searches": True, "keeps": lambda options: 2 * options.get("history_size", 100) + 3}
        register_optimizer(name.lower(), options=torch_options(kind), takes=kind, **facts)(factory)
    register_optimizer("delta_bar_delta")(DeltaBarDelta)
    register_optimizer("momentum")(_momentum(nesterov=False))
    register_optimizer("nesterov")(_momentum(nesterov=True))
