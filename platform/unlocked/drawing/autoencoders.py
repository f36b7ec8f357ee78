"""What an autoencoder shows: reconstructions, codes in the plane, walks and sums in the space of codes, samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlocked.data import DataSet, Split
from unlocked.drawing import pictures
from unlocked.drawing.plane import in_the_plane
from unlocked_models.autoencoder.plain import Corruption, code_block, decode, encode
from unlocked_models.contract.batch import Batch, moved
from unlocked_models.contract.chain import Chain, takes_batch

PLACED = 1000  # test examples in a projection, at most
AT_ONCE = 1000
STEPS = 9  # of an interpolation, its ends among them


def run_figures(chain: Chain, data: DataSet, picture: Callable[[Tensor], Tensor], folder: Path) -> list[Path]:
    """What every run of reconstruction shows at its end."""
    subject = Subject(chain, data, picture, n=min(10, len(data.test)), seed=0)
    wanted = ("reconstructions", "pca", "samples")
    return [PICTURES[name][1](subject, folder / f"{name}.png") for name in wanted if PICTURES[name][0](subject) is None]


@dataclass
class Subject:
    """A trained chain, its data, and what is asked."""

    chain: Chain
    data: DataSet
    picture: Callable[[Tensor], Tensor]  # of outputs: what they say that the input is
    n: int
    seed: int

    def __post_init__(self) -> None:
        self.blocks = list(self.chain.eval())
        self.dtype = next((p.dtype for p in self.chain.parameters()), torch.float32)
        at = code_block(self.blocks)
        self.code = None if at is None else self.blocks[at]
        self.conditional = at is not None and any(takes_batch(block) for block in self.blocks[at + 1 :])
        self.classes = self.data.n_outputs if self.data.train.y.dim() == 1 else 0  # a class of each

    @property
    def scale(self) -> tuple[float, float]:
        """Between which the data lie; a few outliers take no contrast from all others."""
        values = self.data.train.x[:AT_ONCE].double().numpy()
        low, high = np.percentile(values, (0.5, 99.5))
        return float(low), float(high)

    def rows(self, split: Split, rows: Tensor) -> Batch:
        batch = split.batch(rows)
        return replace(batch, x=split.x[rows].to(self.dtype), extras=moved(batch.extras, dtype=self.dtype))

    def drawn(self) -> Batch:
        """`n` test examples."""
        rows = torch.randperm(len(self.data.test), generator=self.generator())[: self.n]
        return self.rows(self.data.test, rows)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    @torch.inference_mode()
    def codes(self, split: Split, most: int | None = None) -> Tensor:
        """Of a split's first examples, `(n, features)`."""
        each = torch.arange(min(len(split), most or len(split))).split(AT_ONCE)
        return torch.cat([encode(self.blocks, self.rows(split, rows)).flatten(1) for rows in each])

    @torch.inference_mode()
    def encode(self, batch: Batch) -> Tensor:
        return encode(self.blocks, batch)

    @torch.inference_mode()
    def decode(self, codes: Tensor, y: Tensor) -> list[np.ndarray]:
        return self.shown(decode(self.blocks, codes, Batch(None, y)))

    def shown(self, output: Tensor) -> list[np.ndarray]:
        """Outputs as examples."""
        return arrays(self.picture(output))


def arrays(x: Tensor) -> list[np.ndarray]:
    return list(x.detach().double().cpu().numpy())


# the pictures -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def reconstructions(subject: Subject, path: Path) -> Path:
    """Examples, what noise made of them if the model was trained with noise, and their reconstructions."""
    batch = subject.drawn()
    assert batch.x is not None
    rows, names, given = [arrays(batch.x)], ["input"], batch.x
    noise = next((layer for layer in subject.chain.modules() if isinstance(layer, Corruption)), None)
    if noise is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            given = noise.train()(batch.x)
        noise.eval()
        rows.append(arrays(given))
        names.append("corrupted")
    rows.append(subject.shown(subject.chain(given, Batch(given, batch.y))))
    names.append("output")
    return pictures.examples(rows, path, "Reconstructions of test examples", subject.scale, names)


def interpolation(subject: Subject, path: Path) -> Path:
    """From the code of one test example to that of another, step by step."""
    batch = subject.drawn()
    other = _partners(subject, batch)
    codes, share = subject.encode(batch), torch.linspace(0, 1, STEPS, dtype=subject.dtype)
    rows = []
    for i in range(min(subject.n, 6)):
        walk = torch.stack([torch.lerp(codes[i], codes[int(other[i])], s) for s in share])
        rows.append(subject.decode(walk, batch.y[i].expand(STEPS, *batch.y.shape[1:])))
    return pictures.examples(
        rows,
        path,
        "From the code of one test example to another's",
        subject.scale,
        column_names=[f"{100 * float(s):.0f} %" for s in share],
    )


