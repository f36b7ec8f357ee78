"""MNIST-1D: ten digit-like curves of 40 points, generated offline (Greydanus & Kobak, ICML 2024)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source


@register_data("mnist1d", task="classification", family="sequences")
def mnist1d(source: Source) -> RawData:
    """Series `(40,)`, 4,000 + 1,000, the package's default seed; generated once (a second), then cached.

    Normalised as the package gives them, with one mean and one deviation over all 5,000 series, so scores
    compare with published ones (logistic regression 0.33, MLP about 0.68, CNN about 0.94).
    """
    made = source.cached(f"mnist1d-{version('mnist1d')}", _generate)
    return RawData(made["x_train"], made["y_train"], made["x_test"], made["y_test"])


def _generate() -> dict[str, np.ndarray]:
    from mnist1d.data import get_dataset_args, make_dataset

    with _global_random_state_kept():
        made = make_dataset(get_dataset_args())
    return {
        "x_train": made["x"].astype(np.float32),
        "y_train": made["y"],
        "x_test": made["x_test"].astype(np.float32),
        "y_test": made["y_test"],
    }


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """The package seeds Python's and NumPy's global generators; the caller's run must not notice."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
