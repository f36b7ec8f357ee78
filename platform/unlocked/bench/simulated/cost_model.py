"""What a chain costs, unit by unit: the numbers that a simulation of its parallel training starts from.

A unit is a block of the chain as it was measured, or a module of several blocks after `cut`. All costs are seconds of
one worker for a whole minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Link:
    """A message of n bytes takes `overhead + n / bandwidth` of its sender's time and is there `latency` later."""

    latency: float  # seconds from the end of a send until a receiver that waits goes on
    overhead: float  # seconds of the sender for any message
    bandwidth: float  # bytes per second at which the sender copies

    def copy(self, size: Array | float) -> Array:
        """Seconds that sending a message of `size` bytes keeps its sender busy."""
        return np.asarray(self.overhead + np.asarray(size, dtype=np.float64) / self.bandwidth)


@dataclass(frozen=True)
class Costs:
    """Arrays `(units,)`, in seconds for a minibatch of `batch` examples where nothing else is said.

    A field ending in `_call` is the part of its namesake that every call costs, however few its examples: what cutting
    a minibatch into microbatches does not divide. Costs of a synthetic-gradient model count at the unit below it, those
    of an input model at the unit above; the ends of the chain have none and theirs are not read.
    """

    batch: int
    data: float  # reading the inputs of a minibatch
    error_bytes: float  # of dL/dh_K
    forward: Array  # the last unit's with the loss
    backward_input: Array  # gradient of the input; 0 in a chain's first block, which nobody asks for it
    backward_weight: Array
    update: Array
    forward_call: Array
    backward_input_call: Array
    backward_weight_call: Array
    project: Array  # dfa: B_l e of the unit's layers
    entry_input: Array  # `backward_input` of the unit's first block: not computed where no unit below wants it
    inputs_predict: Array  # I_k(x)
    inputs_learn: Array
    dni_predict: Array  # M_k(h_k); inf if no such model fits
    dni_learn: Array
    cdni_predict: Array
    cdni_learn: Array
    bytes_out: Array  # of the unit's output

    def __len__(self) -> int:
        return len(self.forward)

    @property
    def backward(self) -> Array:
        return self.backward_input + self.backward_weight

    @property
    def step(self) -> Array:
        """Forward, backward and update."""
        return self.forward + self.backward + self.update

    @property
    def sg_share(self) -> float:
        """What cdni's synthetic gradients add to the work of the modules that have one, as a share of it."""
        return float(np.sum((self.cdni_predict + self.cdni_learn)[:-1]) / np.sum(self.step[:-1]))

    def slowed(self, factor: float) -> Costs:
        """The same work on cores that are slower by `factor`."""
        times = ["data", *(name for name in _per_unit(self) if name != "bytes_out")]
        return replace(self, **{name: getattr(self, name) * factor for name in times})


AT_START = ("entry_input", "inputs_predict", "inputs_learn")
AT_END = ("dni_predict", "dni_learn", "cdni_predict", "cdni_learn", "bytes_out")


def cut(costs: Costs, sizes: list[int]) -> Costs:
    """Modules of `sizes` consecutive units: work adds up, what stands at a boundary counts where the boundary is."""
    stops = np.cumsum(np.asarray(sizes, dtype=np.intp))
    starts = stops - sizes

    def of(name: str) -> Array:
        values = cast(Array, getattr(costs, name))
        if name in AT_START:
            out: Array = values[starts]
            return out
        return values[stops - 1] if name in AT_END else np.add.reduceat(values, starts)

    changed: dict[str, Any] = {name: of(name) for name in _per_unit(costs)}
    return replace(costs, **changed)


def balanced(costs: Costs, modules: int, each: int = 1) -> Costs:
    """K equal modules, each of `each` copies of the inner block whose step costs the median, the outer modules too.

    This is the question "what if the network were K balanced modules", for more modules than the chain has blocks. All
    numbers are those of one measured block, so they belong together; the first module computes the gradient of its
    input like every other, and the last has no head or loss of its own. What a place in the chain decides stays: the
    last module has no synthetic gradient, the first no input model. Raises `ValueError` for a chain without inner
    blocks that take a synthetic gradient.
    """
    inner = [i for i in range(1, len(costs) - 1) if np.isfinite(costs.cdni_predict[i])]
    if not inner:
        raise ValueError("it has no inner block to copy")
    middle = sorted(inner, key=lambda i: costs.step[i])[(len(inner) - 1) // 2]
    copies: dict[str, Any] = {name: np.full(modules * each, getattr(costs, name)[middle]) for name in _per_unit(costs)}
    return cut(replace(costs, **copies), [each] * modules)


def _per_unit(costs: Costs) -> list[str]:
    return [field.name for field in fields(costs) if field.name not in ("batch", "data", "error_bytes")]
