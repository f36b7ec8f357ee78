"""Several nets over Ray workers, one module each, which walk through the phases of a step together."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unlocked.launch.ray_group import RayGroup
from unlocked.schemes import Alignment


class RayNetsGroup(RayGroup):
    """States are those of `NetsGroup`, in its order: a run may go on in one process."""

    def estimate_statistics(self, t: int) -> None: ...

    def outputs(self, split: str) -> Tensor:
        (made,) = (out for out in self._get(self._submit("outputs", split)) if out is not None)
        assert isinstance(made, Tensor)
        return made

    def probe(self) -> dict[int, Alignment]:
        return {k: found for k, found in enumerate(self._get(self._submit("probe"))) if found is not None}

    def states(self, t: int) -> list[dict[str, Any]]:
        of_modules = iter(super().states(t))
        states = []
        for plan in self.plan.nets.values():
            its = [next(of_modules) for _ in plan.specs]
            states += [state[phase] for phase in plan.phases for state in its]
        return states

    def load_states(self, states: list[dict[str, Any]]) -> None:
        rest, of_modules = iter(states), list[dict[str, Any]]()
        for plan in self.plan.nets.values():
            its: list[dict[str, Any]] = [{} for _ in plan.specs]
            for phase in plan.phases:
                for state in its:
                    state[phase] = next(rest)
            of_modules += its
        super().load_states(of_modules)
