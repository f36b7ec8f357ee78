"""The figures of one run: its first filters, what its decisions rest on, and its adversarial examples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from unlocked.drawing import insight as pictures
from unlocked.insight.attribution import Logits, integrated_gradients, saliency
from unlocked.insight.robustness import attacked, predictions
from unlocked.insight.subject import Subject
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain

if TYPE_CHECKING:
    from unlocked.insight.report import Request


# filters ----------------------------------------------------------------------------------------------------


def draw_filters(subject: Subject, folder: Path) -> Path | None:
    """`filters.png`: the weights that the input meets first; None if those are vectors of tokens."""
    weights = first_weights(subject.chain, subject.data.in_shape)
    if weights is None:
        return None
    title = f"First layer of {subject.config.model['name']}, {subject.scheme}"
    return pictures.filters(weights, folder / "filters.png", title)


def first_weights(chain: Chain, in_shape: tuple[int, ...]) -> np.ndarray | None:
    """Of the first layer with weights: `(filters, channels, height, width)` of a convolution, and of a matrix whose
    rows are images or square patches of them; else `(units, inputs)`. None if the first layer embeds ids."""
    for layer in chain.modules():
        own = [p for p in layer.parameters(recurse=False) if p.dim() > 1]
        if not own:
            continue
        if isinstance(layer, nn.Embedding):
            return None
        found = own[0].detach().double().cpu().numpy()
        if found.ndim != 2:
            return found if found.ndim == 4 else found.reshape(len(found), -1)
        if len(in_shape) == 3:
            channels, side = in_shape[0], math.isqrt(found.shape[1] // in_shape[0])
            if found.shape[1] == math.prod(in_shape):
                return found.reshape(-1, *in_shape)
            if channels * side * side == found.shape[1] and side > 1:
                return found.reshape(-1, channels, side, side)
        return found
    return None


# attributions -----------------------------------------------------------------------------------------------


def draw_attributions(subject: Subject, folder: Path, n: int) -> tuple[Path | None, float | None]:
    """`attributions.png` of `n` examples, of each class in turn: saliency and integrated gradients of the given class.

    And by how much these miss completeness: the mean of |sum IG - (F(x) - F(baseline))| over the mean of |F(x) -
    F(baseline)|. Of ids, those of their vectors; (None, None) if no layer makes vectors of them.
    """
    batch = subject.split.batch(of_every_class(subject.split.y, n))
    assert batch.x is not None
    with torch.no_grad():
        classes = subject.logits(batch)(batch.x).argmax(1)
    names = subject.data.class_names
    captions = [f"{names[int(y)]} as {names[int(c)]}" for y, c in zip(batch.y, classes, strict=True)]
    if subject.reads_ids:
        return _of_words(subject, batch, classes, captions, folder)
    logits = subject.logits(batch)
    found, missed = integrated_gradients(logits, batch.x, subject.baseline(), classes)
    low, high = subject.range
    scale = float(low.min()), float(high.max())
    rows = [
        pictures.Row("example\n(true as given class)", arrays(batch.x), "input", scale, captions),
        pictures.Row("saliency", arrays(saliency(logits, batch.x, classes)), "heat"),
        pictures.Row("integrated gradients\n(red for it, blue against)", arrays(found), "signed"),
    ]
    path = pictures.grid(rows, folder / "attributions.png", f"What the class rests on, {subject.scheme}")
    return path, share_missed(found, missed)


def of_every_class(y: Tensor, n: int) -> Tensor:
    """Which `n` of these examples a figure shows: the first of each class, then the second of each, and so on."""
    turn = torch.zeros_like(y)
    for c in y.unique():
        its = (y == c).nonzero()[:, 0]
        turn[its] = torch.arange(len(its), dtype=y.dtype, device=y.device)
    return (turn * (int(y.max()) + 1 if len(y) else 1) + y).argsort(stable=True)[:n]


def share_missed(found: Tensor, missed: Tensor) -> float:
    """Of integrated gradients and by how much their sums miss."""
    whole = (found.flatten(1).sum(1) - missed).abs().mean()
    return float(missed.abs().mean() / whole.clamp(min=1e-12))


def _of_words(
    subject: Subject, batch: Batch, classes: Tensor, captions: list[str], folder: Path
) -> tuple[Path | None, float | None]:
    assert batch.x is not None
    with embedded(subject, batch) as of:
        if of is None:
            return None, None
        logits, vectors = of
        found, missed = integrated_gradients(logits, vectors, torch.zeros_like(vectors[:1]), classes)
    symbols = subject.data.symbols or []
    sentences = []
    for ids, values, caption in zip(batch.x.tolist(), found.sum(2).tolist(), captions, strict=True):
        read = [(symbols[i], value) for i, value in zip(ids, values, strict=True) if i != 0][:40]
        sentences.append(([word for word, _ in read], [value for _, value in read], caption))
    title = f"What the class rests on, {subject.scheme}: integrated gradients of the words' vectors"
    return pictures.words(sentences, folder / "attributions.png", title), share_missed(found, missed)


@contextmanager
def embedded(subject: Subject, batch: Batch) -> Iterator[tuple[Logits, Tensor] | None]:
    """Logits as a function of the vectors `(batch, positions, width)` that the net makes of the batch's ids first, and
    those vectors; None if no layer embeds them."""
    assert batch.x is not None
    given: dict[str, Tensor] = {}
    layer = next((layer for layer in subject.chain.modules() if isinstance(layer, nn.Embedding)), None)
    if layer is None:
        yield None
        return

    def hook(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        if "instead" in given:
            return given["instead"].expand_as(output)
        given["vectors"] = output.detach()
        return output

    handle = layer.register_forward_hook(hook)
    try:
        ids = batch.x
        with torch.no_grad():
            subject.logits(batch)(ids)
        vectors = given["vectors"]

        def logits(instead: Tensor) -> Tensor:
            given["instead"] = instead
            return subject.logits(batch)(ids)

        yield (logits, vectors) if vectors.dim() == 3 else None
    finally:
        handle.remove()


# adversarial examples ---------------------------------------------------------------------------------------


def draw_adversarial(subject: Subject, folder: Path, request: Request, target: int | None) -> Path:
    """`adversarial.png`: examples that are classified rightly, and FGSM's and PGD's at the middle of the epsilons, each
    above its change, with the class that the net then gives."""
    epsilon = sorted(request.epsilons)[len(request.epsilons) // 2]
    x, names = subject.split.x, subject.data.class_names
    right = (predictions(subject, x) == subject.split.y).nonzero()[:, 0]
    pool = right if len(right) else torch.arange(len(x))
    chosen = pool[of_every_class(subject.split.y[pool], request.shown)]
    low, high = subject.range
    scale = float(low.min()), float(high.max())
    rows = [_row(f"example ({subject.scheme})", x, chosen, scale, predictions(subject, x), names)]
    for attack in ("fgsm", "pgd"):
        made = attacked(subject, attack, epsilon, target, request.steps, request.seed)
        rows.append(_row(attack.upper(), made, chosen, scale, predictions(subject, made), names))
        rows.append(pictures.Row("change\n(red up, blue down)", arrays((made - x)[chosen]), "signed"))
    towards = "" if target is None else f" towards {names[target]}"
    return pictures.grid(rows, folder / "adversarial.png", f"Adversarial examples{towards}, epsilon {epsilon:g}")


def _row(
    name: str, x: Tensor, chosen: Tensor, scale: tuple[float, float], given: Tensor, names: list[str]
) -> pictures.Row:
    return pictures.Row(name, arrays(x[chosen]), "input", scale, [names[int(c)] for c in given[chosen]])


def arrays(x: Tensor) -> list[np.ndarray]:
    return list(x.detach().double().cpu().numpy())
