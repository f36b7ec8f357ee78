"""Models of several nets: a builder that returns them by name, each with blocks of its own, in order.

    @register_model("tiny_gan", family="adversarial", nets=("generator", "discriminator"))
    def tiny_gan(in_shape, n_outputs):
        def generator(): yield ...
        def discriminator(): yield ...
        return {"generator": Net(generator(), in_shape=(16,)), "discriminator": Net(discriminator(), in_shape=in_shape)}

Blocks that a generator yields are made when their net is built, and no earlier: a worker makes those of its own net.
Which net reads the output of which is the task's business (its phases). Every net keeps the contract of a chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import call_builder
from unlocked_models.contract.registry import MODELS


@dataclass
class Net:
    """`blocks`, in order, a list or a generator of them, and the shape of one example of their input, without the batch
    axis."""

    blocks: Iterable[nn.Module]
    in_shape: tuple[int, ...]


def nets_of(
    name: str, in_shape: tuple[int, ...], n_outputs: int, *, example: Example | None = None, **options: Any
) -> dict[str, Net]:
    """The nets of the registered model `name`, in the order in which it registered their names; `as_blocks` makes the
    blocks of one. Raises `TypeError` if its function returns others."""
    names = MODELS.facts(name)["nets"]
    made = call_builder(name, in_shape, n_outputs, example, options)
    if not isinstance(made, dict) or set(made) != set(names) or not all(isinstance(net, Net) for net in made.values()):
        given = f"a dictionary of {', '.join(map(repr, made))}" if isinstance(made, dict) else type(made).__name__
        owed = f"a model of the nets {', '.join(names)} returns a dictionary of a Net for each"
        raise TypeError(f"model.name: {name}: {owed}, not {given}")
    return {net: Net(made[net].blocks, tuple(made[net].in_shape)) for net in names}
