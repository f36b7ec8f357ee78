"""Modules that run one minibatch per tick, simulated: `Stage.run` of the engine as sums and maxima over all modules.

At its tick t a module reads, takes h of minibatch t, runs forward, sends h up, runs backward, sends its feedback down
and updates; then it takes the feedback about minibatch t - lag and learns from it. A send waits for a slot of the
link's ring, a receive for its message; nothing else waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unlocked.bench.simulated.cost_model import Array, Link

AHEAD = 2  # messages beside the late ones that find room before they are taken, as in `engine.links`


@dataclass(frozen=True)
class Ticks:
    """What each of K modules does in one tick: seconds `(K,)` in the order in which it does it, and its messages."""

    before: Array  # until it asks for h
    forward: Array  # then it sends h up
    after: Array  # then it sends feedback down
    update: Array
    learn: Array  # from the feedback it waits for; the last module's is not read
    bytes_up: Array  # `(K - 1,)`, of the messages over each boundary
    bytes_down: Array  # `(K - 1,)`, of those that module 0, 1, ... gets
    feedback: Literal["above", "last"] | None = None
    lag: int = 0
    relays: bool = False  # feedback goes on down behind `learn`, and then comes the update: lag 0
    learn_inputs: Array | None = None  # h of minibatch t is not waited for at t, but learned from at t + lag

    def busy(self, link: Link) -> Array:
        """Seconds of a tick `(K,)` that each module computes or copies."""
        total = self.before + self.forward + self.after + self.update
        total[:-1] += link.copy(self.bytes_up)
        if self.feedback is not None:
            total[:-1] += self.learn[:-1]
        if self.feedback == "above":
            total[1:] += link.copy(self.bytes_down)
        elif self.feedback == "last":
            total[-1] += link.copy(self.bytes_down).sum()
        return total if self.learn_inputs is None else total + self.learn_inputs


def run_ticks(s: Ticks, link: Link, count: int) -> Iterator[Array]:
    """For each of `count` ticks, when each module has ended it, `(K,)`."""
    depth, latency = s.lag + AHEAD + 1, link.latency
    up, down = link.copy(s.bytes_up), link.copy(s.bytes_down)
    # of minibatch t at row t % depth, and per boundary, or per module that gets the error
    sent_up, taken_up, sent_down, taken_down = np.full((4, depth, len(up)), -np.inf)
    hop = latency + s.forward + np.append(up, 0.0)

    def room(taken: Array, t: int, keep: int) -> Array | float:
        """When there is a slot for message t: the ring has `lag + AHEAD + keep + 1`, and all are free at first."""
        return taken[(t + 1) % depth] + latency if t > s.lag + AHEAD + keep else -np.inf

    free = np.zeros(len(s.forward))
    for t in range(count):
        now, late = t % depth, (t - s.lag) % depth
        ready = free + s.before
        end = ready + s.forward
        end[:-1] = np.maximum(end[:-1], room(taken_up, t, s.lag)) + up
        if s.learn_inputs is None:
            end = _along(end, hop)
            taken_up[now] = np.maximum(ready[1:], end[:-1] + latency)
        sent_up[now] = end[:-1]
        free = end + s.after

        if s.relays:  # from the top down, each after the one above
            free[:-1] += s.learn[:-1]
            free[1:] += down
            free = _along(free[::-1], (latency + s.learn + np.append(0.0, down))[::-1])[::-1] + s.update
            yield free.copy()
            continue
        if s.feedback == "above":
            free[1:] = sent_down[now] = np.maximum(free[1:], room(taken_down, t, 0)) + down
        elif s.feedback == "last":  # to module 0, then 1, ...
            sent_down[now] = _along(np.maximum(free[-1], room(taken_down, t, 0)) + down, down)
            free[-1] = sent_down[now, -1]
        free += s.update
        if t >= s.lag and s.learn_inputs is not None:
            free[1:] = taken_up[late] = np.maximum(free[1:], sent_up[late] + latency)
            free += s.learn_inputs
        if t >= s.lag and s.feedback is not None:
            taken_down[late] = np.maximum(free[:-1], sent_down[late] + latency)
            free[:-1] = taken_down[late] + s.learn[:-1]
        yield free.copy()


def _along(start: Array, hop: Array) -> Array:
    """x of x_k = max(x_{k-1} + hop_k, start_k): what passes module after module, in one pass over arrays."""
    path = np.cumsum(hop)
    return path + np.maximum.accumulate(start - path)
