"""A torch `Dataset` or `DataLoader`, or a Hugging Face `Dataset`, as rows that a minibatch reads when it needs them.

The order is ours, so it follows from the seed and the step as for every data set. An example that its data set makes by
chance (a random crop, say) is drawn by torch, numpy and `random` seeded from (seed, step, row): a run that goes on, or
another number of replicas or processes, sees the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import torch

from unlocked.blame import place, said
from unlocked.data.dataset import RawData
from unlocked.data.rows.source import RowSource, at_start
from unlocked.errors import DataError, RunFailed
from unlocked.seeding import step_seed
from unlocked_models.contract.registry import unknown

NAMES = {"x": ("x", "input", "inputs", "image", "img", "features", "pixel_values", "audio"),
         "y": ("y", "target", "targets", "label", "labels", "fine_label")}  # fmt: skip
PARTS = {"train": "train", "test": "test", "validation": "validation", "val": "validation", "valid": "validation"}


class DatasetRows(RowSource):
    """The inputs of a map-style data set, made one by one, here or by `workers` processes."""

    def __init__(self, take: Take, shape: tuple[int, ...], dtype: Any, workers: int):
        super().__init__(shape, dtype)
        self.take, self.workers = take, workers
        self.ahead = 2 * workers  # here its draws would mix with those of the net's own thread
        self.readers = max(1, workers)
        self._pool: ProcessPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}

    @property
    def what(self) -> str:
        return self.take.what

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.drawn(rows, 0)

    def drawn(self, rows: np.ndarray, draw: int) -> np.ndarray:
        if not self.workers:
            return self._checked(self.take.inputs(rows.tolist(), draw))
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, initializer=_begin, initargs=(self.take, os.getpid()))
        each = max(1, -(-len(rows) // self.workers))
        try:
            parts: list[Future[np.ndarray]] = [
                self._pool.submit(_inputs, rows[i : i + each].tolist(), draw) for i in range(0, len(rows), each)
            ]
            found = [part.result() for part in parts]
        except BrokenProcessPool:
            self._pool = None
            raise RunFailed(f"{self.what}: a process that reads its examples died") from None
        return self._checked(np.concatenate(found) if found else np.empty((0, *self.shape[1:]), self.dtype))

    def _checked(self, x: np.ndarray) -> np.ndarray:
        if x.shape[1:] != self.shape[1:] or x.dtype != self.dtype:
            raise RunFailed(
                f"{self.what}: examples are now {x.dtype} of shape {x.shape[1:]}; they were {self.dtype} of shape "
                f"{self.shape[1:]}"
            )
        return x


_taken: Take | None = None  # in a process that reads


def _begin(take: Take, parent: int) -> None:
    """It ends with the process that asks it, and leaves Ctrl-C to that."""
    global _taken
    _taken = take
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def _inputs(rows: list[int], draw: int) -> np.ndarray:
    assert _taken is not None
    return _taken.inputs(rows, draw)


class Take:
    """Examples of a data set as pairs of an input and a target."""

    def __init__(self, dataset: Any, x: str | None, y: str | None):
        self.dataset, self.keys = dataset, (x, y)
        self.what = f"the data set {type(dataset).__name__}"

    def example(self, row: int) -> tuple[Any, Any]:
        """Raises `RunFailed`, one line, for what its code raises and for what is no pair."""
        try:
            found = self.dataset[row]
        except Exception as error:  # of a user's code
            at = place(error)
            raise RunFailed(f"{self.what}: example {row} failed{f' at {at}' if at else ''}: {said(error)}") from None
        if isinstance(found, Mapping):
            return self._named(found)
        if isinstance(found, Sequence) and not isinstance(found, str) and len(found) == 2:
            return found[0], found[1]
        kind = type(found).__name__
        raise RunFailed(
            f"{self.what}: example {row} is a {kind}; it needs to be a pair (x, y), or a mapping with x and y"
        )

    def _named(self, found: Mapping[str, Any]) -> tuple[Any, Any]:
        chosen = []
        for part, given in zip("xy", self.keys, strict=True):
            key = given or next((name for name in NAMES[part] if name in found), None)
            if key is None or key not in found:
                ask = f"which is {part}? data.options.{part}, or from_dataset({part}=...), names it"
                why = unknown("column", given, list(found)) if given else f"has {', '.join(map(str, found))}: {ask}"
                raise RunFailed(f"{self.what}: {why}")
            chosen.append(found[key])
        return chosen[0], chosen[1]

    def inputs(self, rows: Sequence[int], draw: int) -> np.ndarray:
        made = []
        with _own_draws():
            for row in rows:
                _seed(step_seed(draw, row))
                made.append(self.input(row, self.example(row)[0]))
        return np.stack(made) if made else np.empty((0,))

    def input(self, row: int, value: Any) -> np.ndarray:
        if hasattr(value, "getbands"):  # of Pillow
            value = np.asarray(value)
            value = value[None] if value.ndim == 2 else np.moveaxis(value, -1, 0)
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise RunFailed(f"{self.what}: the input of example {row} is {array.dtype}; it needs real numbers")
        return array.reshape(1) if array.ndim == 0 else array


@contextlib.contextmanager
def _own_draws() -> Iterator[None]:
    """What is drawn inside moves no generator outside."""
    of_random, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_random)
            np.random.set_state(of_numpy)


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def from_dataset(
    train: Any,
    test: Any = None,
    validation: Any = None,
    *,
    x: str | None = None,
    y: str | None = None,
    workers: int | None = None,
    **more: Any,
) -> RawData:
    """`RawData` of a torch `Dataset` whose examples are pairs `(x, y)` or mappings, of a `DataLoader` around one, or of
    a Hugging Face `Dataset`. Every example is looked at once; after that a minibatch makes those that it needs.

    Args:
        train: or a mapping of train, test and validation, such as a `DatasetDict`.
        x, y: keys of examples that are mappings; by default the first that is there of x, inputs, image, ..., and of
            y, targets, label, ...
        workers: processes that make examples ahead of time; 0: each is made when its step needs it. By default those
            of a `DataLoader`, else 0.
        more: of `RawData`: `class_names` (by default those of the data set), `normalise`, `symbols`, ...

    Raises `DataError`, one line, for what is no such data set.
    """
    given = {"train": train, "test": test, "validation": validation} | (_by_split(train) or {})
    arrays: dict[str, Any] = {}
    for part, dataset in given.items():
        if dataset is not None:
            arrays[f"x_{part}"], arrays[f"y_{part}"] = _rows_of(dataset, x, y, workers)
    if "class_names" not in more and arrays["y_train"].dtype.kind in "biu":
        more["class_names"] = _class_names(given["train"], y)
    return RawData(**arrays, **more)


def first_target(train: Any, x: str | None, y: str | None) -> Any:
    """Of the training split, as `from_dataset` takes it."""
    dataset = (_by_split(train) or {"train": train})["train"]
    dataset = dataset.dataset if isinstance(dataset, torch.utils.data.DataLoader) else dataset
    try:
        return Take(dataset, x, y).example(0)[1]
    except RunFailed as error:
        raise at_start(error) from None


def batch_size_of(train: Any) -> int | None:
    """That of a `DataLoader`."""
    loader = (_by_split(train) or {"train": train})["train"]
    return loader.batch_size if isinstance(loader, torch.utils.data.DataLoader) else None


def _by_split(train: Any) -> dict[str, Any] | None:
    if not isinstance(train, Mapping):
        return None
    strange = next((key for key in train if key not in PARTS), None)
    if strange is not None:
        raise DataError(f"data: {unknown('split', strange, list(PARTS))}")
    found = {PARTS[key]: value for key, value in train.items()}
    if found.get("train") is None:
        raise DataError("data: has no split train")
    return found


def _rows_of(dataset: Any, x: str | None, y: str | None, workers: int | None) -> tuple[DatasetRows, np.ndarray]:
    if isinstance(dataset, torch.utils.data.DataLoader):
        _refuse_own_ways(dataset)
        workers = dataset.num_workers if workers is None else workers
        dataset = dataset.dataset
    try:
        n = len(dataset)
        dataset.__getitem__  # noqa: B018
    except (TypeError, AttributeError, NotImplementedError):
        raise DataError(
            f"data: {type(dataset).__name__} gives no example by its number; a Dataset with __len__ and __getitem__ is "
            "needed, whose order the seed decides"
        ) from None
    if hasattr(dataset, "with_format") and hasattr(dataset, "column_names"):  # Hugging Face: arrays, not lists
        dataset = dataset.with_format("numpy") if getattr(dataset, "format", {}).get("type") is None else dataset
    take = Take(dataset, x, y)
    if not n:
        raise DataError(f"{take.what}: is empty")
    try:
        return _looked_at(take, n, workers or 0)
    except RunFailed as error:
        raise at_start(error) from None


def _refuse_own_ways(loader: Any) -> None:
    from torch.utils.data import RandomSampler, SequentialSampler, default_collate

    if loader.collate_fn is not default_collate:
        raise DataError("data: the DataLoader has a collate_fn of its own; let its Dataset give pairs of one shape")
    if not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        kind = type(loader.sampler).__name__
        raise DataError(
            f"data: the DataLoader has a {kind}; the order of a run follows from its seed, so that it can go on: give "
            "the Dataset, or a Subset of it"
        )


def _looked_at(take: Take, n: int, workers: int) -> tuple[DatasetRows, np.ndarray]:
    """Every example once: targets, shapes, what is not finite, the range of inputs, a word for all of them."""
    from unlocked.data.loading.scan import Scan, told

    targets: list[np.ndarray] = []
    content, lowest, highest = hashlib.sha256(), np.inf, -np.inf
    shape, dtype = (), np.dtype("f4")
    with _own_draws(), told(take.what, n * _bytes_of(take)) as tell:
        for row in range(n):
            _seed(step_seed(0, row))
            first, second = take.example(row)
            array = take.input(row, first)
            if row == 0:
                shape, dtype = array.shape, array.dtype
            if array.shape != shape or array.dtype != dtype:
                raise RunFailed(
                    f"{take.what}: example {row} is {array.dtype} of shape {array.shape}, example 0 {dtype} of shape "
                    f"{shape}; each needs the same: a transform resizes or pads"
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise RunFailed(f"{take.what}: example {row} has a value that is not finite")
            content.update(np.ascontiguousarray(array).view(np.uint8).data)
            if array.size:
                lowest, highest = min(lowest, float(array.min())), max(highest, float(array.max()))
            targets.append(np.asarray(second))
            tell(row * array.nbytes)
    if len({each.shape for each in targets}) > 1:
        row = next(i for i, each in enumerate(targets) if each.shape != targets[0].shape)
        shapes = f"shape {targets[row].shape}, that of example 0 {targets[0].shape}"
        raise RunFailed(f"{take.what}: the target of example {row} has {shapes}")
    source = DatasetRows(take, (n, *shape), dtype, workers)
    source.known = Scan(content.hexdigest(), lowest=min(lowest, highest), highest=max(lowest, highest))
    return source, np.stack(targets)


def _bytes_of(take: Take) -> int:
    return int(take.input(0, take.example(0)[0]).nbytes)


def _class_names(dataset: Any, y: str | None) -> Sequence[str] | None:
    """As torchvision and Hugging Face say them."""
    dataset = getattr(dataset, "dataset", dataset) if isinstance(dataset, torch.utils.data.DataLoader) else dataset
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        key = y or next((name for name in NAMES["y"] if name in features), None)
        found = getattr(features.get(key), "names", None)
    else:
        found = getattr(dataset, "classes", None)
    listed = isinstance(found, Sequence) and not isinstance(found, str)
    return [str(each) for each in found] if listed and found is not None else None
