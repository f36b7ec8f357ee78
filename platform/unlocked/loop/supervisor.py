"""What follows a failure of the workers: the whole group starts again from the last checkpoint, or the run ends.

The decision is a value, `Restart` or `GiveUp`; what happened and the limits of the configuration are all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from unlocked.engine.group import Group, WorkerFailed

Result = TypeVar("Result")


@dataclass(frozen=True)
class Restart:
    from_step: int | None  # of the last checkpoint; None: from the start


@dataclass(frozen=True)
class GiveUp:
    reason: str


class Supervisor:
    """Gives a run one group of workers after the other until one has brought it to its end.

    Args:
        max_failures: restarts before it gives up.
        last_step: of the newest checkpoint; None if there is none.
        go_on: tells the user how to go on with a run that was given up.
        note: takes a line for the person who watches.
    """

    def __init__(self, max_failures: int, last_step: Callable[[], int | None], go_on: str, note: Callable[[str], None]):
        self.failures = 0
        self._max_failures, self._last_step, self._go_on, self._note = max_failures, last_step, go_on, note

    def run(
        self,
        start: Callable[[bool], Group],
        attempt: Callable[[Group], Result],
        failure_in: Callable[[BaseException], WorkerFailed | None],
    ) -> Result:
        """The result of the first `attempt` that no failure of its workers ends.

        Args:
            start: makes a group; its argument says whether one was lost before.
            attempt: trains the run to its end on that group.
            failure_in: the failure of workers behind an exception; None if it is none, and then it passes.
        """
        while True:
            group: Group | None = None
            try:
                group = start(self.failures > 0)
                return attempt(group)
            except BaseException as error:
                failure = failure_in(error)
                if failure is None:
                    raise
                self.failures += 1
                decision = self.decide(failure)
                if isinstance(decision, GiveUp):
                    failure.args = (decision.reason,)
                    raise failure from None
                self._note(f"{failure}; restart {self.failures} of {self._max_failures} from {_named(decision)}")
            finally:
                if group is not None:
                    group.close()

    def decide(self, failure: WorkerFailed) -> Restart | GiveUp:
        """After the latest of `failures`."""
        if failure.may_pass and self.failures <= self._max_failures:
            return Restart(self._last_step())
        tries = f" ({self.failures - 1} restarts before it)" if self.failures > 1 else ""
        return GiveUp(f"{failure.args[0]}{tries}; {self._go_on}")


def _named(restart: Restart) -> str:
    return "the start" if restart.from_step is None else f"step-{restart.from_step:08d}"
