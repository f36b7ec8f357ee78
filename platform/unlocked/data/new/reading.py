"""How new inputs are read as those of a data set were: the same normalisation, the same vocabulary.

    runs/<run>/inputs.json    what a run's net was given, so that it can be asked without its data set

A run writes it down when it begins. It holds no example but the few of the test split that show what an input is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked import strict_json
from unlocked.data.dataset import DataSet, Split
from unlocked.data.loading.normalising import as_float32
from unlocked.data.rows import is_read
from unlocked.data.transform import Transform
from unlocked.data.transforms.disturbed import Standardise
from unlocked.data.words.text import PAD, SPECIAL, UNK
from unlocked.errors import ConfigError, DataError
from unlocked.files import read_json, write_whole
from unlocked_models.contract.batch import EDGES, LENGTHS, Batch, Example, Extra, ExtraShape

FILE = "inputs.json"
ROWS_SEEN = 10_000  # of those that stay in files, for how a text is framed
MOST_SHOWN = 50_000  # numbers of the examples that are shown
_MOST_NUMBERS = 2**31  # of one input


@dataclass(frozen=True)
class Reading:
    """What is known of a data set's inputs before they were normalised, and of what its outputs stand for.

    `shape` and `dtype` are of one raw input, `(channels, height, width)` of an image, as `example` is of what the net
    sees; `lowest` and `highest` of its values in the training split. `mean` and `deviation` are of each channel or
    feature, empty if inputs stay as given. `features`: names of the columns of a table. `files`: how a file becomes a
    raw input. `begins` and `ends`: ids around the tokens of a text. `changed_by`: the transform that makes another
    input of it, for evaluation too. `target_mean` and `target_deviation`: of standardised targets. `shown`: raw inputs
    of the test split.
    """

    data: str
    task: str
    shape: tuple[int, ...]
    dtype: str
    example: Example
    class_names: list[str]
    lowest: float = 0.0
    highest: float = 1.0
    mean: list[float] = field(default_factory=list)
    deviation: list[float] = field(default_factory=list)
    features: list[str] | None = None
    symbols: list[str] | None = None
    tokenizer: str | None = None
    target_tokenizer: str | None = None
    text_column: str = "text"
    files: dict[str, Any] | None = None
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    changed_by: str | None = None
    target_mean: list[float] | None = None
    target_deviation: list[float] | None = None
    shown: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, data: DataSet) -> Reading:
        """Raises `DataError` for a data set that was not loaded by name."""
        raw = data.loaded
        if raw is None:
            raise DataError(f"data {data.name!r}: was put together by hand; how its inputs were made is not known")
        begins: list[int] = []
        ends: list[int] = []
        shown = raw.shown
        if data.symbols is not None and data.train.x.dim() == 2:
            from unlocked.data.words.pairs import frame_of

            x = data.train.x[:ROWS_SEEN] if is_read(data.train.x) else data.train.x
            whole = x[x[:, -1] == PAD]  # longer ones were cut
            begins, ends = frame_of(whole if len(whole) else x)
        mean, deviation = ([], []) if raw.statistics is None else (each.flatten().tolist() for each in raw.statistics)
        changed = data.given.get("test", data.test).x is not data.test.x
        by = next((type(each).__name__ for each in data.transforms if each.evaluates), "") if changed else None
        standard = next((each for each in data.transforms if isinstance(each, Standardise)), None)
        known = standard is not None and standard.mean is not None and standard.deviation is not None
        return cls(
            data=data.name,
            task=data.task,
            shape=tuple(data.train.x.shape[1:]),
            dtype=raw.dtype,
            example=data.example,
            class_names=list(data.class_names),
            lowest=raw.lowest,
            highest=raw.highest,
            mean=mean,
            deviation=deviation,
            features=None if data.features is None else list(data.features),
            symbols=None if data.symbols is None else list(data.symbols),
            tokenizer=data.tokenizer,
            target_tokenizer=data.target_tokenizer,
            text_column=data.text_column,
            files=None if data.files is None else dict(data.files),
            begins=begins,
            ends=ends,
            changed_by=by,
            target_mean=standard.mean.tolist() if known else None,  # type: ignore[union-attr]
            target_deviation=standard.deviation.tolist() if known else None,  # type: ignore[union-attr]
            shown=shown.tolist() if shown.size <= MOST_SHOWN else [],
        )

    # what it reads -------------------------------------------------------------------------------------------

    @property
    def is_text(self) -> bool:
        """Whether an input is a text, or tokens with spaces between them."""
        return self.symbols is not None

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3 and self.symbols is None

    @property
    def extras(self) -> list[ExtraShape]:
        """What the net reads beside its input."""
        return list(self.example.extras)

    def of_another_scale(self, what: str, x: np.ndarray) -> list[str]:
        """A note if values lie outside the training split's range by more than that range itself."""
        if self.symbols is not None or self.dtype == "uint8" or not x.size:
            return []
        span = self.highest - self.lowest
        if x.min() >= self.lowest - span and x.max() <= self.highest + span:
            return []
        return [
            f"{what}: has values from {x.min():g} to {x.max():g}; in training they went from {self.lowest:g} to "
            f"{self.highest:g}: if the scale is another, so are the answers"
        ]

    def numbers(self, what: str, x: np.ndarray, lengths: np.ndarray | None = None) -> Tensor:
        """Raw inputs `(n, *shape)` as the net sees them. `what` names them in messages; rows count from 1.

        Raises `DataError`, one line: no numbers, of another shape, not finite, no bytes where bytes were trained on.
        """
        x = np.asarray(x)
        free = any(extra.name == EDGES for extra in self.example.extras)  # graphs of any size
        fits = x.ndim == 1 + len(self.shape) and x.shape[1 + free :] == self.shape[free:]
        if x.dtype.kind not in "biuf" or not fits:
            raise DataError(f"{what}: is {x.dtype} of shape {x.shape}; this net reads numbers {self._shape(free)}")
        if not len(x):
            raise DataError(f"{what}: is empty")
        bad = np.argwhere(~np.isfinite(x))
        if len(bad):
            raise DataError(f"{what}: row {bad[0, 0] + 1} has a value that is not finite")
        if self.symbols is not None:
            return self._ids(what, x)
        if self.dtype == "uint8":
            bad = np.argwhere((x < 0) | (x > 255) | (x != np.round(x)))
            if len(bad):
                raise DataError(
                    f"{what}: row {bad[0, 0] + 1} has the value {x[tuple(bad[0])]:g}; this net was trained on whole "
                    f"numbers from 0 to 255"
                )
        axis = 1 if len(self.shape) == 3 else len(self.shape)
        wide = [-1 if d == axis else 1 for d in range(1 + len(self.shape))]
        statistics = None
        if self.mean:
            mean, deviation = (torch.tensor(v, dtype=torch.float64).reshape(wide) for v in (self.mean, self.deviation))
            statistics = mean, deviation
        try:
            return as_float32(self.data, "new", x.astype(self.dtype), statistics, lengths)
        except DataError:
            raise DataError(f"{what}: has values that do not fit float32") from None

    def _ids(self, what: str, x: np.ndarray) -> Tensor:
        assert self.symbols is not None
        bad = np.argwhere((x < 0) | (x >= len(self.symbols)) | (x != np.round(x)))
        if len(bad):
            raise DataError(
                f"{what}: row {bad[0, 0] + 1} has the id {x[tuple(bad[0])]:g}; the vocabulary has ids 0 to "
                f"{len(self.symbols) - 1}"
            )
        return torch.from_numpy(x.astype(np.int64))

    def _shape(self, free: bool) -> str:
        sizes = ["n", *map(str, self.shape)]
        if free:
            sizes[1] = "nodes"
        return f"({', '.join(sizes)})"

    def ids(self, what: str, texts: Sequence[str]) -> Tensor:
        """Texts as rows of ids, framed and filled up as in training; longer ones are cut.

        Raises `DataError` for a text without a token, or of which the vocabulary knows nothing; `what` names the file.
        """
        from unlocked.data.words import tokenize
        from unlocked.data.words.pairs import framed
        from unlocked_models.contract.registry import unknown

        assert self.symbols is not None
        length = self.shape[0]
        tokenizer = tokenize.from_json(self.tokenizer) if self.tokenizer else None
        known = {symbol: i for i, symbol in enumerate(self.symbols)}
        rows = []
        for i, text in enumerate(texts, 1):
            tokens = text.split()
            if not tokens:
                raise DataError(f"{what}: row {i} is empty")
            if tokenizer is None:
                strange = next((token for token in tokens if token not in known), None)
                if strange is not None:
                    raise DataError(f"{what}: row {i}: {unknown('token', strange, self.symbols[len(SPECIAL) :])}")
                ids = [known[token] for token in tokens]
            else:
                ids = tokenize.encode(tokenizer, text.strip()).tolist()
                if all(i == UNK for i in ids):
                    raise DataError(f"{what}: row {i}: no word of {text.strip()[:40]!r} is in the vocabulary")
            if self.example.out_positions is not None and self.begins + self.ends == []:  # what comes next is asked
                ids = ids[-length:]
            rows.append([*self.begins, *ids, *self.ends][:length])
        return torch.from_numpy(framed(rows, length, ([], [])))

    def texts(self, ids: np.ndarray) -> list[str]:
        """What rows of ids stand for, without their frame and padding."""
        from unlocked.data.words import tokenize

        assert self.symbols is not None
        rows = [[i for i in row if i >= len(SPECIAL)] for row in ids.tolist()]
        if self.tokenizer is None:
            return [" ".join(self.symbols[i] for i in row) for row in rows]
        tokenizer = tokenize.from_json(self.tokenizer)
        return [tokenize.decode(tokenizer, row) for row in rows]

    def unknown_words(self, texts: Sequence[str]) -> list[str]:
        """Those that the net reads as unknown, each once."""
        from unlocked.data.words import tokenize

        if self.tokenizer is None:
            return []
        tokenizer = tokenize.from_json(self.tokenizer)
        return list(dict.fromkeys(word for text in texts for word in tokenize.unknown_in(tokenizer, text)))

    def batch(self, x: Tensor, extras: Mapping[str, Extra] | None = None) -> Batch:
        """With targets that nothing is asked of."""
        shape = self.example.y_shape
        if shape and len(x.shape) > 1 and shape[0] == self.shape[0]:
            shape = (x.shape[1], *shape[1:])
        y = torch.zeros(len(x), *shape, dtype=torch.float32 if self.example.y_real else torch.int64)
        given = dict(extras or {})
        if self.example.has_lengths and LENGTHS not in given:
            given[LENGTHS] = torch.full((len(x),), x.shape[1])
        return Batch(x, y, extras=given)

    # a data set in its place ---------------------------------------------------------------------------------

    def stand_in(self, split: Split | None = None, example: Example | None = None) -> DataSet:
        """A data set that says what it said of its inputs and outputs, with this one split, or one empty example.

        `example`: if what the net sees is of another size than in training, as another graph is.
        """
        ids = self.symbols is not None
        x = torch.zeros(1, *self.shape, dtype=torch.int64 if ids else torch.float32)
        if ids and len(self.shape) == 1:
            row = [*self.begins, UNK, *self.ends][: self.shape[0]]
            x[0, : len(row)] = torch.tensor(row)
        split = split or Split(x, torch.zeros(1, *self.example.y_shape, dtype=torch.int64))
        example = example or self.example
        transforms: list[Transform] = []
        if self.target_mean is not None:
            standard = Standardise()
            standard.mean = torch.tensor(self.target_mean, dtype=torch.float64)
            standard.deviation = torch.tensor(self.target_deviation, dtype=torch.float64)
            transforms.append(standard)
        return _StandIn(
            name=self.data,
            task=self.task,
            in_shape=example.in_shape,
            n_outputs=self.example.n_outputs,
            class_names=self.class_names,
            train=split,
            validation=None,
            test=split,
            symbols=self.symbols,
            tokenizer=self.tokenizer,
            target_tokenizer=self.target_tokenizer,
            text_column=self.text_column,
            transforms=transforms,
        ).seen_as(example)

    # as a file -----------------------------------------------------------------------------------------------

    def write(self, folder: Path) -> Path:
        value = {**asdict(self), "example": _example_to_json(self.example)}
        return write_whole(folder / FILE, strict_json.dumps(value))

    @classmethod
    def read(cls, folder: Path) -> Reading | None:
        """None if the run was begun before it was written down; raises `ConfigError` for a file that is none."""
        file = folder / FILE
        if not file.exists():
            return None
        try:
            value = read_json(file)
            found = cls(**{**value, "shape": tuple(value["shape"]), "example": _example_of_json(value["example"])})
            _refuse_strange(found)
            return found
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{file}: is damaged: {error}") from None


