"""The training loop: segments of steps, then evaluation, probe, checkpoint; one loop for every scheme and engine.

    for every epoch:  train on segments of `log_every` steps, evaluate on the validation split,
                      probe the alignment of gradients, checkpoint
    then:             the best weights (the last if there is no validation split) on the test split

`stepper.py` has the segments and their checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unlocked.data.easy_first import ranks
from unlocked.engine.group import Group
from unlocked.engine.segments import SegmentStats, alignments
from unlocked.errors import DataError, RunFailed, RunPruned
from unlocked.loop.callbacks import Callbacks, Training
from unlocked.loop.report import keep_shown
from unlocked.loop.stepper import Stepper
from unlocked.loop.watch import UNITS, Watch
from unlocked.metrics import higher_is_better
from unlocked.plan.plan import first_level, load_data
from unlocked.runs.checkpoint import load_weights
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import how_to_go_on
from unlocked.tasks.chosen import measured
from unlocked.tasks.faults import checked_metrics
from unlocked.tasks.losses import PerExample
from unlocked_models.contract.chain import Chain


@dataclass(frozen=True)
class Tested:
    """The test split under the weights that a run ends with."""

    weights: str  # best | last
    outputs: Tensor
    network: Chain | None  # None if the task needs outputs alone


class Trainer(Stepper):
    """Trains one run on a group of workers, from its newest checkpoint to the test split."""

    _watch: Watch | None = None
    _estimated_at: int | None = None  # the step to which the modules' running statistics belong
    _callbacks: Callbacks | None = None  # of this group; None: the configuration names none

    def run(self, group: Group) -> Tested:
        self._restore(group)
        self._train(group)
        tested = self._test(group)
        self._tell("on_train_end", group)
        self._refuse_failed()
        return tested

    def _log(self, values: dict[str, float]) -> None:
        super()._log({name: value for name, value in values.items() if not name.startswith(UNITS)})
        if self._watch is None:
            self._watch = Watch(self.reporter.note, self.plan.scheme.helps)
        self._watch.see(self.progress.step, values)

    def _validates(self) -> bool:
        return self.data.validation is not None

    def _restore(self, group: Group) -> None:
        self._estimated_at = None
        super()._restore(group)
        if self.config.callbacks:
            training = Training(self.plan, self.data, self.folder.path, self.reporter.note)
            self._callbacks = Callbacks(training, self.progress.callbacks)
        if self.progress.level is not None:
            self._set_level(group)
        if self.progress.lr_scale != 1.0:
            group.scale_rates(self.progress.lr_scale)
        if self.progress.difficulty is not None:
            group.order(self.progress.difficulty)

    def _begin(self, group: Group) -> None:
        if self.progress.step == 0 and self.plan.scheme.alone_is_backprop and self.plan.modules == 1:
            scheme = f"scheme.name={self.config.scheme.name}"
            more = (
                "; try parallel.modules=2" if len(self.plan.parameters) > 1 else ", and a net of one block has no more"
            )
            self.reporter.note(f"one module learns by backprop, also with {scheme}{more}")
        if self.progress.step == 0 and self._calendar.orders(0):
            self._order(group)
        if self.progress.step == 0 and self.config.train.probe_every:
            self._probe(group)
        self._tell("on_train_begin", group)
        self._heed_callbacks()
        if self.progress.step == 0 and self.progress.stopped_early:
            self._checkpoint(group, is_best=False)
        self._refuse_failed()

    def _at_sync(self, group: Group) -> None:
        every, step = self.config.train, self.progress.step
        epoch, last = self._calendar.epoch(step), step >= self.plan.total_steps
        values: dict[str, float] = {}
        found = self._validate(group) if self._calendar.evaluates(step) else None
        values |= found or {}
        if self._calendar.probes(step):
            values |= self._probe(group)
        if every.curriculum is not None and found is not None:
            followed = f"val/{self.task.climbs}"
            rises = higher_is_better(followed)
            solved = found[followed] >= every.curriculum if rises else found[followed] < every.curriculum
            values["curriculum/level"] = self._climb(group, solved)
        if self._calendar.orders(step):
            self._order(group)
        self._log(values)
        self._tell_evaluated(group, found)
        if epoch is not None:
            self._tell("on_epoch_end", group, epoch, dict(self.metrics))
        if self._ends() and found is None and self._validates():
            found = self._validate(group)
            self._log(found)
            self._tell_evaluated(group, found)
        self._heed_callbacks()
        is_best = found is not None and self.progress.best_step == step
        pruned = epoch is not None and bool(self.reporter.epoch(epoch, self.metrics)) and not last
        if self._calendar.saves(step) or is_best or self.progress.stopped_early or pruned or self._failed():
            self._checkpoint(group, is_best)
        self._refuse_failed()
        if pruned and epoch is not None:
            raise RunPruned(
                f"ended early after epoch {epoch} of {every.epochs} and saved; {how_to_go_on(self.folder.path)}", epoch
            )

    def _validate(self, group: Group) -> dict[str, float]:
        self._estimate_statistics(group)
        values = {f"val/{k}": v for k, v in self._evaluate(group, "validation").items()}
        is_best = self._note_best(values[f"val/{self.task.monitor}"], values["val/loss"])
        if self.config.optimizer.schedule == "plateau":
            self._decay_on_plateau(group, is_best)
        return values | {f"best/val_{self.task.monitor}": self.progress.best_value or 0.0}

    # callbacks --------------------------------------------------------------------------------------------

    def _tell(self, event: str, group: Group, *what: Any) -> None:
        """Them all of an event after which the net's weights can be had."""
        if self._callbacks is None:
            return

        def weights() -> dict[str, Tensor]:
            self._settle(group)
            return {name: x for state in group.states(self.progress.step) for name, x in state["weights"].items()}

        self._callbacks.now(self.progress.step, self.metrics)
        self._callbacks.tell(event, *what, weights=weights)
        self._log_of_callbacks()

    def _tell_evaluated(self, group: Group, found: dict[str, float] | None) -> None:
        if found is not None and self._callbacks is not None:
            own = {name.removeprefix("val/"): x for name, x in found.items() if name.startswith("val/")}
            self._tell("on_evaluate", group, "validation", own)

    def _watch_steps(self) -> bool:
        return self._callbacks is not None and self._callbacks.watch_steps

    def _after_segment(self, stats: list[SegmentStats]) -> None:
        if self._callbacks is not None and self._watch_steps():
            self._callbacks.now(self.progress.step, self.metrics)
            self._callbacks.tell_steps(stats)
            self._log_of_callbacks()

    def _log_of_callbacks(self) -> None:
        assert self._callbacks is not None
        for step, values in self._callbacks.take_logged().items():
            self.metrics |= values
            self.tracker.metrics(step, values)

    def _ends(self) -> bool:
        return self._callbacks is not None and (self._callbacks.stopped is not None or self._failed())

    def _heed_callbacks(self) -> None:
        p, why = self.progress, self._callbacks.stopped if self._callbacks is not None else None
        if why is not None and not p.stopped_early:
            p.stopped_early, p.stopped_because = True, why
            self.reporter.note(f"stopped early at step {p.step}: {why}")

    def _failed(self) -> bool:
        return self._callbacks is not None and self._callbacks.failed is not None

    def _refuse_failed(self) -> None:
        """Ends the run, which is saved, if a callback failed."""
        if self._callbacks is None or (failed := self._callbacks.failed) is None:
            return
        last = self.checkpoints.last_step()
        saved = (
            f"saved at step {last}; {how_to_go_on(self.folder.path)}" if last is not None else "no step was saved yet"
        )
        raise RunFailed(f"{failed}; {saved}") from failed.__cause__

    def _climb(self, group: Group, solved: bool) -> int:
        """The level that training goes on with: the next one if this one is `solved`."""
        p = self.progress
        level = p.level or first_level(self.config)
        if solved:
            try:
                load_data(self.config, level + 1)
            except DataError:  # there is none: this level is the last
                return level
            level += 1
            # what was best is the best of another, easier set
            p.level, p.level_step, p.best_value, p.best_loss, p.stale_evaluations = level, p.step, None, None, 0
            self._set_level(group)
            self.reporter.note(f"level {level} from step {p.step} on")
        return level

    def _order(self, group: Group) -> None:
        """Of the training examples in the epoch that begins: by the loss that the net has on each now."""
        self._estimate_statistics(group)
        assert isinstance(self.task, PerExample)  # else the plan was refused
        each = self.task.each(group.outputs("train"), self.task.target(self.data.train_shown.to("cpu")))
        self.progress.difficulty = ranks(each)
        group.order(self.progress.difficulty)

    def _set_level(self, group: Group) -> None:
        level = self.progress.level
        assert level is not None
        self.data = load_data(self.config, level)
        group.set_level(self.data, level, self.progress.level_step)

    def _note_best(self, value: float, loss: float) -> bool:
        """Whether this evaluation is the best so far; equal ones are told apart by their loss."""
        p, sign = self.progress, 1.0 if self.task.higher_is_better else -1.0
        if p.best_value is None or (sign * value, -loss) > (sign * p.best_value, -(p.best_loss or 0.0)):
            p.best_value, p.best_loss, p.best_step, p.stale_evaluations = value, loss, p.step, 0
            return True
        p.stale_evaluations += 1
        patience = self.config.train.patience
        p.stopped_early = patience is not None and p.stale_evaluations >= patience
        if p.stopped_early:
            why = f"{patience} evaluations without a better val/{self.task.monitor}"
            p.stopped_because = f"train.patience: {why}"
            self.reporter.note(f"stopped early: {why}")
        return False

    def _decay_on_plateau(self, group: Group, is_best: bool) -> None:
        p, given = self.progress, self.config.optimizer
        p.plateau = 0 if is_best else p.plateau + 1
        if p.plateau >= given.plateau_patience:
            p.plateau, p.lr_scale = 0, p.lr_scale * given.decay
            group.scale_rates(p.lr_scale)
            self.reporter.note(f"step {p.step}: the rate is now {given.lr * p.lr_scale:g} (optimizer.schedule=plateau)")

    def _settle(self, group: Group) -> None:
        self._estimate_statistics(group)

    def _checkpoint(self, group: Group, is_best: bool) -> None:
        if self._callbacks is not None:
            self.progress.callbacks = self._callbacks.states()
        super()._checkpoint(group, is_best)

    # measuring --------------------------------------------------------------------------------------------

    def _estimate_statistics(self, group: Group) -> None:
        if self._estimated_at != self.progress.step:
            group.estimate_statistics(self.progress.step)
            self._estimated_at = self.progress.step

    def _evaluate(self, group: Group, split: str) -> dict[str, float]:
        outputs = group.outputs(split)
        if self.config.tracking.figures and (shown := self.task.shown(outputs, self.data, split)) is not None:
            keep_shown(self.folder.path, self.progress.step, shown)
        return self._measured(outputs, split)

    def _measured(self, outputs: Tensor, split: str) -> dict[str, float]:
        """Metrics of a split; says if the loss, or what is monitored, is NaN."""
        found = checked_metrics(self.task, measured(self.task, outputs, self.data, split, self.config.metrics))
        nan = [name for name in dict.fromkeys(("loss", self.task.monitor)) if math.isnan(found[name])]
        if nan:
            self.reporter.note(
                f"{' and '.join(nan)} of the {split} split: NaN; its outputs are not finite, or it has no target to "
                f"score"
            )
        return found

    def _probe(self, group: Group) -> dict[str, float]:
        values = alignments(group.probe())
        if self.progress.step == 0:
            self._log(values)
        return values

    # the end ----------------------------------------------------------------------------------------------

    def _test(self, group: Group) -> Tested:
        self.reporter.doing("testing")
        best = self.checkpoints.best() if self.data.validation is not None else None
        weights = "best" if best is not None else "last"
        if best is not None:
            group.load_weights(load_weights(best))
        outputs = group.outputs("test")
        found = self._measured(outputs, "test")
        network: Chain | None = None
        if self.task.asks_network:
            network, _ = load_chain(self.folder.path, self.config, self.data, weights)
            final = self.task.final_metrics(network, self.data, "test")
            found |= checked_metrics(self.task, final, "final_metrics")
        self._log({f"test/{k}": v for k, v in found.items()})
        self._tell("on_evaluate", group, "test", found)
        return Tested(weights, outputs, network)
