"""A judge of made images: a small classifier of the real ones, and how made images compare with real ones through it.

The Frechet distance of Heusel et al. 2017 (arXiv:1706.08500) between Gaussians of features,

    |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

on the features of this judge in place of Inception's: comparable between runs on one data set alone.
"""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.seeding import derive_seed

FEATURES, STEPS, BATCH = 32, 1500, 64

_judges: WeakKeyDictionary[DataSet, Judge] = WeakKeyDictionary()


class Judge(nn.Module):
    """`(batch, *in_shape)` to features `(batch, 32)` and logits; convolutional on maps."""

    def __init__(self, in_shape: tuple[int, ...], classes: int):
        super().__init__()
        if len(in_shape) == 3:
            body: list[nn.Module] = [
                nn.Conv2d(in_shape[0], 16, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2) if min(in_shape[1:]) > 1 else nn.Identity(),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(4),
                nn.Flatten(),
                nn.Linear(512, FEATURES),
            ]
        else:
            body = [nn.Flatten(), nn.Linear(math.prod(in_shape), 128), nn.ReLU(), nn.Linear(128, FEATURES)]
        self.features = nn.Sequential(*body, nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x))
        return out


def judge_of(data: DataSet) -> Judge:
    """Trained on the training split, from a seed of its own: the same for every run on these data."""
    if data not in _judges:
        _judges[data] = taught(data.train.x, data.train.y, data.n_outputs)
    return _judges[data]


def taught(x: Tensor, y: Tensor, classes: int) -> Judge:
    """A judge of images `x (n, *in_shape)` of the classes `y (n,)`."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(derive_seed(0, "judge"))
        judge, x, y = Judge(tuple(x.shape[1:]), classes), x.to("cpu", torch.float32), y.cpu()
        optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
        for _ in range(STEPS):
            rows = torch.randint(len(x), (BATCH,))
            F.cross_entropy(judge(x[rows]), y[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return judge.eval().requires_grad_(False)


def likeness(judge: Judge, made: Tensor, real: Tensor, asked: Tensor) -> dict[str, float]:
    """How made images `(n, *in_shape)` of the `asked` classes `(n,)` compare with `real` ones of the same classes.

    `frechet`, also as `loss`; `asked`, the share that the judge takes for the class that was asked for; `classes`, how
    many it sees in all; `variance` of the features within images of one asked class that the judge takes for one class,
    as a share of the real images' (0: one image for each class; NaN if the real ones have none); what is of a wrong
    class adds none.
    """
    made, real, asked = made.float().cpu(), real.float().cpu(), asked.cpu()
    with torch.no_grad():
        seen, known = judge(made).argmax(1), judge(real).argmax(1)
        features, wanted = judge.features(made).double(), judge.features(real).double()
    distance, of_real = frechet(features, wanted), within(wanted, pairs(asked, known))
    return {
        "loss": distance,
        "frechet": distance,
        "asked": float((seen == asked).double().mean()),
        "classes": float(len(seen.unique())),
        "variance": within(features, pairs(asked, seen)) / of_real if of_real else math.nan,
    }


def frechet(one: Tensor, other: Tensor) -> float:
    """Between Gaussians fitted to features `(n, width)`, float64; that of one example has no width."""
    means = [x.mean(0) for x in (one, other)]
    covariances = [torch.cov(x.t(), correction=min(1, len(x) - 1)) for x in (one, other)]
    # tr (C_1 C_2)^(1/2): the eigenvalues of a product of two covariances are real and not negative, up to rounding
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    apart = (means[0] - means[1]).square().sum()
    return float(apart + covariances[0].trace() + covariances[1].trace() - 2 * root)


def within(x: Tensor, classes: Tensor) -> float:
    """The pooled variance of rows within their classes, summed over columns; unbiased, however small the classes."""
    found = classes.unique()
    total = sum(float((each - each.mean(0)).square().sum()) for each in (x[classes == c] for c in found))
    return total / max(1, len(x) - len(found))


def pairs(one: Tensor, other: Tensor) -> Tensor:
    """A number for each pair of classes."""
    return one * (int(other.max()) + 1) + other
