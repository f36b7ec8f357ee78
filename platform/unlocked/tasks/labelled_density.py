"""Density of binary inputs together with their class: what a deep belief net learns, and what it draws of a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from unlocked.data import DataSet
from unlocked.drawing.boltzmann import fields, of_classes
from unlocked.tasks.base import TASKS, Trained, register_task
from unlocked.tasks.classification import Classification
from unlocked.tasks.density import Density, check_amounts
from unlocked_models.boltzmann import LabelRBM
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain

COLUMNS, STEPS = 10, 200  # of the figure at the end of a run


@register_task("labelled_density")
class LabelledDensity(Classification):
    """As classification, of zeros and ones, by a stack of Boltzmann machines whose top one has units for the classes
    (`dbn`): its outputs are p(y | x), and it draws examples of a class that is clamped."""

    asks_network = True

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        return None if TASKS.get(data_task) is Classification else f"its targets are for {data_task}"

    def unsuited(self, x: Tensor) -> str | None:
        found = Density().unsuited(x)
        return found and found.partition(", and real ones")[0]

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        if isinstance(blocks[-1], LabelRBM):
            return None
        return "has no visible units for the classes; labelled_density needs model.name=dbn"

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        made = super().figures(data, outputs, chain, folder)
        if chain is None:
            return made
        drawn = of_classes(chain, data.in_shape, data.class_names, folder / "classes.png", COLUMNS, STEPS, seed=0)
        return [*made, drawn, fields(chain, data.in_shape, folder / "weights.png")]

    def generate(
        self, trained: Trained, *, columns: int = 10, steps: int = 200, seed: int = 0, out: str | None = None
    ) -> list[Path]:
        """A picture of examples of every class, a row each.

        Args:
            columns: examples of every class.
            steps: of Gibbs sampling with the class clamped, from noise on.
            seed: of what is drawn.
            out: folder; null: `generated` in the run folder.
        """
        check_amounts(columns=columns, steps=steps)
        folder, data = Path(out) if out is not None else trained.folder, trained.data
        path = folder / "classes.png"
        return [of_classes(trained.chain, data.in_shape, data.class_names, path, columns, steps, seed)]
