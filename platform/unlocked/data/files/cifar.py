"""CIFAR's Python batches, read without trusting them: they are pickles, and a pickle can run any code.

Only what those files hold is understood: containers, numbers, byte strings, and uint8 arrays, which are
rebuilt here from their bytes. No name in the file is ever imported, nor is NumPy's own unpickling used.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from unlocked.errors import DataError


def read_batch(data: bytes, origin: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 3, 32, 32)` uint8 and labels `(n,)` int64 of one batch file; `origin` names it in errors.

    Raises `DataError` when the file is damaged, is no CIFAR-10 batch, or asks for any other object.
    """
    try:
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _Refused as error:
        raise DataError(f"{origin}: refused: it asks for {error}, as no CIFAR-10 batch does") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{origin}: not a readable CIFAR-10 batch ({reason})") from None
    entries = {_text(key): value for key, value in batch.items()} if isinstance(batch, dict) else {}
    x, y = getattr(entries.get("data"), "value", None), entries.get("labels")
    if x is None or x.ndim != 2 or x.shape[1] != 3 * 32 * 32 or not isinstance(y, list):
        raise DataError(f"{origin}: no CIFAR-10 batch: it needs 'data', n x 3072 bytes, and a list 'labels'")
    if not all(isinstance(label, int) and 0 <= label <= 9 for label in y):
        raise DataError(f"{origin}: has a label that is not one of 0 to 9")
    if len(y) != len(x):
        raise DataError(f"{origin}: has {len(x)} images but {len(y)} labels")
    return x.reshape(-1, 3, 32, 32), np.array(y, dtype=np.int64)


class _Refused(Exception):
    pass


class _Dtype:
    """Stands in for `numpy.dtype`; unsigned bytes only."""

    def __init__(self, code: Any, *_: Any):
        if _text(code) != "u1":
            raise ValueError(f"an array of {code!r}, not of unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands in for `numpy.ndarray`; `value` is the array once its state has been read."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
            raise ValueError("an array without its bytes")
        self.value = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _Reconstruct:
    """Stands in for `numpy.core.multiarray._reconstruct`, whose arguments never differ."""

    def __new__(cls, *_: Any) -> Any:
        return _Array()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_ins = {
            "numpy.ndarray": _Array,
            "numpy.dtype": _Dtype,
            "numpy.core.multiarray._reconstruct": _Reconstruct,  # NumPy 1: the published files
            "numpy._core.multiarray._reconstruct": _Reconstruct,
        }  # NumPy 2
        if (wanted := f"{module}.{name}") not in stand_ins:
            raise _Refused(wanted)
        return stand_ins[wanted]


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
