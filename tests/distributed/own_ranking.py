"""A user's own task, with data, extras and generation of its own: which of two digits is larger."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from unlocked import RawData, Task, register_data, register_model, register_task


@register_task("own_ranking")
class Ranking(Task):
    """Outputs are scores `(batch, 1)`, targets places `(batch,)`; of two examples the one in front scores higher."""

    monitor, higher_is_better = "tau", True
    couples = True
    refuses = {"dfa": "the error of a score is a sum over pairs that the next minibatch does not have"}  # noqa: RUF012

    def check(self, name, raw, splits):
        return ["score"]

    def targets(self, y):
        return torch.from_numpy(y.astype("float32"))[:, None]

    def output_shape(self, example):
        return (1,)

    def loss(self, output, target):
        first = (target - target.T).sign()
        return F.softplus(-first * (output - output.T)).mean()

    def metrics(self, kept, target):
        from scipy.stats import kendalltau

        return {"loss": float(self.loss(kept, target)), "tau": float(kendalltau(kept[:, 0], target[:, 0]).statistic)}

    def context_shape(self, example):
        return (1,)

    def context(self, rows, example, like):
        return rows.y.to(like.dtype) / 9

    def figures(self, data, outputs, chain, folder):
        path = folder / "scores.txt"
        path.write_text(f"{len(outputs)}")
        return [path]

    def generate(self, trained, *, n: int = 3) -> list[str]:
        """The test examples with the highest scores."""
        rows = torch.arange(len(trained.data.test))
        batch = trained.data.test.batch(rows)
        scores = trained.chain(batch.x, batch)[:, 0]
        return [str(int(trained.data.test.y[i])) for i in scores.topk(n).indices]


class Weighted(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, h, batch):
        return self.linear(h.flatten(1) * batch["sure"])


@register_model("own_scorer")
def scorer(in_shape, n_outputs):
    return [Weighted(64, 16), nn.Sequential(nn.Tanh(), nn.Linear(16, 16)), nn.Sequential(nn.Tanh(), nn.Linear(16, 1))]


@register_data("own_digits", task="own_ranking")
def digits(source):
    """Digits by their size; how sure each is, is an extra."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    sure = np.linspace(0.9, 1.1, len(bunch.target))[:, None]
    return RawData(bunch.images[:, None] / 16, bunch.target, extras_train={"sure": sure})
