"""Two views of one thing, each drawn from the other alone: the halves of a picture, or two kinds of measurements.

The last axis of an input holds one view and then the other, and so does that of an output. The net sees to it that no
view has a part in its own drawing, so the input is the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.tasks.base import register_task
from unlocked.tasks.probing import has_classes, probe
from unlocked.tasks.reconstruction import Reconstruction
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain

AT_ONCE = 500


@register_task("cross_reconstruction")
class CrossReconstruction(Reconstruction):
    """Outputs have the shape of the inputs, whose last axis is cut in two: before feature `first`, 0 for the middle.

    `first_mse` is that of the first view, drawn from the second, per feature, `second_mse` that of the second, `mse`
    that of both. Of data with classes `first_class` and `second_class` are the shares of drawn views whose class is
    found by logistic regression that was fitted to the real views of the training split.
    """

    also = ("first_mse", "second_mse")

    def __init__(self, first: int = 0):
        if first < 0:
            raise ConfigError(f"objective.first: must be at least 0, got {first}")
        self.first = first

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        views = getattr(blocks[0], "views", None)
        if views is None:
            return "does not draw views from each other: a view would be given back as it is; two_way does"
        if views[0] != (self.first or sum(views) // 2):
            return f"cuts its input at {views[0]} of {sum(views)} features, so set objective.first={views[0]}"
        return super().unfit(blocks)

    def cut_at(self, x: Tensor) -> int:
        """How many features of the last axis are the first view."""
        return self.first or x.shape[-1] // 2

    def cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both views, `(n, features)`."""
        one, other = x.tensor_split([self.cut_at(x)], -1)
        return one.flatten(1), other.flatten(1)

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch, 2)`: the squared error of each view, summed."""
        return torch.stack([view.sum(1) for view in self.cut((output - target).square())], 1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        found = super().metrics(kept.sum(1), target)
        sizes = [view.shape[1] for view in self.cut(target[:1])]
        one, other = (float(its.double().mean()) / size for its, size in zip(kept.unbind(1), sizes, strict=True))
        return found | {"first_mse": one, "second_mse": other}

    @torch.no_grad()
    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """Nothing of data without classes."""
        if not has_classes(data):
            return {}
        part, like = getattr(data, split), next(chain.parameters())
        made = []
        for rows in torch.arange(len(part)).split(AT_ONCE):
            x = part.x[rows].to(like)
            made.append(self.picture(chain.eval()(x, Batch(x, part.y[rows]))).double().cpu())
        real, drawn = self.cut(data.train.x.double().cpu()), self.cut(torch.cat(made))
        y, wanted = data.train.y.cpu().numpy(), part.y.cpu().numpy()
        names = ("first_class", "second_class")
        return {
            name: probe(seen.numpy(), y, asked.numpy(), wanted)
            for name, seen, asked in zip(names, real, drawn, strict=True)
        }

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        if chain is None:
            return []
        from unlocked.drawing.views import draw_crossed

        return [draw_crossed(chain, data, self.cut_at(data.test.x), folder / "crossed.png")]
