"""Masked image modelling: a net paints patches of an image that it does not see (He et al. 2022, arXiv:2111.06377,
section 3; as a linear layer at every patch, Xie et al. 2022, arXiv:2111.09886).

The loss is the squared error of pixels, over hidden patches M only:

    L = 1 / (|M| P) sum_{i in M} || x^_i - x_i ||^2,    x_i the P numbers of patch i
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from unlocked.data import DataSet
from unlocked.tasks.base import Interval, Rows, Task, interval, register_task
from unlocked.tasks.phases import NET
from unlocked.tasks.probing import Probed, draw_representation
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain


@register_task("masked_image_modelling")
class MaskedImageModelling(Probed, Task):
    """Outputs are the pixels of every patch, `(batch, patches, pixels)`; targets `(batch, patches, 1 + pixels)` say
    first whether the patch is hidden, as `data.transforms=[hidden_patches]` makes them; labels are not looked at.

    `mse` is per hidden pixel. `probe` and `probe_few` are accuracies of logistic regression on the representation, the
    input of the last block averaged over positions, of images of which nothing is hidden: with the labels of all
    training examples, and with `few` of each class; both only if the data has classes.

    cdni's M is given the target: at a hidden patch its pixels, at one that is seen only that it is.
    """

    monitor = "mse"
    higher_is_better = False

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if example.y_real and len(example.y_shape) == 2 and example.y_shape[1] == 1 + example.n_outputs:
            return None
        return "no patches of its examples are hidden; data.transforms=[hidden_patches] hides them"

    def compared(self, data: DataSet) -> dict[str, Interval]:
        return {NET: interval(data.train.x)}

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.y_shape[0], example.n_outputs)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """As many patches of each image are hidden, so equal parts of a minibatch count equally."""
        hidden = target[:, :, :1]
        squares = (hidden * (output - target[:, :, 1:])).square()
        return squares.sum() / (hidden.sum().clamp(min=1) * output.shape[2])

    def terms(self, example: Example) -> int:
        return example.y_shape[0]

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch,)`: the squared error of each example, summed."""
        return (target[:, :, :1] * (output - target[:, :, 1:])).square().flatten(1).sum(1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        asked = float(target[:, :, 0].double().sum()) * (target.shape[2] - 1)
        mse = float(kept.double().sum()) / max(asked, 1.0)
        return {"loss": mse, "mse": mse}

    def pooled(self, h: Tensor) -> Tensor:
        """The mean over positions, `(batch, positions, features)`, or over the pixels of maps."""
        return h.flatten(2).mean(2) if h.dim() > 3 else h.mean(1)

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return example.y_shape

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return rows.y.to(like.dtype)

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        if chain is None:
            return []
        from unlocked.drawing.views import draw_completed

        drawn = draw_completed(chain, data, folder / "completed.png")
        return [drawn, draw_representation(chain, data, self, folder)]
