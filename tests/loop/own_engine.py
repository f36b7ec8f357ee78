"""An engine of a user's own, as a plug-in: `--import tests/loop/own_engine.py parallel.engine=thread`.

All modules train in one thread beside that of the driver, which asks for everything by a queue.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from unlocked import Engine, Group, WorkerFailed, register_engine
from unlocked.engine.group import InProcessGroup


class ThreadGroup(Group):
    lost: ClassVar[list[int]] = []  # steps at which the thread is lost, once each
    started: ClassVar[list[bool]] = []  # `again` of every group

    def __init__(self, plan, data, imports=(), again=False):
        self.started.append(again)
        self._thread = ThreadPoolExecutor(1)
        self._inner = self._ask(InProcessGroup, plan, data)

    def _ask(self, function, *arguments):
        return self._thread.submit(function, *arguments).result()

    def run(self, segments, checkpoint_at):
        for start, stop in segments:
            if start in self.lost:
                self.lost.remove(start)
                raise WorkerFailed(f"the thread was lost at step {start}", "", may_pass=True)
            yield from self._ask(lambda piece: list(self._inner.run([piece], checkpoint_at)), (start, stop))

    def estimate_statistics(self, t):
        self._ask(self._inner.estimate_statistics, t)

    def outputs(self, split):
        return self._ask(self._inner.outputs, split)

    def probe(self):
        return self._ask(self._inner.probe)

    def states(self, t):
        return self._ask(self._inner.states, t)

    def load_states(self, states):
        self._ask(self._inner.load_states, states)

    def load_weights(self, weights):
        self._ask(self._inner.load_weights, weights)

    def set_level(self, data, level, begin):
        self._ask(self._inner.set_level, data, level, begin)

    def nonfinite(self):
        return self._ask(self._inner.nonfinite)

    def close(self):
        self._thread.shutdown()


@register_engine("thread")
class Thread(Engine):
    """Every module in one thread beside the driver's."""

    group = ThreadGroup
