"""Reconstruction of the input: what autoencoders learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.drawing.autoencoders import PICTURES, Subject, run_figures
from unlocked.errors import ConfigError
from unlocked.tasks.base import ANY, Interval, Rows, Task, Trained, interval, register_task
from unlocked.tasks.phases import NET
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown


@register_task("reconstruction")
class Reconstruction(Task):
    """Outputs have the shape of the inputs, which are the targets; of any data set with real inputs.

    The loss is the squared error, summed over an example's features and averaged over examples: up to constants the
    negative log likelihood of a Gaussian, so terms that blocks add, such as a KL divergence, are weighed against it.
    `mse` is per feature.
    """

    monitor = "mse"
    higher_is_better = False
    learns_input = True
    asks_network = True  # for its pictures

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        return "its inputs are ids, not real numbers" if example.vocabulary else None

    def compared(self, data: DataSet) -> dict[str, Interval]:
        return {NET: interval(data.train.x)}

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def target(self, rows: Rows) -> Tensor:
        assert rows.x is not None
        return rows.x

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target, reduction="sum") / len(target)

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch,)`: the squared error of each example, summed."""
        return (output - target).square().flatten(1).sum(1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        loss = float(kept.double().mean())
        return {"loss": loss, "mse": loss / target[0].numel()}

    def measure(self, kept: Tensor, data: DataSet, split: str) -> dict[str, float]:
        """`mse` is per feature that is there: sequences are not judged by what fills them up."""
        found, part = super().measure(kept, data, split), getattr(data, split)
        if part.lengths is not None:
            found["mse"] *= part.x.shape[1] * len(part) / int(part.lengths.sum())
        return found

    def picture(self, output: Tensor) -> Tensor:
        """What the output says that the input is."""
        return output

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """How far what the net makes of an input is from it; the outputs themselves are what it makes."""
        assert batch.x is not None
        error = (self.picture(output) - batch.x).double().square().flatten(1).mean(1)
        if batch.lengths is not None:  # of what is there
            error = error * batch.x.shape[1] / batch.lengths.to(error.device)
        return {"mse": error.tolist()}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return self.target(rows).to(like.dtype)

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        return [] if chain is None else run_figures(chain, data, self.picture, folder)

    def generate(
        self,
        trained: Trained,
        *,
        what: list[str] = [],  # noqa: B006
        n: int = 10,
        seed: int = 0,
        out: str | None = None,
    ) -> list[Path]:
        """Pictures of examples of the test split.

        Args:
            what: which of `PICTURES`; empty: all that this model and its data have.
            n: examples, or rows of samples.
            seed: of what is drawn: examples, samples, t-SNE.
            out: folder; null: `generated` in the run folder.
        """
        data, folder = trained.data, Path(out) if out is not None else trained.folder
        if not 1 <= n <= len(data.test):
            raise ConfigError(f"n: must be from 1 to {len(data.test)} (the test examples of {data.name}), got {n}")
        for name in what:
            if name not in PICTURES:
                raise ConfigError(f"what: {unknown('picture', name, list(PICTURES))}")
        subject = Subject(trained.chain, data, self.picture, n, seed)
        made = []
        for name in what or PICTURES:
            why_not, drawing = PICTURES[name]
            reason = why_not(subject)
            if reason is None:
                made.append(drawing(subject, folder / f"{name}.png"))
            elif what:
                raise ConfigError(f"what: {name} cannot be drawn of this run: {reason}")
        return made


@register_task("reconstruction_bernoulli")
class BernoulliReconstruction(Reconstruction):
    """Reconstruction of inputs in [0, 1] by logits: the cross entropy, summed over an example's features, in nats.

    The negative log likelihood of independent Bernoulli variables, whose probabilities `mse` compares with the inputs.
    """

    def unsuited(self, x: Tensor) -> str | None:
        low, high = interval(x)
        return None if low >= 0 and high <= 1 else f"its inputs lie in [{low:.3g}, {high:.3g}], not in [0, 1]"

    def compared(self, data: DataSet) -> dict[str, Interval]:
        return {NET: ANY}

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, target, reduction="sum") / len(target)

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch, 2)`: the cross entropy and the squared error of each example, summed."""
        nats = F.binary_cross_entropy_with_logits(output, target, reduction="none")
        return torch.stack([nats.flatten(1).sum(1), super().keep(self.picture(output), target)], 1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        loss, squares = kept.double().mean(0).tolist()
        return {"loss": loss, "mse": squares / target[0].numel()}

    def picture(self, output: Tensor) -> Tensor:
        return output.sigmoid()