def arithmetic(subject: Subject, path: Path) -> Path:
    """Code of an example of one class, plus the difference of two classes' mean codes."""
    codes, labels = subject.codes(subject.data.train), subject.data.train.y
    means = torch.stack([codes[labels == c].mean(0) for c in range(subject.classes)])
    order = torch.randperm(subject.classes, generator=subject.generator()).tolist()
    pairs = list(zip(order, order[1:] + order[:1], strict=True))[:6]
    share = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    names = subject.data.class_names
    rows, row_names = [], []
    for begin, end in pairs:
        place = int((subject.data.test.y == begin).nonzero()[0])
        batch = subject.rows(subject.data.test, torch.tensor([place]))
        code = subject.encode(batch)
        step = (means[end] - means[begin]).view_as(code[0])
        walk = torch.cat([code + s * step for s in share])
        rows.append([*arrays(subject.data.test.x[[place]]), *subject.decode(walk, batch.y.expand(len(walk)))])
        row_names.append(f"{names[begin]} to {names[end]}")
    return pictures.examples(
        rows,
        path,
        "Code + share x (mean code of a class - that of its own)",
        subject.scale,
        row_names,
        ["example", *(f"{s:g}" for s in share)],
    )


def samples(subject: Subject, path: Path) -> Path:
    """Codes from the prior, decoded; if the model is conditioned on a class, a row of each."""
    assert subject.code is not None
    generator, n = subject.generator(), subject.n
    if not subject.conditional:
        codes = subject.code.draw(n * n, generator).to(subject.dtype)  # type: ignore[operator]
        made = subject.decode(codes, torch.zeros(len(codes), dtype=torch.long))
        return pictures.examples([made[i : i + n] for i in range(0, len(made), n)], path, "Samples", subject.scale)
    codes = subject.code.draw(n, generator).to(subject.dtype)  # type: ignore[operator]
    rows = [subject.decode(codes, torch.full((n,), c)) for c in range(min(subject.classes, 12))]
    return pictures.examples(
        rows, path, "Samples of each class: a code to a column", subject.scale, subject.data.class_names
    )


def pca(subject: Subject, path: Path) -> Path:
    """Codes of test examples in the plane of their greatest variance."""
    return _plane(subject, path, ["PCA"])


def projection(subject: Subject, path: Path) -> Path:
    """Codes of test examples in the plane, by PCA and by t-SNE (van der Maaten and Hinton 2008)."""
    return _plane(subject, path, ["PCA", "t-SNE"])


def _plane(subject: Subject, path: Path, kinds: list[str]) -> Path:
    from sklearn.decomposition import PCA

    codes = subject.codes(subject.data.test, PLACED).double().cpu().numpy()
    labels = subject.data.test.y[:PLACED].cpu().numpy()
    points = {}
    if codes.shape[1] == 2:
        points["The two units of the code"] = codes
    elif len(codes) < 2:  # it has no axes
        points["The first two units of the code"] = codes[:, :2]
    elif "PCA" in kinds:
        fitted = PCA(2, random_state=subject.seed).fit(codes)
        points[f"Codes, PCA: {fitted.explained_variance_ratio_.sum():.0%} of the variance"] = fitted.transform(codes)
    if "t-SNE" in kinds:
        perplexity = min(30.0, (len(codes) - 1) / 3)
        points["Codes, t-SNE"] = in_the_plane(codes, perplexity, subject.seed)
    flat = labels if labels.ndim == 1 else labels[:, 0] if labels.shape[1] == 1 else None
    return pictures.planes(points, flat, subject.data.class_names, path)


def _partners(subject: Subject, batch: Batch) -> Tensor:
    """For each of some examples another; of another class if there are classes, of the same if a label is part of
    the code."""
    n = len(batch.y)
    partners = (torch.arange(n) + 1) % n
    if subject.classes:
        for i in range(n):
            fits = [j for j in range(n) if j != i and (batch.y[j] == batch.y[i]) == subject.conditional]
            if fits:
                partners[i] = min(fits, key=lambda j, i=i: (j - i) % n)  # type: ignore[misc]
    return partners


# which pictures there are -----------------------------------------------------------------------------------


def _always(subject: Subject) -> str | None:
    return None


def _with_code(subject: Subject) -> str | None:
    return None if subject.code is not None else "no block of the model says that it gives the code"


def _with_plane(subject: Subject) -> str | None:
    if subject.code is not None and subject.codes(subject.data.test, 1).shape[1] < 2:
        return "its code is a single number"
    return _with_code(subject)


def _with_classes(subject: Subject) -> str | None:
    if not subject.classes:
        return f"{subject.data.name} has no classes"
    if subject.conditional:
        return "a class is given to the model, so no code stands for it"
    return _with_code(subject)


def _with_prior(subject: Subject) -> str | None:
    return None if hasattr(subject.code, "draw") else "its codes have no distribution to draw from; a vae has"


Picture = tuple[Callable[[Subject], "str | None"], Callable[[Subject, Path], Path]]  # why not, and how

PICTURES: dict[str, Picture] = {
    "reconstructions": (_always, reconstructions),
    "interpolation": (_with_code, interpolation),
    "arithmetic": (_with_classes, arithmetic),
    "samples": (_with_prior, samples),
    "pca": (_with_plane, pca),
    "projection": (_with_plane, projection),
}
