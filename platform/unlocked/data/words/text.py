"""Text as token ids: the ids that mean the same everywhere, and long texts cut into windows."""

from __future__ import annotations

import numpy as np

from unlocked.errors import DataError

PAD, BOS, EOS, UNK = range(4)  # padding, beginning and end of a sequence, unknown: the first ids of every vocabulary
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def windows(name: str, ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A long text in rows of `length` tokens, and for every token the next one: `x, y (n, length)`, in order.

    What is left at the end, less than a row, is dropped. Raises `DataError` if not one row can be filled.
    """
    if length < 1:
        raise DataError(f"data.options.length: must be at least 1, got {length}")
    n = (len(ids) - 1) // length
    if n < 1:
        raise DataError(
            f"data {name!r}: the text has {len(ids)} tokens, a window of data.options.length {length} "
            f"needs {length + 1}"
        )
    return ids[: n * length].reshape(n, length), ids[1 : n * length + 1].reshape(n, length)
