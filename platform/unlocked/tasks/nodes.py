"""Classification of the nodes of a graph, of which only some have a label: cross entropy, accuracy."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.graphs.arrays import NONE
from unlocked.data.loading.checks import Arrays
from unlocked.drawing import figures, graphs
from unlocked.tasks.asked import AskedTask
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.classification import class_names
from unlocked.tasks.predicting import Columns, of_classes
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain

MOST_GRAPHS = 500  # in a figure


@register_task("node_classification")
class NodeClassification(AskedTask):
    """A class for every node of a graph. Outputs are logits `(batch, nodes, classes)`, targets class ids
    `(batch, nodes)`, -1 for nodes whose class is not asked for.

    An example is a whole graph, so every split has the same nodes and edges and asks for the classes of others. The
    loss is the mean over the nodes of a minibatch that are asked for.
    """

    monitor = "accuracy"
    higher_is_better = True
    also = ("macro_f1",)
    chooses = "classes"
    asks_network = True  # for its figures

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`x (n, nodes, features)`; `y (n, nodes)` is integer class ids from 0, and -1 where a split does not ask."""
        for part, (x, y, _) in splits.items():
            if x.ndim != 3 or y.shape != x.shape[:2] or y.dtype.kind not in "iu":
                raise wrong(
                    name,
                    f"x_{part} has shape {x.shape} and y_{part} is {y.dtype} of shape {y.shape}; a graph has features "
                    f"(n, nodes, features) and integer class ids (n, nodes), {NONE} for nodes that are not asked for",
                )
            if (y == NONE).all():
                raise wrong(name, f"y_{part} asks for no node: every class id is {NONE}")
        names = class_names(name, raw, {part: y[y != NONE] for part, (_, y, _) in splits.items()})
        seen = set(splits["train"][1].flatten().tolist())
        empty = [c for c in range(len(names)) if c not in seen]
        if empty:
            raise wrong(
                name, f"y_train asks for no node of class {empty[0]} ({names[empty[0]]}), which cannot be learned"
            )
        return names

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (*example.y_shape, example.n_outputs)

    def asked(self, target: Tensor) -> Tensor:
        return target != NONE

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=NONE, reduction="sum")

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score

        asked = self.asked(target).cpu()
        logits, wanted = kept.double().cpu()[asked], target.cpu()[asked]
        given = logits.argmax(1)
        return {
            "loss": float(F.cross_entropy(logits, wanted)),
            "accuracy": float(accuracy_score(wanted, given)),
            "macro_f1": float(f1_score(wanted, given, average="macro")),
        }

    def scored(self, kept: Tensor, target: Tensor, data: DataSet) -> tuple[Tensor, Tensor]:
        asked = self.asked(target).cpu()
        return kept.cpu()[asked], target.cpu()[asked]

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        """Beside the confusion matrix, nodes by their embeddings and, of layers that attend, the weights of
        neighbours; of minibatches of neighbourhoods both of the nodes that are asked for alone."""
        asked = data.test.y != NONE
        wanted, given = data.test.y[asked].tolist(), outputs.argmax(-1)[asked].tolist()
        drawn = [figures.confusion_matrix(wanted, given, data.class_names, folder / "confusion_matrix.png")]
        if chain is None or len(chain) < 2:
            return drawn
        batch = data.test.batch(torch.arange(min(len(data.test), MOST_GRAPHS)))
        classes = batch.y.flatten()
        seen: list[tuple[Tensor, Tensor]] = []

        def after(i: int, h: Tensor) -> Tensor:
            seen.append((h, classes))
            return h

        with torch.no_grad():
            chain(batch.x, batch, after)
            h = seen[-2][0].flatten(0, 1)
            whole = len(data.test) == 1  # else rows fill up, or are neighbours that stand in several examples
            there = slice(None) if whole else (classes != NONE).nonzero().flatten()
            path = folder / "embeddings.png"
            drawn.append(graphs.node_embeddings(h[there].numpy(), classes[there].tolist(), data.class_names, path))
            attends = getattr(chain[0], "attention", None)
            found = attends(batch.x, batch) if attends is not None else None
        if found is not None:
            edges, weights = (each.numpy() for each in found)
            known = _known(data, classes)
            path = folder / "attention.png"
            drawn.append(graphs.attention(edges, weights, known.tolist(), data.class_names, path))
        return drawn

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """A row for each node."""
        lengths = batch.lengths if batch.lengths is not None else torch.full((len(output),), output.shape[1])
        there = torch.arange(output.shape[1]) < lengths[:, None].cpu()
        node: Columns = {"node": there.nonzero()[:, 1].tolist()}
        return node | of_classes(output[there], data.class_names)

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (*example.y_shape, example.n_outputs)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        """One-hot classes; zeros for nodes that are not asked for."""
        asked = rows.y != NONE
        return F.one_hot(rows.y.clamp(min=0), example.n_outputs).to(like.dtype) * asked[..., None]


def _known(data: DataSet, classes: Tensor) -> Tensor:
    """Classes of the nodes of one graph that any split asks for; of several graphs those of the test split."""
    if len(data.test) != 1:
        return classes
    for split in (data.train, data.validation):
        if split is not None and split.y.numel() == len(classes):
            classes = torch.where(classes == NONE, split.y.flatten(), classes)
    return classes
