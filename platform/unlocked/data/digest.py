"""What a loaded data set comes to in one word: two runs that have the same one saw the same examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from unlocked.data.dataset import DataSet
from unlocked.data.rows.tensor import RowTensor
from unlocked_models.contract.batch import Extra, Ragged


def digest(data: DataSet) -> str:
    """SHA-256 over the inputs, targets and extras of every split as they are trained on and measured; 16 hex digits.

    Covers the split, the normalisation and the order of the rows. About 1 s per GB; of rows that stay in their files,
    nothing is read again.
    """
    found = hashlib.sha256()
    for name in ("train", "validation", "test"):
        split = data.train_shown if name == "train" else getattr(data, name)
        if split is None:
            continue
        for tensor in (split.x, split.y, *_tensors(split.extras)):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            if isinstance(tensor, RowTensor):
                found.update(tensor.content.encode())
                continue
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def _tensors(extras: Mapping[str, Extra]) -> Iterator[Tensor]:
    for _, extra in sorted(extras.items()):
        yield from (extra.values, extra.offsets) if isinstance(extra, Ragged) else (extra,)
