"""Density of binary data: how likely a model finds it. What Boltzmann machines learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unlocked.data import DataSet
from unlocked.drawing.boltzmann import fields, samples
from unlocked.errors import ConfigError
from unlocked.tasks.base import Rows, Task, Trained, register_task
from unlocked_models.boltzmann import RBM
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain


@register_task("density")
class Density(Task):
    """Of any data set whose inputs are zeros and ones, by a chain of RBMs; labels are not looked at.

    One RBM whose partition function can be summed has `log_likelihood`, in nats, the mean over examples, and its
    negative is the `loss`. Of more units, and of several RBMs, the loss is `unit_error`: the squared error of a
    unit of the last RBM's input, down from its own hidden units. `mse` is that of a pixel, down from the top.
    """

    monitor = "loss"
    higher_is_better = False
    also = ("log_likelihood", "unit_error")
    asks_network = True

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        return "its inputs are ids, not zeros and ones" if example.vocabulary else None

    def unsuited(self, x: Tensor) -> str | None:
        if ((x == 0) | (x == 1)).all():
            return None
        return "its inputs are not all 0 or 1; of digits, data.options.threshold=0.5 makes them so"

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        if all(isinstance(block, RBM) for block in blocks):
            return None
        return "says nothing of how likely its input is; density needs a chain of RBMs (model.name=rbm)"

    def takes_output(self, shape: tuple[int, ...], example: Example) -> bool:
        return True

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return ()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("no loss of a Boltzmann machine's output exists; schemes that need one are refused")

    def observe(self, chain: Chain, h_in: Tensor, output: Tensor, batch: Batch) -> Tensor:
        """`(batch, 3)`: free energy, squared error of a unit, and log Z, NaN unless the RBM's input is the data."""
        *below, top = chain
        assert isinstance(top, RBM)
        v = top.visible(Chain(below)(h_in) if below else h_in)
        log_z = top.log_z() if not below and h_in is batch.x else None
        error = (top.reconstruction(v) - v).square().mean(1).double()
        return torch.stack([top.free_energy(v).double(), error, torch.full_like(error, _number(log_z))], 1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        energy, error, log_z = kept.double().mean(0).tolist()
        if math.isnan(log_z):
            return {"loss": error, "unit_error": error}
        return {"loss": energy + log_z, "log_likelihood": -energy - log_z, "unit_error": error}

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        x = getattr(data, split).x.to(next(chain.parameters()))
        with torch.no_grad():
            h = chain(x)
            for block in reversed(list(chain)):
                assert isinstance(block, RBM)
                h = block.down(h)
        return {"mse": float((h - x.flatten(1)).square().mean())}

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        if chain is None:
            return []
        sampled = samples(chain, data.in_shape, folder / "samples.png", rows=2, steps=1000, seed=0)
        return [sampled, fields(chain, data.in_shape, folder / "weights.png")]

    def generate(
        self, trained: Trained, *, rows: int = 5, steps: int = 1000, seed: int = 0, out: str | None = None
    ) -> list[Path]:
        """Pictures of what the machines dream of, ten a row, and of their weights.

        Args:
            rows: of samples.
            steps: of Gibbs sampling, from noise on.
            seed: of what is drawn.
            out: folder; null: `generated` in the run folder.
        """
        for name, value in (("rows", rows), ("steps", steps)):
            if not 1 <= value <= 100_000:
                raise ConfigError(f"{name}: must be from 1 to 100000, got {value}")
        folder, shape = Path(out) if out is not None else trained.folder, trained.data.in_shape
        sampled = samples(trained.chain, shape, folder / "samples.png", rows, steps, seed)
        return [sampled, fields(trained.chain, shape, folder / "weights.png")]

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return ()

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        raise AssertionError("no scheme that conditions on a target trains a Boltzmann machine")


def _number(log_z: Tensor | None) -> float:
    return math.nan if log_z is None else float(log_z)
