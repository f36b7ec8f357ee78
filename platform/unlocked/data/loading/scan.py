"""All rows once, from the first to the last, in bounded memory: are they finite, their range, mean and deviation, and
one word for their content. Kept for next time under the names, sizes and times of the files.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlocked.data.arrays import wrong
from unlocked.data.loading.normalising import feature_axis
from unlocked.data.rows.source import RowSource, at_start
from unlocked.errors import RunFailed
from unlocked.files import read_json, write_json

Tell = Callable[[int], None]
_VERSION = 1
_TOLD = 2**30  # bytes from which on it is said that they are read


@dataclass
class Scan:
    """Of the rows that were `wanted`, per channel or feature: how many numbers, their mean and the sum of squared
    distances from it, least and greatest; `content`: SHA-256 of all rows of the source."""

    content: str
    count: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    lowest: float = 0.0
    highest: float = 0.0

    def statistics(self, ndim: int, axis: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation in a shape that broadcasts over examples; a constant feature is only centred."""
        shape = [-1 if d == axis else 1 for d in range(ndim)]
        count = torch.tensor(self.count, dtype=torch.float64).clamp(min=1)
        mean = torch.tensor(self.mean, dtype=torch.float64)
        deviation = (torch.tensor(self.squares, dtype=torch.float64) / count).sqrt()
        rounding = 10 * torch.finfo(torch.float64).eps * mean.abs()
        deviation = torch.where(deviation <= rounding, torch.ones_like(deviation), deviation)
        return mean.reshape(shape), deviation.reshape(shape)


def scanned(
    name: str,
    part: str,
    source: RowSource,
    wanted: np.ndarray | None,
    lengths: np.ndarray | None,
    cache: Sequence[Path],
    statistics: bool = True,
) -> Scan:
    """`source`: one that reads, whole; `wanted (n,)`: which rows are trained on. `cache`: folders, of which the first
    that can be written keeps the result; `statistics`: whether mean and deviation are asked for.

    Raises `DataError` for rows that cannot be read or have a value that is not finite.
    """
    if source.known is not None and not statistics:
        known: Scan = source.known
        return known
    key = _key(source, wanted, lengths, statistics)
    places = [folder / f"rows-{key}.json" for folder in cache] if key is not None else []
    for place in places:
        if (found := _known(place)) is not None:
            return found
    with told(source.what, source.nbytes) as tell:
        try:
            found = _scan(name, part, source, wanted, lengths, statistics, tell)
        except RunFailed as error:
            raise at_start(error) from None
    for place in places:
        try:
            write_json(place, asdict(found))
            break
        except OSError:
            continue
    return found


def _key(source: RowSource, wanted: np.ndarray | None, lengths: np.ndarray | None, statistics: bool) -> str | None:
    identity = source.identity()
    if identity is None:
        return None
    found = hashlib.sha256(json.dumps([_VERSION, statistics, identity, list(source.shape), source.dtype.str]).encode())
    for each in (wanted, lengths):
        found.update(b"-" if each is None else np.ascontiguousarray(each).tobytes())
    return found.hexdigest()[:32]


def _known(place: Path) -> Scan | None:
    try:
        found = Scan(**read_json(place))
        numbers = [*found.count, *found.mean, *found.squares, found.lowest, found.highest]
        sound = isinstance(found.content, str) and all(type(each) in (int, float) for each in numbers)
    except TypeError:
        return None
    return found if sound else None


def _scan(
    name: str,
    part: str,
    source: RowSource,
    wanted: np.ndarray | None,
    lengths: np.ndarray | None,
    statistics: bool,
    tell: Tell,
) -> Scan:
    axis = feature_axis(source.ndim)
    features = source.shape[axis]
    content = hashlib.sha256(f"{source.shape} {source.dtype.str} ".encode())
    count, mean, squares = np.zeros(features), np.zeros(features), np.zeros(features)
    lowest, highest = np.inf, -np.inf
    for first, raw in source.blocks():
        tell(first * source.row_bytes)
        content.update(np.ascontiguousarray(raw).view(np.uint8).data)
        if raw.dtype.kind == "f" and not (finite := np.isfinite(raw)).all():
            row = first + int(np.argwhere(~finite)[0, 0])
            raise wrong(name, f"x_{part} has a value that is not finite: {source.where(row)}")
        rows = slice(None) if wanted is None else wanted[first : first + len(raw)]
        mine = raw[rows]
        if not len(mine):
            continue
        lowest, highest = min(lowest, float(mine.min())), max(highest, float(mine.max()))
        if not statistics:
            continue
        over = tuple(d for d in range(mine.ndim) if d != axis)
        values = _real(mine)
        if lengths is None:
            n = np.full(features, values.size / features)
            here = values.mean(over)
            apart = np.square(values - np.expand_dims(here, over)).sum(over)
        else:
            there = np.arange(mine.shape[1]) < lengths[first : first + len(raw)][rows][:, None]
            there = np.broadcast_to(there.reshape(there.shape + (1,) * (mine.ndim - 2)), mine.shape)
            n = there.sum(over, dtype=np.float64)
            here = np.where(there, values, 0).sum(over) / np.maximum(n, 1)
            apart = np.where(there, np.square(values - np.expand_dims(here, over)), 0).sum(over)
        # means and squares of two parts are those of both (Chan et al. 1979)
        both = np.maximum(count + n, 1)
        squares += apart + np.square(here - mean) * count * n / both
        mean += (here - mean) * n / both
        count += n
    low, high = (0.0, 1.0) if source.dtype.kind == "b" or lowest > highest else (lowest, highest)
    return Scan(content.hexdigest(), count.tolist(), mean.tolist(), squares.tolist(), low, high)


def _real(x: np.ndarray) -> np.ndarray:
    """As the net sees them before they are normalised: bytes as shares of 255."""
    return x / 255.0 if x.dtype == np.uint8 else x.astype(np.float64)


@contextmanager
def told(what: str, size: int) -> Iterator[Tell]:
    """Says on stderr that so many bytes are read, and on a terminal, whenever it is told so, how many were."""
    live = size >= _TOLD and sys.stderr.isatty()
    if size >= _TOLD:
        print(f"reading {what} once ({size / 1e9:.1f} GB): range, statistics, digest", file=sys.stderr, flush=True)

    def tell(done: int) -> None:
        if live:
            print(f"\r  {done / 1e9:.1f} of {size / 1e9:.1f} GB", end="", file=sys.stderr, flush=True)

    yield tell
    if live:
        print(file=sys.stderr)
