"""`unlocked check`: whether a configuration can train at all, before hours are spent on it.

Gradients against differences in float64, one minibatch learned by heart, units that say nothing, the gradient of every
block, and the learning rate by a range test (Smith 2017, arXiv 1506.01186). Numbers go on from nothing: no run is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from unlocked.config import Config, to_dict
from unlocked.config.schemes import flatten
from unlocked.data import DataSet
from unlocked.engine.group import InProcessGroup
from unlocked.engine.module import ModuleRunner
from unlocked.engines import HERE
from unlocked.errors import ConfigError, RunFailed, reason
from unlocked.optim import searches
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schema.keys import ParallelConfig
from unlocked.schemes.units import counted
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import takes_batch
from unlocked_models.contract.registry import MODELS

ROWS = 4  # examples of the numerical check
LEARNED = 0.5  # of its first loss, below which a minibatch counts as learned
VANISHING, EXPLODING = 1e-3, 1e3  # ratio of the first block's gradient to the last one's, and the other way round
RATES = (1e-6, 10.0)  # of the range test


@dataclass
class Finding:
    """One line of the report."""

    check: str
    ok: bool | None  # None: it was not possible
    words: str


@dataclass
class Report:
    findings: list[Finding] = field(default_factory=list)
    gradients: dict[str, list[float]] = field(default_factory=dict)  # of every block, by the label of its variant
    rates: list[tuple[float, float]] = field(default_factory=list)  # rate and loss
    suggestion: float | None = None

    def add(self, check: str, ok: bool | None, words: str) -> None:
        self.findings.append(Finding(check, ok, words))

    @property
    def sound(self) -> bool:
        return all(each.ok is not False for each in self.findings)


def checkup(config: Config, variants: Mapping[str, Config], steps: int) -> Report:
    """Args: variants: configurations whose gradients are shown beside; steps: of one minibatch, and of the range."""
    if MODELS.facts(config.model["name"])["nets"]:
        raise ConfigError(f"check: {config.model['name']} has several nets, whose losses have no one gradient")
    data = load_data(config)
    make_plan(config, data)  # whatever cannot be is said as by train
    report = Report()
    _check_numerically(config, report)
    _check_memory(config, report, steps)
    _check_units(config, data, report)
    report.gradients = {_as_configured(config, variants): gradients(config, data)}
    _judge_gradients(report)
    for label, other in variants.items():
        report.gradients[label] = gradients(other, load_data(other))
    _test_range(config, data, report, steps)
    return report


def _as_configured(config: Config, changes: Iterable[str]) -> str:
    """The label of the configuration itself, with what it says where the variants say otherwise."""
    own = flatten(to_dict(config))
    said = dict.fromkeys(key for key in (change.partition("=")[0] for change in changes) if key in own)
    return "as configured" + (": " + ", ".join(f"{key}={own[key]}" for key in said) if said else "")


# numerical gradients ----------------------------------------------------------------------------------------


def _check_numerically(config: Config, report: Report) -> None:
    """Of every parameter, along a random direction (gradcheck's fast mode), in evaluation mode and float64."""
    small = _plainly(config, train=replace(config.train, precision="fp64"))
    small = replace(small, data=replace(small.data, batch_size=min(ROWS, config.data.batch_size)))
    try:
        runner, batch = _first(small, load_data(small))
        wrong, count = wrong_gradients(runner, batch)
    except (ConfigError, RunFailed, RuntimeError) as error:
        report.add("gradients", None, f"could not be compared with differences: {reason(error)}")
        return
    if wrong:
        report.add(
            "gradients",
            False,
            f"of {', '.join(wrong[:5])} are not those of differences; a step function passes gradients straight "
            f"through by design, anything else is a fault of the block",
        )
    else:
        report.add("gradients", True, f"all {count} parameters agree with differences in float64")


def wrong_gradients(runner: ModuleRunner, batch: Batch) -> tuple[list[str], int]:
    """Names of parameters whose gradient is not the slope of the loss, and how many were looked at."""
    learner = runner.learner
    chain, objective = learner.chain.eval(), learner.objective
    named = {name: p for name, p in chain.named_parameters() if p.requires_grad}
    assert batch.x is not None
    x, wrong = batch.x, []

    def loss_of(name: str, value: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # what is drawn is the same for both sides
            out: Tensor = functional_call(chain, {name: value}, (x, batch))
            return objective.loss(out, batch)

    for name, p in named.items():
        value = p.detach().clone().requires_grad_()
        given: dict[str, Any] = {"eps": 1e-6, "atol": 1e-5, "rtol": 1e-3, "fast_mode": True, "raise_exception": False}
        if not torch.autograd.gradcheck(partial(loss_of, name), (value,), **given):
            wrong.append(name)
    return wrong, len(named)


# one minibatch ----------------------------------------------------------------------------------------------


def _check_memory(config: Config, report: Report, steps: int) -> None:
    """The run's own scheme on as many examples as a minibatch has."""
    one = replace(_here(config), data=replace(config.data, examples=config.data.batch_size, validation=0.0))
    try:
        losses = _train(replace(one, train=replace(one.train, steps=steps)), load_data(one), steps)
    except (ConfigError, RunFailed, RuntimeError) as error:
        report.add("one minibatch", None, f"could not be trained on alone: {reason(error)}")
        return
    if not losses:
        report.add("one minibatch", None, f"{config.scheme.name} records no loss")
        return
    first, last = losses[0], sum(losses[-5:]) / len(losses[-5:])
    words = f"the loss of one minibatch goes from {first:.4g} to {last:.4g} in {len(losses)} steps"
    if math.isfinite(last) and last < LEARNED * first:
        report.add("one minibatch", True, words)
    else:
        remedy = "a lower" if not math.isfinite(last) or last > first else "a higher"
        report.add(
            "one minibatch", False, f"{words}: it is not learned by heart; {remedy} optimizer.lr, or --steps, may help"
        )


def _train(config: Config, data: DataSet, steps: int) -> list[float]:
    plan = make_plan(config, data)
    group = InProcessGroup(plan, data)
    found: list[float] = []
    for stats in group.run([(0, min(steps, plan.total_steps))], plan.total_steps):
        found = stats[-1].series.get("loss", [])
    return found


# units and gradients ----------------------------------------------------------------------------------------


def _check_units(config: Config, data: DataSet, report: Report) -> None:
    runner, batch = _first(_plainly(config), data)
    assert batch.x is not None
    h = batch.x
    said = False
    for i, block in enumerate(runner.learner.chain):
        with torch.no_grad(), counted(block) as units:
            h = block(h, batch) if takes_batch(block) else block(h)
        for word, share, remedy in (
            ("dead", units.dead, "init={name: he} or model.norm=batch"),
            ("saturated", units.saturated, "init={name: xavier} or model.norm=batch"),
        ):
            if share is not None and share > 0.5:
                said = True
                report.add(
                    "units", False, f"{float(share):.0%} of block {i} are {word} at the start; {remedy} may help"
                )
    if not said:
        report.add("units", True, "none of the blocks begins with most of its units dead or saturated")


def gradients(config: Config, data: DataSet) -> list[float]:
    """Root mean square of dL/dW of each block that has weights, on the first minibatch, by backprop."""
    runner, batch = _first(_plainly(config), data)
    learner = runner.learner
    assert batch.x is not None
    h, local = learner.run_chain(batch.x, batch)
    loss = learner.objective.loss(h, batch)
    (loss if local is None else loss + local).backward()
    found = []
    for block in learner.chain:
        of_block = [p.grad.flatten() for p in block.parameters() if p.grad is not None and p.dim() > 1]
        if of_block:
            found.append(float(torch.cat(of_block).square().mean().sqrt()))
    return found


def _judge_gradients(report: Report) -> None:
    (found,) = report.gradients.values()
    if len(found) < 2 or not found[-1]:
        report.add("gradient by block", None if len(found) < 2 else False, "there is none at the last block")
        return
    ratio = found[0] / found[-1]
    words = f"the first block's gradient is {ratio:.2g} of the last one's"
    if ratio < VANISHING:
        report.add(
            "gradient by block", False, f"{words}: it vanishes; activation=relu, model.norm=batch or shorter nets help"
        )
    elif ratio > EXPLODING or not math.isfinite(ratio):
        report.add(
            "gradient by block", False, f"{words}: it explodes; smaller initial weights or model.norm=batch help"
        )
    else:
        report.add("gradient by block", True, words)


# the learning rate ------------------------------------------------------------------------------------------


def _test_range(config: Config, data: DataSet, report: Report, steps: int) -> None:
    """The loss of the run's own scheme while the rate grows from step to step."""
    if searches(config.optimizer.name):
        report.add("learning rate", None, f"{config.optimizer.name} searches along a line")
        return
    plain = replace(config.optimizer, schedule="constant", warmup=0)
    tested = replace(_here(config), optimizer=plain, train=replace(config.train, steps=steps, accumulate=1))
    try:
        report.rates = list(_ranged(tested, data, steps))
    except (ConfigError, RunFailed, RuntimeError) as error:
        report.add("learning rate", None, f"could not be tested: {reason(error)}")
        return
    report.suggestion = suggested(report.rates)
    if report.suggestion is None:
        report.add("learning rate", None, "no rate of the range lowers the loss; try more --steps")
    else:
        report.add("learning rate", True, f"optimizer.lr={report.suggestion:.1e} falls steepest (now {plain.lr:g})")


def _ranged(config: Config, data: DataSet, steps: int) -> Iterator[tuple[float, float]]:
    plan = make_plan(config, data)
    group, (low, high) = InProcessGroup(plan, data), RATES
    lowest = math.inf
    for t in range(min(steps, plan.total_steps)):
        rate = low * (high / low) ** (t / max(1, steps - 1))
        group.scale_rates(rate / config.optimizer.lr)
        (stats,) = group.run([(t, t + 1)], plan.total_steps)
        loss = stats[-1].series.get("loss", [math.nan])[-1]
        if not math.isfinite(loss) or loss > 4 * lowest > 0:
            return
        lowest = min(lowest, loss)
        yield rate, loss


def suggested(rates: Sequence[tuple[float, float]]) -> float | None:
    """The rate at which the smoothed loss falls steepest over the logarithm of the rate, before it is lowest.

    >>> suggested([(10.0**-e, loss) for e, loss in ((6, 2.0), (5, 2.0), (4, 1.9), (3, 1.0), (2, 0.8), (1, 5.0))])
    0.001
    """
    if len(rates) < 5:
        return None
    losses = [loss for _, loss in rates]
    smooth = [sum(losses[max(0, i - 1) : i + 2]) / len(losses[max(0, i - 1) : i + 2]) for i in range(len(losses))]
    lowest = min(range(len(smooth)), key=smooth.__getitem__)
    slopes = [(smooth[i + 1] - smooth[i - 1], i) for i in range(1, min(lowest + 1, len(smooth) - 1))]
    if not slopes or min(slopes)[0] >= 0:
        return None
    return rates[min(slopes)[1]][0]


# configurations ---------------------------------------------------------------------------------------------


def _here(config: Config) -> Config:
    """In this process, its modules as they are."""
    parallel = replace(config.parallel, engine=HERE, replicas=1, schedule="locked", modules_per_worker=None)
    return replace(config, parallel=replace(parallel, microbatches=None))


def _plainly(config: Config, **changes: Any) -> Config:
    """As one module by the true gradient."""
    parallel = ParallelConfig(engine=HERE, device=config.parallel.device, threads=config.parallel.threads)
    return replace(config, scheme=type(config.scheme)(), parallel=parallel, **changes)


def _first(config: Config, data: DataSet) -> tuple[ModuleRunner, Batch]:
    """The net as one module, and its first minibatch."""
    (runner,) = InProcessGroup(make_plan(config, data), data).modules
    return runner, runner.minibatch(0)
