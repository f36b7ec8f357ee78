"""Outputs of a net as a table: what it says of each input, in the names of its data set."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Columns = dict[str, list[str] | list[float] | list[int]]  # of one length


def of_classes(logits: Tensor, names: Sequence[str]) -> Columns:
    """The likeliest class of each row of `logits (n, classes)`, its probability, and that of every class."""
    p = logits.double().softmax(1)
    probability, best = p.max(1)
    columns: Columns = {"prediction": [names[i] for i in best.tolist()], "probability": probability.tolist()}
    return columns | {f"p({name})": p[:, i].tolist() for i, name in enumerate(names)}


def of_labels(logits: Tensor, names: Sequence[str]) -> Columns:
    """Whether each label is given, of `logits (n, labels)`, and its probability."""
    p = logits.double().sigmoid()
    columns: Columns = {name: (logits[:, i] > 0).int().tolist() for i, name in enumerate(names)}
    return columns | {f"p({name})": p[:, i].tolist() for i, name in enumerate(names)}


def of_tokens(logits: Tensor, symbols: Sequence[str], others: int = 3) -> Columns:
    """The likeliest token of each row of `logits (n, vocabulary)`, its probability, and those that come next."""
    values, ids = logits.double().softmax(1).topk(min(1 + others, logits.shape[1]), dim=1)
    after = [
        ", ".join(f"{symbols[i]!r} {value:.3f}" for value, i in zip(v[1:], row[1:], strict=True))
        for v, row in zip(values.tolist(), ids.tolist(), strict=True)
    ]
    return {
        "prediction": [symbols[i] for i in ids[:, 0].tolist()],
        "probability": values[:, 0].tolist(),
        "others": after,
    }
