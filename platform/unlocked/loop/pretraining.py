"""The first segment of a run whose net is pre-trained: `pretrain.scheme` on the run's own engine, workers and cut.

Its checkpoints lie in `pretraining/` of the run folder, from where an interrupted or killed segment goes on to the same
numbers; they are gone when it has ended. What its blocks record is logged over its own steps, under `pretrain/`. The
run then begins at step 0 with the weights that it leaves.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from unlocked.engine.group import Group
from unlocked.loop.stepper import Stepper

FOLDER, SERIES = "pretraining", "pretrain/"
_NOT_OF_THE_NET = ("time/", "lr")


class Pretrainer(Stepper):
    """Trains the blocks whose turn it is; the segment's plan (`plan_pretraining`) says which."""

    remedy = "a lower pretrain.lr may help"
    steps_of = " of pre-training"

    def _place(self) -> Path:
        return self.folder.path / FOLDER

    def run(self, group: Group) -> dict[str, Tensor]:
        """The weights of the whole chain."""
        self._restore(group)
        self._train(group)
        weights: dict[str, Tensor] = {}
        for state in group.states(self.progress.step):
            weights |= state["weights"]
        return weights

    @staticmethod
    def remove(run_dir: Path) -> None:
        """Its checkpoints, once the weights are kept elsewhere."""
        shutil.rmtree(run_dir / FOLDER, ignore_errors=True)

    def _at_sync(self, group: Group) -> None:
        if self._calendar.saves(self.progress.step) and self.progress.step < self.plan.total_steps:
            self._checkpoint(group, is_best=False)

    def _log(self, values: dict[str, float]) -> None:
        super()._log({SERIES + name: x for name, x in values.items() if not name.startswith(_NOT_OF_THE_NET)})
