"""Patterns for an associative memory: each is stored once, and then shown disturbed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unlocked.data.dataset import DATA, RawData, register_data
from unlocked.data.files.source import Source
from unlocked.errors import DataError
from unlocked.options import check_options
from unlocked.seeding import derive_seed
from unlocked_models.contract.registry import unknown

RANDOM = "random"
MOST = 100_000


@register_data("patterns", task="pattern_recall", family="made")
def patterns(
    source: Source,
    of: str = RANDOM,
    number: int = 10,
    units: int = 100,
    threshold: float = 0.5,
    flip: float = 0.1,
    copies: int = 10,
    options: dict[str, Any] | None = None,
) -> RawData:
    """`number` patterns of 0 and 1, drawn by `data.seed`, each of which is one training example and its own target.

    `of`: random, each of so many `units` 0 or 1 by chance; or another data set with its own `options`, whose inputs
    are 1 above the `threshold`. The test and the validation split hold `copies` of every pattern in which a share
    `flip` of the units, others in each copy, is the other way round; their target is the pattern.
    """
    for name, value in (("number", number), ("units", units), ("copies", copies)):
        if not 1 <= value <= MOST:
            raise DataError(f"data.options.{name}: must be from 1 to {MOST}, got {value}")
    if not 0 <= flip <= 0.5:
        raise DataError(f"data.options.flip: must be from 0 to 0.5, a share of the units, got {flip}")
    rng = np.random.default_rng(derive_seed(source.seed, "patterns"))
    if of == RANDOM:
        clean = rng.integers(0, 2, (number, units)).astype(np.float32)
    else:
        clean = _chosen(_inputs(source, of, dict(options or {})), of, threshold, number, rng)
    flat = clean.reshape(number, -1)

    def disturbed() -> tuple[np.ndarray, np.ndarray]:
        x = np.repeat(flat, copies, axis=0)
        turned = rng.random(x.shape).argsort(axis=1) < round(flip * x.shape[1])
        return np.where(turned, 1 - x, x).reshape(-1, *clean.shape[1:]), np.repeat(flat, copies, axis=0)

    x_test, y_test = disturbed()
    x_validation, y_validation = disturbed()
    return RawData(clean, flat, x_test=x_test, y_test=y_test, x_validation=x_validation, y_validation=y_validation)


def _inputs(source: Source, of: str, options: dict[str, Any]) -> np.ndarray:
    """Training examples of another data set."""
    if of not in DATA or of == source.name:
        raise DataError(f"data.options.of: {unknown('data', of, [RANDOM, *DATA.names()])}")
    read = DATA.get(of)
    check_options("data.options.options", of, read, options, skip=1, error=DataError)
    raw = read(replace(source, name=of), **options)
    if raw.symbols is not None or not isinstance(raw.x_train, np.ndarray):
        raise DataError(f"data.options.of: inputs of {of} are not numbers in memory, which a threshold could part")
    return raw.x_train / 255 if raw.x_train.dtype == np.uint8 else raw.x_train


def _chosen(x: np.ndarray, of: str, threshold: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """So many of them, none twice."""
    if number > len(x):
        raise DataError(f"data.options.number: {number} patterns are more than the {len(x)} examples of {of}")
    above = x > threshold
    if above.all() or not above.any():
        raise DataError(
            f"data.options.threshold: {threshold:g} parts nothing, as inputs of {of} go from {x.min():g} to {x.max():g}"
        )
    return above[rng.permutation(len(x))[:number]].astype(np.float32)
