"""Throughput of K modules under every schedule, predicted from what their parts cost: no worker is started.

The engine's schedules are static. A worker does a fixed list of tasks in a fixed order; which tasks of other workers
each of them waits for is fixed too, and none is ever dropped, chosen or overtaken. So a task ends its own duration
after the latest end of those it follows: the longest path to it in a graph without circles. An event queue would visit
the same ends in the order of time and give each the same value; here they are sums and maxima over arrays of all
modules, minibatch after minibatch, because whatever one waits for lies in an earlier minibatch or in a module passed
before.

What is followed: the order of `Stage.run` and of the learners' `step` and `absorb`; the lags; rings of shared memory,
whose sender waits if nobody took the message `lag + AHEAD` before; the copy, which the sender pays; dfa's error,
which the last module sends to the others one after the other; and the microbatches of pipelined backprop. What is not:
the interpreter's time between tasks, other programs, and that no two steps take the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from unlocked.bench.simulated.cost_model import Array, Costs, Link
from unlocked.bench.simulated.pipelines import PIPELINES, refusal, run_pipeline
from unlocked.bench.simulated.ticks import Ticks, run_ticks

DNI_LAG = 2  # for any number of modules; dfa's lag is that number

ONE, UNLOCK = "backprop_1_thread", "unlock"  # the names of `contenders`
ORDER = (ONE, "ideal", "locked", *PIPELINES, "dni", "cdni", UNLOCK, "dfa", "frozen")


@dataclass(frozen=True)
class Prediction:
    """Of one schedule."""

    rate: float  # steps per second once all modules have work
    speedup: float  # of `rate` over one process
    run_rate: float  # steps per second of a run from its first step, so with the time that filling takes
    waiting: Array  # `(K,)` share of its time that each module waits for a message or for room to send one


@dataclass(frozen=True)
class Simulation:
    predictions: dict[str, Prediction]
    left_out: dict[str, str]  # schedule -> why it cannot run here


def simulate(modules: Costs, link: Link, microbatches: int, steps: int = 1000, contention: float = 1.0) -> Simulation:
    """One process, and every schedule with one worker for each of K >= 2 `modules` and `link` between any two.

    Args:
        microbatches: M of pipelined backprop.
        steps: of the run that `run_rate` is about.
        contention: what computing takes where all workers compute at once, over what it takes alone: 1 with a machine
            for each. It slows every schedule but locked, under which one computes at a time.
    """
    if len(modules) < 2:
        raise ValueError(f"{len(modules)} module leaves nothing to simulate; expected at least 2")
    one = float(modules.data + np.sum(modules.step))
    found = {ONE: Prediction(1 / one, 1.0, 1 / one, np.zeros(1))}
    left_out: dict[str, str] = {}

    def add(name: str, ends: Array, busy: Array, start: int) -> None:
        """`ends` of the first minibatches; from index `start` on they come at one pace."""
        period = float(ends[-1] - ends[start]) / (len(ends) - 1 - start)
        run = float(ends[steps - 1]) if steps <= len(ends) else float(ends[-1]) + (steps - len(ends)) * period
        found[name] = Prediction(1 / period, one / period, steps / run, 1 - busy / period)

    together = modules.slowed(contention)
    alone = together.step + _first(together)
    add("ideal", np.arange(1, 3) * alone.max(), alone, start=0)
    for name, pipeline in PIPELINES.items():
        why = refusal(name, len(modules), microbatches)
        if why is not None:
            left_out[name] = why
        else:
            add(name, *run_pipeline(pipeline, together, link, microbatches), start=1)
    count = 4 * len(modules) + 64  # the chain is full after K, dfa's errors are there K later
    for name, ticks in [("locked", _locked(modules)), *_decoupled(together)]:
        busy = ticks.busy(link)
        if not np.isfinite(busy).all():
            left_out[name] = "its models fit no cut into so many modules"
        else:
            add(name, np.array([ends.max() for ends in run_ticks(ticks, link, count)]), busy, start=3 * count // 4)
    return Simulation({name: found[name] for name in ORDER if name in found}, left_out)


def _locked(m: Costs) -> Ticks:
    return replace(_backprop_at_the_top(m), learn=m.backward, update=m.update, feedback="above", relays=True)


def _decoupled(m: Costs) -> Iterator[tuple[str, Ticks]]:
    top = _backprop_at_the_top(m)
    below = np.arange(len(m)) < len(m) - 1
    for name, predict, learn in (("dni", m.dni_predict, m.dni_learn), ("cdni", m.cdni_predict, m.cdni_learn)):
        dni = replace(
            top,
            after=m.backward + np.where(below, predict, 0.0),
            update=m.update,
            learn=learn,
            feedback="above",
            lag=DNI_LAG,
        )
        yield name, dni
    above = np.arange(len(m)) > 0  # every module reads x, and those above the first again when their late h comes
    yield (
        UNLOCK,
        replace(
            dni,
            before=m.data + np.where(above, m.inputs_predict, 0.0),
            learn_inputs=np.where(above, m.data + m.inputs_learn, 0.0),
        ),
    )
    own = m.project + m.backward_weight + m.update  # no gradient passes from a block to the one below
    yield (
        "dfa",
        replace(
            top,
            after=np.zeros(len(m)),
            update=np.where(below, 0.0, own),
            learn=own,
            feedback="last",
            bytes_down=np.full(len(m) - 1, m.error_bytes),
            lag=len(m),
        ),
    )
    # nobody below asks the last module for a gradient: its first block does not compute it
    yield "frozen", replace(top, after=np.where(below, 0.0, m.backward - m.entry_input))


def _backprop_at_the_top(m: Costs) -> Ticks:
    """All run forward, the last one learns."""
    nothing, below = np.zeros(len(m)), np.arange(len(m)) < len(m) - 1
    return Ticks(
        before=_first(m),
        forward=m.forward,
        after=np.where(below, 0.0, m.backward),
        update=np.where(below, 0.0, m.update),
        learn=nothing,
        bytes_up=m.bytes_out[:-1],
        bytes_down=m.bytes_out[:-1],
    )


def _first(m: Costs) -> Array:
    """Reading the inputs, which the first module alone does."""
    return np.where(np.arange(len(m)) == 0, m.data, 0.0)
