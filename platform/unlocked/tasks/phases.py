"""Phases: the passes of one training step over named nets. Most tasks have one, over one net.

A phase feeds a minibatch to the first net of its `path`; each further net reads the output of the one before it, and
`loss` is that of the last one's output. The nets in `learns` learn by it, each under its own scheme, which is given the
exact gradient at that net's output, through the nets after it. Every other net of the path is left as it is.

Two phases of a GAN, one of which has two nets in its path:

    Phase("real", path=("discriminator",), feed=images, loss=..., learns=("discriminator",), update=False)
    Phase("fake", path=("generator", "discriminator"), feed=noise, loss=..., learns=("discriminator",))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unlocked_models.contract.batch import Batch

NET = "net"  # the name of the only one


def as_it_is(batch: Batch, generator: torch.Generator) -> Batch:
    """The feed of a phase that reads the minibatch itself."""
    return batch


Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Replay:
    """A buffer of `size` outputs of earlier steps, which take the place of this `share` of a minibatch's."""

    size: int
    share: float = 0.5


@dataclass(frozen=True)
class Phase:
    """One pass; `name` is in its metrics, and the synthetic-gradient models of a net are those of one phase.

    Args:
        path: names of nets, in the order of the pass.
        feed: the batch of this pass, made of the minibatch; draws from the generator alone, which is seeded by the
            run's seed, the phase and the step.
        loss: `(output, batch) -> scalar`, of the last net's output and the batch that was fed.
        learns: names of nets of the path.
        update: False if the gradients wait, and are added to those of the next phase in which the same nets learn.
        every: runs in the last of so many steps alone.
        replay: what the last net of the path is given also has outputs of earlier steps in it.
        of_net: `(net, h, batch) -> scalar`, in the place of `loss`: of the last net itself as a function, and of what
            it is given; for a penalty of its slope, say. The net is one module and alone in `learns`.
    """

    name: str
    path: tuple[str, ...]
    feed: Callable[[Batch, torch.Generator], Batch]
    loss: Callable[[Tensor, Batch], Tensor]
    learns: tuple[str, ...] = ()
    update: bool = True
    every: int = 1
    replay: Replay | None = None
    of_net: Callable[[Function, Tensor, Batch], Tensor] | None = None

    def runs_at(self, step: int) -> bool:
        return (step + 1) % self.every == 0

    @property
    def updates_together(self) -> bool:
        """Whether its nets are updated at its end alone: each learns through the others as they were."""
        return self.update and len(self.learns) > 1

    @property
    def waits(self) -> bool:
        """Whether the gradients of a net are kept when it has learned."""
        return not self.update or self.updates_together


def fault(phases: list[Phase], nets: tuple[str, ...]) -> str | None:
    """What is wrong with the phases of a step over these nets; None if they can be run."""
    names = [phase.name for phase in phases]
    waiting: dict[str, Phase] = {}
    for phase in phases:
        if names.count(phase.name) > 1:
            return f"two phases are named {phase.name!r}"
        if strange := [net for net in phase.path if net not in nets]:
            return f"the path of phase {phase.name!r} has the net {strange[0]!r} (known: {', '.join(nets)})"
        if outside := [net for net in phase.learns if net not in phase.path]:
            return f"{outside[0]!r} learns in phase {phase.name!r} and is not in its path"
        if (phase.replay or phase.of_net) and phase.learns != phase.path[-1:]:
            return f"phase {phase.name!r} has a replay or a loss of a net: the last net of its path learns, alone"
        if phase.replay and len(phase.path) == 1:
            return f"phase {phase.name!r} replays outputs of the nets before the one that learns, and there is none"
        for net in phase.learns:
            before = waiting.pop(net, phase)
            if before.every != phase.every:
                of = f"the gradients of {net!r} in phase {before.name!r}"
                return f"{of} wait for phase {phase.name!r}, which runs in other steps"
            if not phase.update:
                waiting[net] = phase
    if waiting:
        net, last = next(iter(waiting.items()))
        of = f"the gradients of {net!r} in phase {last.name!r}"
        return f"{of} wait for a later phase of the step, and none updates it"
    if idle := [net for net in nets if not any(net in phase.learns for phase in phases)]:
        return f"no phase trains the net {idle[0]!r}"
    return None
