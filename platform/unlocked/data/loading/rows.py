"""Raw rows of a data set as the inputs of its splits: one pass over what they are, then nothing is held but paths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlocked.data.dataset import RawData
from unlocked.data.loading.checks import check_ids, lengths_of, without_padding
from unlocked.data.loading.normalising import Statistics, as_float32, but_plain, feature_axis, fixed_statistics
from unlocked.data.loading.scan import Scan, scanned
from unlocked.data.rows.source import RowSource
from unlocked.data.rows.tensor import RowTensor
from unlocked.errors import DataError, RunFailed
from unlocked_models.contract.batch import Extra

Parts = Mapping[str, tuple[RowSource, np.ndarray, Mapping[str, Extra]]]


@dataclass(frozen=True, eq=False)
class AsSeen:
    """Raw rows as the net sees them; `lengths` of all rows of the split, if they are sequences."""

    name: str
    part: str
    statistics: Statistics
    lengths: np.ndarray | None
    symbols: int | None  # how many, if they are ids

    def __call__(self, raw: np.ndarray, rows: np.ndarray) -> Tensor:
        try:
            lengths = None if self.lengths is None else self.lengths[rows]
            raw = without_padding(raw, lengths)
            if self.symbols is not None:
                check_ids(self.name, f"x_{self.part}", raw, self.symbols)
                return torch.from_numpy(raw.astype(np.int64))
            return as_float32(self.name, self.part, raw, self.statistics, lengths)
        except DataError as error:  # the run has begun
            raise RunFailed(str(error)) from None


@dataclass(frozen=True, eq=False)
class Seen:
    """The inputs of every split, and what is known of the raw ones."""

    inputs: dict[str, Tensor]
    statistics: Statistics
    lowest: float
    highest: float


def seen(name: str, raw: RawData, parts: Parts, cache: Sequence[Path]) -> Seen:
    """Raises `DataError`, one line, for rows that are not finite or cannot be read."""
    scans = _scans(name, parts, cache, isinstance(raw.normalise, str))
    source = parts["train"][0]
    train = scans["train"]
    statistics: Statistics = None
    if raw.symbols is not None:
        for part, scan in scans.items():
            ends = np.array([[scan.lowest, scan.highest]]).astype(np.int64)
            check_ids(name, f"x_{part}", ends, len(raw.symbols))
    elif raw.normalise == "train":
        statistics = but_plain(raw, *train.statistics(source.ndim, feature_axis(source.ndim)))
    else:
        statistics = fixed_statistics(name, raw, source.shape)
    inputs: dict[str, Tensor] = {}
    for part, (rows, _, extras) in parts.items():
        symbols = None if raw.symbols is None else len(raw.symbols)
        prepare = AsSeen(name, part, statistics, lengths_of(extras), symbols)
        word = hashlib.sha256(f"{scans[part].content} {source.shape[1:]} {_said(statistics)}".encode())
        word.update(rows.origin()[1].tobytes())
        kind = torch.float32 if symbols is None else torch.int64
        read = RowTensor(rows, prepare, word.hexdigest(), kind)
        inputs[part] = read.whole() if rows.origin()[0].is_held else read
    return Seen(inputs, statistics, train.lowest, train.highest)


def _scans(name: str, parts: Parts, cache: Sequence[Path], statistics: bool) -> dict[str, Scan]:
    """By split, of the source that it reads from; each source is read once."""
    found: dict[str, Scan] = {}
    known: list[tuple[RowSource, Scan]] = []
    train, chosen = parts["train"][0].origin()
    for part, (rows, _, extras) in parts.items():
        source, _ = rows.origin()
        scan = next((scan for other, scan in known if other is source), None)
        if scan is None:
            wanted = lengths = None
            if source is train:
                wanted = np.zeros(len(source), dtype=bool)
                wanted[chosen] = True
                lengths = _over_all(len(source), parts, source)
            else:
                lengths = lengths_of(extras)
            scan = scanned(name, part, source, wanted, lengths, cache, statistics)
            known.append((source, scan))
        found[part] = scan
    return found


def _over_all(n: int, parts: Parts, source: RowSource) -> np.ndarray | None:
    """Lengths of all rows of a source, of which the splits have some each."""
    found: np.ndarray | None = None
    for rows, _, extras in parts.values():
        origin, chosen = rows.origin()
        lengths = lengths_of(extras)
        if origin is source and lengths is not None:
            found = np.ones(n, dtype=np.int64) if found is None else found
            found[chosen] = lengths
    return found


def _said(statistics: Statistics) -> str:
    return "" if statistics is None else " ".join(str(each.flatten().tolist()) for each in statistics)
