"""How good a representation is that was learned without labels: a linear classifier on it, and a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unlocked.data import DataSet, Split
from unlocked.errors import ConfigError
from unlocked.seeding import derive_seed
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain

FEW = 10  # labels of each class
AT_ONCE = 500
PLACED = 1000  # examples in a picture, at most


class Probed:
    """Part of a task whose net learns a representation, the input of its last block, of data that may have classes."""

    also: ClassVar[tuple[str, ...]] = ("probe", "probe_few")
    asks_network = True

    def __init__(self, few: int = FEW):
        if few < 1:
            raise ConfigError(f"objective.few: must be at least 1 label of each class, got {few}")
        self.few = few

    def alone(self, x: Tensor) -> Tensor:
        """Images without changes as the net takes them."""
        return x

    def pooled(self, h: Tensor) -> Tensor:
        """The input of the last block, `(n, ...)`, as a linear classifier takes it."""
        return h.flatten(1)

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """`probe` and `probe_few`: nothing of data without classes, or of the training split itself."""
        given = data.given.get(split)
        if given is None or not has_classes(data):
            return {}
        train = data.train
        seen, asked = (represent(chain, part, self) for part in (train, given))
        y, rows = train.y.cpu().numpy(), few_of_each(train.y, self.few, data.seed)
        return {
            "probe": probe(seen, y, asked, given.y.cpu().numpy()),
            "probe_few": probe(seen[rows], y[rows], asked, given.y.cpu().numpy()),
        }


def has_classes(data: DataSet) -> bool:
    y = data.train.y
    return y.dim() == 1 and not y.is_floating_point() and len(data.class_names) == data.n_outputs


@torch.no_grad()
def represent(chain: Chain, split: Split, task: Probed) -> np.ndarray:
    """The input of the chain's last block, `(n, features)`, of examples without changes."""
    encoder, like = Chain(list(chain)[:-1]).eval(), next(iter(chain.parameters()))
    found = []
    for rows in torch.arange(len(split)).split(AT_ONCE):
        x = task.alone(split.x[rows].to(like))
        found.append(task.pooled(encoder(x, Batch(x, split.y[rows]))).double().cpu())
    return torch.cat(found).numpy()


def probe(seen: np.ndarray, y: np.ndarray, asked: np.ndarray, wanted: np.ndarray) -> float:
    """Accuracy of logistic regression on features less their mean, over one deviation for all of them: that of each
    would make as much of those that hardly vary."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = seen.mean(0), seen.std() or 1.0
    fitted = LogisticRegression(max_iter=1000).fit((seen - mean) / deviation, y)
    return float(fitted.score((asked - mean) / deviation, wanted))


def few_of_each(y: Tensor, few: int, seed: int) -> np.ndarray:
    """Rows of `few` examples of each class, or all that there are, drawn by the data's seed."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(derive_seed(seed, "few labels")))
    return torch.cat([order[y.cpu()[order] == c][:few] for c in y.cpu().unique()]).sort().values.numpy()


def draw_representation(chain: Chain, data: DataSet, task: Probed, folder: Path) -> Path:
    """`embedding.png`: the test split's representation in the plane by t-SNE, coloured by class."""
    from unlocked.drawing import pictures
    from unlocked.drawing.plane import in_the_plane

    given = data.given["test"]
    part = Split(given.x[:PLACED], given.y[:PLACED])
    features = represent(chain, part, task)
    place = in_the_plane(features, min(30.0, (len(features) - 1) / 3))
    labels = part.y.cpu().numpy() if has_classes(data) else None
    points = {"The representation of test examples, t-SNE": place}
    return pictures.planes(points, labels, data.class_names, folder / "embedding.png")
