"""Link prediction: whether two nodes of a graph are linked, by how alike their embeddings are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.drawing import graphs
from unlocked.tasks.asked import AskedTask
from unlocked.tasks.base import Rows, register_task
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import EDGES, Batch, Example, Ragged
from unlocked_models.contract.chain import Chain

SKETCH = 32  # numbers in which M sees the links of a node
FILLING = -1


@register_task("link_prediction")
class LinkPrediction(AskedTask):
    """Outputs are embeddings of nodes `(batch, nodes, features)`; targets are pairs `(batch, pairs, 3)` of two nodes
    and a label: 1 for a link, 0 for none, -1 for filling.

    The score of a pair is the dot product of its embeddings, the loss the mean binary cross entropy. So the error comes
    at every node, of whichever pairs it is in. What conditions M are the links and absent links of a node, as a sketch:
    the sum of label signs times fixed random vectors of the other nodes.
    """

    monitor = "auc"
    higher_is_better = True
    also = ("average_precision",)
    asks_network = True  # for the embeddings in its figures

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`x (n, nodes, features)`; `y (n, pairs, 3)`; `class_names` names the features of an embedding, 16 if it is
        not given."""
        for part, (x, y, _) in splits.items():
            if x.ndim != 3 or y.ndim != 3 or y.shape[2] != 3 or y.dtype.kind not in "iu":
                raise wrong(
                    name,
                    f"x_{part} has shape {x.shape} and y_{part} is {y.dtype} of shape {y.shape}; a graph has features "
                    "(n, nodes, features), and integer pairs (n, pairs, 3) of two nodes and a label",
                )
            nodes, labels = y[..., :2], y[..., 2]
            if y.size and not 0 <= nodes.min() <= nodes.max() < x.shape[1]:
                bad = next(int(end) for end in (nodes.min(), nodes.max()) if not 0 <= end < x.shape[1])
                raise wrong(name, f"y_{part} has a pair with node {bad}; nodes are 0 to {x.shape[1] - 1}")
            if not {1, 0} <= set(labels.flatten().tolist()) <= {1, 0, FILLING}:
                raise wrong(
                    name, f"y_{part} needs links, label 1, and pairs without one, label 0, and {FILLING} for filling"
                )
        return [str(i) for i in range(16)] if raw.class_names is None else list(raw.class_names)

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.in_shape[0], example.n_outputs)

    def asked(self, target: Tensor) -> Tensor:
        return target[..., 2] != FILLING

    def total(self, output: Tensor, target: Tensor) -> Tensor:
        labels = target[..., 2].clamp(min=0).to(output.dtype)
        weight = self.asked(target).to(output.dtype)
        return F.binary_cross_entropy_with_logits(scores(output, target), labels, weight=weight, reduction="sum")

    def keep(self, output: Tensor, target: Tensor) -> Tensor:
        """Scores, `(batch, pairs)`."""
        return scores(output, target)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        from sklearn.metrics import average_precision_score, roc_auc_score

        asked = self.asked(target).cpu()
        given, labels = kept.double().cpu()[asked], target[..., 2].cpu()[asked]
        return {
            "loss": float(F.binary_cross_entropy_with_logits(given, labels.double())),
            "auc": float(roc_auc_score(labels, given)),
            "average_precision": float(average_precision_score(labels, given)),
        }

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """For each node the likeliest other one that it has no edge with, and the probability of a link."""
        table: Columns = {"node": [], "prediction": [], "probability": []}
        edges = batch[EDGES]
        for i, z in enumerate(output.double()):
            nodes = len(z) if batch.lengths is None else int(batch.lengths[i])
            if nodes < 2:
                continue
            score = (z @ z.T)[:nodes, :nodes].fill_diagonal_(-torch.inf)
            ends = edges.values[edges.offsets[i] : edges.offsets[i + 1]].T if isinstance(edges, Ragged) else edges[i]
            score[ends[0], ends[1]] = -torch.inf
            best, other = score.max(1)
            for name, values in zip(table, (range(nodes), other.tolist(), best.sigmoid().tolist()), strict=True):
                table[name].extend(values)
        return table

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        if chain is None:
            return []
        batch = data.test.batch(torch.tensor([0]))
        with torch.no_grad():
            h = chain(batch.x, batch)
        first = data.test.y[0]
        links, absent = (first[first[:, 2] == label, :2].tolist() for label in (1, 0))
        return [graphs.embedded_links(h[0].cpu().numpy(), links, absent, folder / "embeddings.png")]

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.in_shape[0], SKETCH)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        (nodes, _), (n, pairs, _) = example.in_shape, rows.y.shape
        code = torch.randn(nodes, SKETCH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        code = code.to(like)
        sign = (2 * rows.y[..., 2:] - 1) * (rows.y[..., 2:] != FILLING)
        out = like.new_zeros(n, nodes, SKETCH)
        for here, there in ((0, 1), (1, 0)):
            at = rows.y[..., here, None].expand(n, pairs, SKETCH)
            out.scatter_add_(1, at, sign.to(like.dtype) * code[rows.y[..., there]])
        return out


def scores(output: Tensor, pairs: Tensor) -> Tensor:
    """`<z_i, z_j>` of every pair, `(batch, pairs)`."""
    one, other = (output.gather(1, pairs[..., end, None].expand(-1, -1, output.shape[2])) for end in (0, 1))
    return (one * other).sum(-1)