def _refuse_strange(found: Reading) -> None:
    """The file may be somebody else's. Raises `ValueError` or `TypeError` for what no data set says of itself."""

    def all_of(kind: Any, *lists: Any) -> bool:
        return all(each is None or (isinstance(each, list) and all(type(x) in kind for x in each)) for each in lists)

    example, number = found.example, (int, float)
    sizes = [found.shape, example.in_shape, example.y_shape, *(extra.shape for extra in example.extras)]
    channels = found.shape[0 if len(found.shape) == 3 else -1] if found.shape else 1
    fits = {
        "shape": all(type(size) is int and size >= 0 for shape in sizes for size in shape)
        and all(math.prod(shape) <= _MOST_NUMBERS for shape in sizes),
        "dtype": isinstance(found.dtype, str)
        and np.dtype(found.dtype).kind in "biuf"
        and all(isinstance(extra.dtype, torch.dtype) for extra in example.extras),
        "mean": all_of(number, found.mean, found.deviation)
        and len(found.mean) == len(found.deviation)
        and len(found.mean) in (0, 1, channels),
        "target_mean": all_of(number, found.target_mean, found.target_deviation)
        and len(found.target_mean or ()) == len(found.target_deviation or ())
        and found.target_mean != [],
        "class_names": found.class_names is not None
        and all_of((str,), found.class_names, found.features, found.symbols)
        and (len(found.class_names) >= example.n_outputs or found.changed_by is not None),
        "tokenizer": all(isinstance(each, (str, type(None))) for each in (found.tokenizer, found.target_tokenizer)),
        "text_column": isinstance(found.text_column, str),
        "files": found.files is None or isinstance(found.files, dict),
        "begins": all(isinstance(each, list) for each in (found.begins, found.ends))
        and all(type(i) is int and 0 <= i < len(found.symbols or ()) for i in [*found.begins, *found.ends]),
        "lowest": type(found.lowest) in number and type(found.highest) in number,
    }
    strange = [name for name, is_so in fits.items() if not is_so]
    if strange:
        raise ValueError(f"{', '.join(strange)}: of no data set")


class _StandIn(DataSet):
    def seen_as(self, example: Example) -> DataSet:
        self.__dict__["example"] = example  # in place of the cached property
        return self


def _example_to_json(example: Example) -> dict[str, Any]:
    value = asdict(example)
    for extra in value["extras"]:
        extra["dtype"] = str(extra["dtype"]).removeprefix("torch.")
    return value


def _example_of_json(value: Mapping[str, Any]) -> Example:
    extras = tuple(
        ExtraShape(**{**each, "shape": tuple(each["shape"]), "dtype": getattr(torch, each["dtype"])})
        for each in value["extras"]
    )
    shapes = {"in_shape": tuple(value["in_shape"]), "y_shape": tuple(value["y_shape"])}
    return replace(Example(**{**value, **shapes, "extras": ()}), extras=extras)
