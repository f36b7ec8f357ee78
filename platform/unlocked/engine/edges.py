"""Which links a scheme needs between the modules of a net, whatever carries the messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlocked.engine.links import Incoming, Outgoing
from unlocked.engine.module import Ends
from unlocked.plan.plan import Plan

UP, DOWN, ERROR = 0, 1, 2  # channels between a pair of modules


@dataclass(frozen=True)
class Edge:
    """Tensors of one kind, one per minibatch, from module `source` to module `target`."""

    source: int
    target: int
    channel: int
    shape: tuple[int, ...]  # of one example


def edges(plan: Plan) -> list[Edge]:
    """Activations up every boundary; feedback down every boundary, or from the last module to all others."""
    specs, last = plan.specs, plan.modules - 1
    found = [Edge(k, k + 1, UP, specs[k].out_shape) for k in range(last)]
    if plan.scheme.feedback_from == "above":
        found += [Edge(k + 1, k, DOWN, specs[k].out_shape) for k in range(last)]
    elif plan.scheme.feedback_from == "last":
        found += [Edge(last, k, ERROR, specs[last].error_shape or specs[last].out_shape) for k in range(last)]
    return found


def ends_of(module: int, incoming: Mapping[Edge, Incoming], outgoing: Mapping[Edge, Outgoing]) -> Ends:
    """The links of one module, of those that begin or end at it."""
    to = {edge: link for edge, link in incoming.items() if edge.target == module}
    away = {edge: link for edge, link in outgoing.items() if edge.source == module}
    return Ends(
        h_in=next((link for edge, link in to.items() if edge.channel == UP), None),
        h_out=next((link for edge, link in away.items() if edge.channel == UP), None),
        feedback_in=next((link for edge, link in to.items() if edge.channel != UP), None),
        feedback_out=[link for edge, link in away.items() if edge.channel != UP],
    )
