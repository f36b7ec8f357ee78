"""Arrays out of what a data function returned: numpy's, torch's, lists of either; what is none is one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unlocked.errors import DataError, reason


def wrong(name: str, what: str) -> DataError:
    return DataError(f"data {name!r}: {what}")


def as_array(name: str, what: str, value: Any) -> np.ndarray:
    """`value` as an array of numbers, without a copy if it is one; `what`: x_train, say.

    Raises `DataError` if entries are masked, examples have different shapes, or values are sparse or no numbers.
    """
    if isinstance(value, (list, tuple)):
        value = _stacked(value)
    if isinstance(value, torch.Tensor):
        return _of_tensor(name, what, value)
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(name, what, value)
    if hasattr(value, "toarray"):  # of scipy
        raise wrong(name, f"{what} is a sparse matrix; give {what}.toarray()")
    try:
        array = np.asarray(value)
    except Exception as error:  # any type may refuse in a way of its own
        if "inhomogeneous" in str(error):
            raise wrong(name, _RAGGED.format(what)) from None
        raise wrong(name, f"{what} is a {type(value).__name__} that numpy cannot read: {reason(error)}") from None
    if array.dtype == object:
        raise wrong(name, _of_objects(what, value, array))
    return array


_RAGGED = (
    "{} is ragged: its examples have different shapes; fill them up to one length, and say in lengths_train and "
    "lengths_test how long each is"
)


def _stacked(values: list[Any] | tuple[Any, ...]) -> Any:
    """Lists of tensors or masked arrays of one shape as one of them: numpy would drop the masks."""
    if values and all(isinstance(v, torch.Tensor) for v in values) and len({v.shape for v in values}) == 1:
        return torch.stack(tuple(values))
    if any(isinstance(v, np.ma.MaskedArray) for v in values) and len({np.shape(v) for v in values}) == 1:
        return np.ma.stack(values)
    return values


def _of_tensor(name: str, what: str, value: torch.Tensor) -> np.ndarray:
    if value.layout is not torch.strided:
        raise wrong(name, f"{what} is a sparse tensor; give {what}.to_dense()")
    if value.dtype is torch.bfloat16:  # numpy has none
        value = value.float()
    try:
        return value.detach().cpu().resolve_conj().resolve_neg().numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # quantised, without values ("meta"), ...
        raise wrong(
            name, f"{what} is a tensor that numpy cannot read ({value.dtype}, {value.device}): {reason(error)}"
        ) from None


def _unmasked(name: str, what: str, value: np.ma.MaskedArray) -> np.ndarray:
    mask = np.ma.getmaskarray(value)
    if mask.dtype == bool and mask.any():
        first = int(np.argwhere(np.atleast_1d(mask))[0, 0])
        raise wrong(
            name,
            f"{what} has {int(mask.sum())} masked entries, the first in example {first}; they are "
            f"missing, not numbers: fill them ({what}.filled(...)) or leave those examples out",
        )
    return np.ma.getdata(value)


def _of_objects(what: str, value: Any, array: np.ndarray) -> str:
    if array.ndim == 0:
        return f"{what} is a {type(value).__name__}, not an array"
    entries = array.ravel()[:1000]
    if any(np.ndim(entry) for entry in entries):
        return _RAGGED.format(what)
    strange = next((entry for entry in entries if not isinstance(entry, (int, float, np.number))), entries[0])
    return (
        f"{what} holds objects instead of numbers, such as {str(strange)[:40]!r} of type "
        f"{type(strange).__name__}; give {what}.astype(float), say"
    )
