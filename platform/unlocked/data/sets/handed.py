"""What Python hands over in place of a name: `train(config, data=dataset)`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.errors import DataError

NAME = "dataset"
_HANDED: ContextVar[Any] = ContextVar("handed", default=None)


@contextlib.contextmanager
def handed(data: Any) -> Iterator[None]:
    """Inside it the data set `dataset` is `data`; None: whatever it was."""
    token = _HANDED.set(_HANDED.get() if data is None else data)
    try:
        yield
    finally:
        _HANDED.reset(token)


def options_for(data: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `dataset`, with the task that the first target is of, if it was not said."""
    from unlocked.data.loading.datasets import first_target

    if "task" in given:
        return dict(given)
    y = data.y_train if isinstance(data, RawData) else first_target(data, given.get("x"), given.get("y"))
    return {**given, "task": "regression" if np.asarray(y).dtype.kind == "f" else "classification"}


@register_data(NAME, family="files")
def dataset(
    source: Source,
    task: str = "classification",
    x: str | None = None,
    y: str | None = None,
    workers: int | None = None,
    normalise: bool = False,
) -> RawData:
    """A torch `Dataset` or `DataLoader`, a Hugging Face `Dataset`, a mapping of those by split, or a `RawData`, that
    Python hands over: `train(config, data=...)`.

    Args:
        task: of its targets; by default classification of integers, regression of real numbers.
        x, y: keys of its examples, if they are mappings.
        workers: processes that make examples ahead of time; by default those of a `DataLoader`, else none.
        normalise: inputs to mean 0 and deviation 1, by the training split.
    """
    from unlocked.data.loading.datasets import from_dataset

    data = _HANDED.get()
    if data is None:
        raise DataError(
            f"data.name: {NAME} is handed over in Python, train(config, data=...) or resume(run, data=...); no file "
            "holds it; a set that commands can load is a function under @register_data"
        )
    if workers is not None and not 0 <= workers <= 256:
        raise DataError(f"data.options.workers: must be from 0 to 256, got {workers}")
    raw = data if isinstance(data, RawData) else from_dataset(data, x=x, y=y, workers=workers)
    return replace(raw, normalise="train") if normalise else raw
