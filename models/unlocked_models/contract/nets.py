"""Models of several nets: a builder that returns them by name, each an ordered list of blocks of its own.

    @register_model("tiny_gan", family="adversarial", nets=("generator", "discriminator"))
    def tiny_gan(in_shape, n_outputs):
        return {"generator": Net([...], in_shape=(16,)), "discriminator": Net([...], in_shape=in_shape)}

Which net reads the output of which is the task's business (its phases). Every net keeps the contract of a chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Each, as_blocks, call_builder
from unlocked_models.contract.registry import MODELS


@dataclass
class Net:
    """`blocks`, in order, and the shape of one example of their input, without the batch axis."""

    blocks: Iterable[nn.Module]
    in_shape: tuple[int, ...]


def build_nets(
    name: str,
    in_shape: tuple[int, ...],
    n_outputs: int,
    *,
    example: Example | None = None,
    each: Each | None = None,
    **options: Any,
) -> dict[str, Net]:
    """The nets of the registered model `name`, freshly initialised from torch's global generator, in the order in which
    it registered their names. Raises `TypeError` if its function returns others."""
    names = MODELS.facts(name)["nets"]
    made = call_builder(name, in_shape, n_outputs, example, options)
    if not isinstance(made, dict) or set(made) != set(names) or not all(isinstance(net, Net) for net in made.values()):
        given = f"a dictionary of {', '.join(map(repr, made))}" if isinstance(made, dict) else type(made).__name__
        raise TypeError(f"a model of the nets {', '.join(names)} returns a dictionary of a Net for each, not {given}")
    return {net: Net(as_blocks(made[net].blocks, each), tuple(made[net].in_shape)) for net in names}
