"""The loss and metrics of a task of a user's own, of one minibatch: what would end the first probe or evaluation.

The outputs are those of the untrained net on the first minibatch, if that is quick to compute, and an exception of the
loss is then told, too. Outputs of a large net are random numbers, which need not suit a loss: only what it gives is
looked at. An exception of the metrics is left to the run: a few examples need not hold every class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.config import Config
from unlocked.data import DataSet, TrainBatches
from unlocked.errors import ConfigError, UnlockedError
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES
from unlocked.seeding import derive_seed
from unlocked.tasks import Task
from unlocked.tasks.faults import fault_of_call, fault_of_loss, fault_of_metrics
from unlocked_models.contract.batch import Batch, moved
from unlocked_models.contract.chain import Chain

QUICK = 2e8  # floating-point operations of a forward pass, below which outputs are the net's own
LARGE = 10_000_000  # numbers of random outputs, above which there is no rehearsal
IsCtrlC = Callable[[BaseException], bool]
FEW = 2  # examples with random outputs


def rehearse_task(plan: Plan, data: DataSet, blocks: Sequence[nn.Module]) -> None:
    """Raises `ConfigError`, one line. `blocks`, of the whole net, may be on "meta"; their buffers may change."""
    config, task = plan.config, plan.make_task()
    loss_is_ours, metrics_are_ours = (_is_ours(type(task), name) for name in ("loss", "metrics"))
    loss_is_ours &= getattr(task, "own_loss", None) is None
    if loss_is_ours and metrics_are_ours:  # tests hold them, and scikit-learn takes a second to import
        return
    in_memory = not any(p.is_meta for block in blocks for p in block.parameters())
    quick = in_memory and sum(plan.costs) * config.data.batch_size <= QUICK
    with torch.random.fork_rng(devices=[]), knowing_of_ctrl_c() as is_ctrl_c:
        torch.default_generator.manual_seed(0)
        try:
            batch = _first_batch(config, data, config.data.batch_size if quick else FEW)
            target = task.target(batch)
            made = _outputs(config, blocks, batch) if quick else _random(plan, len(batch.y))
        except UnlockedError:
            raise
        except BaseException as error:  # of a transform or a block of a user's own: the run says it
            if is_ctrl_c(error):
                raise
            return
        if made is None:
            return
        if not loss_is_ours:
            _rehearse_loss(task, made.requires_grad_(), target, told=quick, is_ctrl_c=is_ctrl_c)
        if not metrics_are_ours:
            _rehearse_metrics(task, made.detach(), target, is_ctrl_c)


def _is_ours(task: type[Task], method: str) -> bool:
    return str(getattr(getattr(task, method), "__module__", "")).startswith("unlocked.")


def _first_batch(config: Config, data: DataSet, rows: int) -> Batch:
    seed = derive_seed(config.seed, "order")
    batches = TrainBatches(data.train, rows, seed, data.transforms, name=data.name)
    dtype = DTYPES[config.train.precision]
    x, y = (each.to(dtype) if each.is_floating_point() else each for each in (batches.x(0), batches.y(0)))
    return Batch(x, y, progress=0.0, extras=moved(batches.extras(0), dtype=dtype))


def _outputs(config: Config, blocks: Sequence[nn.Module], batch: Batch) -> Tensor:
    chain = Chain(blocks).to(DTYPES[config.train.precision]).eval()
    assert batch.x is not None
    with torch.no_grad():
        out: Tensor = chain(batch.x, batch)
    return out


def _random(plan: Plan, rows: int) -> Tensor | None:
    shape = (rows, *plan.specs[-1].out_shape)
    return torch.randn(shape, dtype=DTYPES[plan.config.train.precision]) if math.prod(shape) <= LARGE else None


def _rehearse_loss(task: Task, output: Tensor, target: Tensor, told: bool, is_ctrl_c: IsCtrlC) -> None:
    """`told`: whether an exception is."""
    try:
        loss = task.loss(output, target)
    except UnlockedError:
        raise
    except BaseException as error:  # a user's code raises whatever it likes
        if is_ctrl_c(error):
            raise
        if not told:
            return
        at = place(error)
        problem = f"fails on the first minibatch{f' at {at}' if at else ''}: {said(error)}"
        shapes = f"outputs of shape {tuple(output.shape)}, targets of shape {tuple(target.shape)}"
        raise ConfigError(f"task: {fault_of_call(task, 'loss', problem)} ({shapes})") from None
    if (fault := fault_of_loss(task, loss)) is not None:
        raise ConfigError(f"task: {fault}")


def _rehearse_metrics(task: Task, output: Tensor, target: Tensor, is_ctrl_c: IsCtrlC) -> None:
    try:
        with torch.no_grad():
            found = task.metrics(task.keep(output, target), target)
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return
    if (fault := fault_of_metrics(task, found)) is not None:
        raise ConfigError(f"task: {fault}")
