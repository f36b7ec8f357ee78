"""When a run logs, evaluates, probes and saves: all of it follows from the plan and the step alone."""

from __future__ import annotations

from unlocked.callbacks import follows
from unlocked.plan.plan import Plan


class Calendar:
    """Of the run of a plan. `validates`: there is a validation split."""

    def __init__(self, plan: Plan, validates: bool):
        self._plan, self._every = plan, plan.config.train
        every, per_epoch = self._every, plan.steps_per_epoch
        # steps between two of a kind; None: never
        self._evaluation = (every.evaluate_steps or every.evaluate_every * per_epoch) if validates else None
        self._probe = every.probe_every * per_epoch or None
        self._checkpoint = every.checkpoint_every * per_epoch
        self._epoch = per_epoch if follows(plan.config.callbacks, "on_epoch_end") else None
        self._order = per_epoch if plan.config.data.easy_by == "loss" else None

    def next_log(self, step: int) -> int:
        """The end of the segment that begins with `step`: `log_every` steps, cut where an epoch ends."""
        return min(_next(step, self._every.log_every), _next(step, self._plan.steps_per_epoch), self._plan.total_steps)

    def next_sync(self, step: int) -> int:
        """The next step after which something is due."""
        periods = (self._evaluation, self._probe, self._checkpoint, self._order, self._epoch)
        return min(*(_next(step, each) for each in periods if each is not None), self._plan.total_steps)

    def next_checkpoint(self, step: int, stop: int) -> int:
        """Where one can be taken after Ctrl-C: late messages need `lag` steps' notice, which `stop` has."""
        start = step
        while step < min(start + self._plan.lag, stop):
            step = self.next_log(step)
        return step

    def evaluates(self, step: int) -> bool:
        """Whether after so many steps the validation split is due."""
        return self._due(step, self._evaluation)

    def probes(self, step: int) -> bool:
        return self._due(step, self._probe)

    def saves(self, step: int) -> bool:
        return self._due(step, self._checkpoint)

    def orders(self, step: int) -> bool:
        """Whether the epoch that begins after so many steps is drawn from the easiest examples of then."""
        share, total = self._plan.config.data.easy_first, self._plan.total_steps
        return self._order is not None and share is not None and step % self._order == 0 and step < share * total

    def epoch(self, step: int) -> int | None:
        """The epoch, counted from 1, that ends after so many steps, or that the run ends in; None: none does."""
        whole, more = divmod(step, self._plan.steps_per_epoch)
        if not more:
            return whole
        return whole + 1 if step >= self._plan.total_steps else None

    def _due(self, step: int, every: int | None) -> bool:
        return every is not None and (step % every == 0 or step >= self._plan.total_steps)


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every
