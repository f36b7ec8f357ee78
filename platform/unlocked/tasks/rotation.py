"""Which way up: the angle by which an image was turned (Gidaris et al. 2018, arXiv:1803.07728)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from unlocked.data import DataSet
from unlocked.drawing import figures
from unlocked.tasks.base import register_task
from unlocked.tasks.classification import Classification
from unlocked.tasks.probing import Probed, draw_representation
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain

ANGLES = ["0°", "90°", "180°", "270°"]


@register_task("rotation")
class Rotation(Probed, Classification):
    """Classification into four angles, of images that `data.transforms=[turns]` has turned; labels are not looked at.

    `probe` and `probe_few` are accuracies of logistic regression on the representation, the input of the last block, of
    images as they are: with the labels of all training examples, and with `few` of each class; both only if the data
    has classes.
    """

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if len(example.in_shape) == 3 and example.n_outputs == len(ANGLES) and not example.y_shape:
            return None
        return "its images are not turned; data.transforms=[turns] turns them"

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        wanted, given = data.test.y.tolist(), outputs.argmax(1).tolist()
        drawn = [figures.confusion_matrix(wanted, given, ANGLES, folder / "confusion_matrix.png")]
        return drawn + ([] if chain is None else [draw_representation(chain, data, self, folder)])
