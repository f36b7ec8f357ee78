"""When a run logs, evaluates, probes and saves: all of it follows from the plan and the step alone."""

from __future__ import annotations

from unlocked.plan.plan import Plan


class Calendar:
    """Of the run of a plan. `validates`: there is a validation split."""

    def __init__(self, plan: Plan, validates: bool):
        self._plan, self._every, self._validates = plan, plan.config.train, validates

    def next_log(self, step: int) -> int:
        """The end of the segment that begins with `step`: `log_every` steps, cut where an epoch ends."""
        every, per_epoch = self._every.log_every, self._plan.steps_per_epoch
        return min((step // every + 1) * every, (step // per_epoch + 1) * per_epoch, self._plan.total_steps)

    def next_sync(self, step: int) -> int:
        """The end of the next epoch after which something is due."""
        every = self._every
        epochs = [every.checkpoint_every]
        epochs += [every.evaluate_every] if self._validates else []
        epochs += [every.probe_every] if every.probe_every else []
        epoch = step // self._plan.steps_per_epoch
        due = min((epoch // n + 1) * n for n in epochs)
        return min(due * self._plan.steps_per_epoch, self._plan.total_steps)

    def next_checkpoint(self, step: int, stop: int) -> int:
        """Where one can be taken after Ctrl-C: late messages need `lag` steps' notice, which `stop` has."""
        start = step
        while step < min(start + self._plan.lag, stop):
            step = self.next_log(step)
        return step

    def evaluates(self, epoch: int) -> bool:
        """Whether after this epoch, counted from 1, the validation split is due."""
        return self._validates and self._due(epoch, self._every.evaluate_every)

    def probes(self, epoch: int) -> bool:
        return self._every.probe_every > 0 and self._due(epoch, self._every.probe_every)

    def saves(self, epoch: int) -> bool:
        return self._due(epoch, self._every.checkpoint_every)

    def _due(self, epoch: int, every: int) -> bool:
        return epoch % every == 0 or epoch * self._plan.steps_per_epoch >= self._plan.total_steps
