"""Several nets over Ray workers, which walk through the phases of a step together."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unlocked.engine.mail import path_of
from unlocked.launch.ray_group import RayGroup
from unlocked.plan.plan import Plan
from unlocked.schemes import Alignment


class RayNetsGroup(RayGroup):
    """States are those of `NetsGroup`, in its order: a run may go on in one process."""

    def estimate_statistics(self, t: int) -> None: ...

    def outputs(self, split: str) -> Tensor:
        (made,) = (out for out in self._of_first_replica("outputs", split) if out is not None)
        assert isinstance(made, Tensor)
        return made

    def probe(self) -> dict[int, Alignment]:
        found = {at: alignment for of_worker in self._of_first_replica("probe") for at, alignment in of_worker.items()}
        order = path_of(self.plan, list(self.plan.nets))
        return {k: found[at] for k, at in enumerate(order) if at in found}

    def _of_first_replica(self, method: str, *args: Any) -> list[Any]:
        """Of its workers, each for all modules that it holds."""
        workers = self._workers[:: self.plan.config.parallel.replicas]
        return self._get([worker.call_together.remote(method, *args) for worker in workers])

    def states(self, t: int) -> list[dict[str, Any]]:
        of_modules = iter(super().states(t))
        states = []
        for plan, held in self._held():
            its = [next(of_modules) for _ in range(held)]
            states += [state[phase] for phase in plan.phases for state in its]
        return states

    def load_states(self, states: list[dict[str, Any]]) -> None:
        rest, of_modules = iter(states), list[dict[str, Any]]()
        for plan, held in self._held():
            its: list[dict[str, Any]] = [{} for _ in range(held)]
            for phase in plan.phases:
                for state in its:
                    state[phase] = next(rest)
            of_modules += its
        super().load_states(of_modules)

    def _held(self) -> list[tuple[Plan, int]]:
        """The plan of every net, and how many of its modules all replicas have."""
        replicas = self.plan.config.parallel.replicas
        return [(plan, plan.modules * replicas) for plan in self.plan.nets.values()]
