"""Backprop in microbatches, simulated: gpipe, 1f1b, interleaved and zero bubble, from the order of each worker's tasks.

* gpipe (Huang et al. 2019, arXiv 1811.06965): all microbatches forward, then all backward.
* 1f1b (Narayanan et al. 2021, arXiv 2104.04473, section 2.2): a backward as soon as there is one to do.
* interleaved (the same, section 2.2): 1f1b where worker k holds modules k and K + k of 2K, microbatches in groups of K.
* zero_bubble (Qi et al. 2023, arXiv 2401.10241, section 6: ZB-V): worker k holds modules k and 2K - 1 - k; a backward
  is two tasks, the gradient of the input and that of the weights, and the second waits where a bubble would be.

The orders are those of torch.distributed.pipelining, which the engine runs. A worker does its tasks in its order, each
when what it needs is there; after the last it takes its optimiser step and goes on to the next minibatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlocked.bench.simulated.cost_model import Array, Costs, Link

FORWARD, BACKWARD, WEIGHT = 0, 1, 2  # a backward is of input and weights, or of the input alone where WEIGHT follows
MINIBATCHES = 6  # simulated, one after the other; from the second to the last they come at one pace

Order = Callable[[int, int, int], NDArray[np.int32]]  # worker, workers, microbatches -> its tasks `(n, 3)`


@dataclass(frozen=True)
class Pipeline:
    order: Order  # rows of (kind, chunk of the worker, microbatch)
    chunks: int = 1  # modules per worker
    folded: bool = False  # the second module of worker k is 2K - 1 - k, not K + k
    splits: bool = False  # the backward into two tasks


def _tasks(kind: int, chunk: NDArray[np.int32] | int, microbatch: NDArray[np.int32]) -> NDArray[np.int32]:
    out = np.empty((len(microbatch), 3), dtype=np.int32)
    out[:, 0], out[:, 1], out[:, 2] = kind, chunk, microbatch
    return out


def _range(start: int, stop: int) -> NDArray[np.int32]:
    return np.arange(start, stop, dtype=np.int32)


def _in_turn(*streams: NDArray[np.int32]) -> NDArray[np.int32]:
    """The first of each, the second of each, ..."""
    return np.stack(streams, axis=1).reshape(-1, 3)


def _gpipe(worker: int, workers: int, microbatches: int) -> NDArray[np.int32]:
    each = _range(0, microbatches)
    return np.concatenate([_tasks(FORWARD, 0, each), _tasks(BACKWARD, 0, each)])


def _one_forward_one_backward(
    forward: NDArray[np.int32], backward: NDArray[np.int32], warm_up: int
) -> NDArray[np.int32]:
    warm_up = min(warm_up, len(forward))
    steady = len(forward) - warm_up
    return np.concatenate([forward[:warm_up], _in_turn(forward[warm_up:], backward[:steady]), backward[steady:]])


def _1f1b(worker: int, workers: int, microbatches: int) -> NDArray[np.int32]:
    each = _range(0, microbatches)
    return _one_forward_one_backward(_tasks(FORWARD, 0, each), _tasks(BACKWARD, 0, each), workers - 1 - worker)


def _interleaved(worker: int, workers: int, microbatches: int) -> NDArray[np.int32]:
    group = microbatches // _rounds(workers, microbatches)
    i = _range(0, 2 * microbatches)
    chunk, microbatch = i // group % 2, i // (2 * group) * group + i % group
    return _one_forward_one_backward(
        _tasks(FORWARD, chunk, microbatch), _tasks(BACKWARD, 1 - chunk, microbatch), group + 2 * (workers - 1 - worker)
    )


def _rounds(workers: int, microbatches: int) -> int:
    return max(1, microbatches // workers)


def _zero_bubble(worker: int, workers: int, microbatches: int) -> NDArray[np.int32]:
    count = max(2 * workers - 1, microbatches)  # those that do not exist are taken out at the end
    here, above = worker, workers - worker  # workers below this one, and the others

    def tasks(kind: int, chunk: int, start: int, stop: int) -> NDArray[np.int32]:
        return _tasks(kind, chunk, _range(start, stop))

    def both(chunk: int, start: int, stop: int) -> list[NDArray[np.int32]]:
        return [tasks(BACKWARD, chunk, start, stop), tasks(WEIGHT, chunk, start, stop)]

    first = 2 * above - 1
    ahead = first + here  # forwards of chunk 0 before the stable phase: 2K - 1 - worker
    fill = count - ahead  # rounds of the stable phase that still have one
    order = np.concatenate(
        [
            tasks(FORWARD, 0, 0, first),
            _in_turn(tasks(FORWARD, 1, 0, here), tasks(FORWARD, 0, first, ahead)),
            _in_turn(tasks(FORWARD, 1, here, workers), *both(1, 0, above)),
            _in_turn(
                tasks(FORWARD, 0, ahead, count),
                *both(0, 0, fill),
                tasks(FORWARD, 1, workers, workers + fill),
                *both(1, above, above + fill),
            ),
            _in_turn(
                *both(0, fill, count - workers),
                tasks(FORWARD, 1, workers + fill, count),
                *both(1, above + fill, count - here),
            ),
            _in_turn(tasks(BACKWARD, 0, count - workers, count - above), tasks(BACKWARD, 1, count - here, count)),
            _in_turn(tasks(BACKWARD, 0, count - above, count), tasks(WEIGHT, 0, count - workers, count - here)),
            tasks(WEIGHT, 1, count - here, count),
            tasks(WEIGHT, 0, count - here, count),
        ]
    )
    return order[order[:, 2] < microbatches]


PIPELINES = {
    "gpipe": Pipeline(_gpipe),
    "1f1b": Pipeline(_1f1b),
    "interleaved": Pipeline(_interleaved, 2),
    "zero_bubble": Pipeline(_zero_bubble, 2, folded=True, splits=True),
}


def refusal(name: str, workers: int, microbatches: int) -> str | None:
    """Why the schedule cannot run so many microbatches; None when it can."""
    rounds = _rounds(workers, microbatches)
    if name == "interleaved" and microbatches % rounds:
        return f"{microbatches} microbatches do not make {rounds} equal groups, one per turn of the {workers} workers"
    return None


def run_pipeline(pipeline: Pipeline, costs: Costs, link: Link, microbatches: int) -> tuple[Array, Array]:
    """When each of `MINIBATCHES` minibatches is done by all, and the seconds `(K,)` that a minibatch keeps each busy.

    A module on a worker that holds two costs each of them half of its own, and all messages have the mean size of a
    boundary, divided by M. A task of M has the share of a minibatch that its examples are, and the whole of what a
    call costs.
    """
    workers, chunks = len(costs), pipeline.chunks
    stages = workers * chunks
    holds = np.stack(
        [_range(0, workers), stages - 1 - _range(0, workers) if pipeline.folded else workers + _range(0, workers)],
        axis=1,
    )[:, :chunks]  # (K, chunks): modules of a worker
    holder = np.empty(stages, dtype=np.int64)
    holder[holds] = np.arange(workers)[:, None]

    def of_microbatch(whole: Array, call: Array) -> Array:
        return (call + (whole - call) / microbatches)[holder] / chunks

    forward = of_microbatch(costs.forward, costs.forward_call)
    to_input = of_microbatch(costs.backward_input, costs.backward_input_call)
    to_weight = of_microbatch(costs.backward_weight, costs.backward_weight_call)
    copy = link.copy(float(np.mean(costs.bytes_out[:-1])) / microbatches)
    leaves = np.append(holder[1:] != holder[:-1], False)  # output of the module goes to another worker
    comes = np.append(False, leaves[:-1])
    work = np.stack(
        [
            forward + copy * leaves,
            (to_input if pipeline.splits else to_input + to_weight) + copy * comes,
            to_weight * pipeline.splits,
        ]
    )  # (kind, module)

    tables = [pipeline.order(worker, workers, microbatches) for worker in range(workers)]
    kind, chunk, microbatch = (np.stack([table[:, i] for table in tables]) for i in range(3))
    module = holds[np.arange(workers)[:, None], chunk]
    task = (kind * stages + module) * microbatches + microbatch  # (K, tasks of a worker)
    group = np.arange(3 * stages)  # of a task: its kind and module
    needs = np.concatenate([group[:stages] - 1, group[stages : 2 * stages] + 1, group[2 * stages :] - stages])
    needs[2 * stages - 1] = stages - 1  # the last module's backward needs its own forward; the first forward nothing
    lag = link.latency * np.concatenate([comes, leaves, np.zeros(stages, dtype=bool)])
    reads = costs.data * (np.arange(workers) == 0)

    free, ends = np.zeros(workers), []
    for _ in range(MINIBATCHES):
        free = _one_minibatch(task, needs, work.ravel(), lag, free + reads, microbatches) + costs.update
        ends.append(free.max())
    counts = np.stack([(kind == which).sum(axis=1) for which in (FORWARD, BACKWARD, WEIGHT)]) / chunks  # = M, or 0
    per_module = work[:, holds].sum(axis=2)  # (kind, K)
    return np.array(ends), (counts * per_module).sum(axis=0) + costs.update + reads


def _one_minibatch(
    task: NDArray[np.int32], needs: NDArray[np.int64], work: Array, lag: Array, free: Array, microbatches: int
) -> Array:
    """When each worker, free from `free` on, has done its row of `task (K, n)`.

    Longest paths, by rounds in which every worker whose next task has all it needs does it: the order in which the
    rounds visit tasks has no part in the result. Raises `RuntimeError` if all wait for each other.
    """
    done = np.full(len(needs) * microbatches + 1, np.inf)
    done[-1] = 0.0  # what needs nothing needs this
    free, at = free.copy(), np.zeros(len(task), dtype=np.int64)
    going = np.arange(len(task))
    while len(going):
        now = task[going, at[going]]
        group, microbatch = np.divmod(now, microbatches)
        before = needs[group]
        there = done[np.where(before < 0, len(done) - 1, before * microbatches + microbatch)] + lag[group]
        can = there < np.inf
        if not can.any():
            raise RuntimeError("the order of the tasks leaves every worker waiting for another")
        workers, now, group = going[can], now[can], group[can]
        end = np.maximum(free[workers], there[can]) + work[group]
        free[workers] = done[now] = end
        at[workers] += 1
        going = going[at[going] < task.shape[1]]
    return free
