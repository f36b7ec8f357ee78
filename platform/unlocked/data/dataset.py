"""What a data set is: its splits as tensors, the raw arrays they come from, and the registry of names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unlocked.data.row_drawing import drawn_by_row
from unlocked.data.rows import is_read
from unlocked.data.rows.source import RowSource
from unlocked.data.transform import Transform, example_after, transformed
from unlocked.seeding import derive_seed
from unlocked_models.contract.batch import LENGTHS, Batch, Example, Extra, Ragged, moved, rows_of
from unlocked_models.contract.registry import Registry

TEST_FRACTION = 0.2  # set aside of a set without a test split of its own
TASK = "task"  # the option by which a data function lets the configuration say its targets' task
RESERVED = ("name", "root", "validation", "examples", "seed", "download", "transforms")


@dataclass(frozen=True, eq=False)
class Split:
    """Examples `x (n, *in_shape)`, float32 and normalised, or int64 ids; targets `y (n, ...)`: int64 ids, of a class
    or of a token at every position, or float32 values. `extras`: by name, what else there is of every example, tensors
    `(n, ...)` or `Ragged`."""

    x: Tensor
    y: Tensor
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.y.shape[0]

    @property
    def lengths(self) -> Tensor | None:
        """Positions of each sequence that are no padding, `(n,)` int64; None if the set does not say."""
        lengths = self.extras.get(LENGTHS)
        assert lengths is None or isinstance(lengths, Tensor)
        return lengths

    @property
    def nbytes(self) -> int:
        extras = [(e.values, e.offsets) if isinstance(e, Ragged) else (e,) for e in self.extras.values()]
        return sum(tensor.nbytes for tensor in (self.x, self.y, *(tensor for each in extras for tensor in each)))

    def batch(self, rows: Tensor, fresh: bool = True) -> Batch:
        """These rows, as an evaluation sees them."""
        return Batch(self.x[rows], self.y[rows], fresh, extras=rows_of(self.extras, rows))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Split:
        """The split on another device; `dtype` (e.g. `torch.float64` for exact checks) changes real numbers only."""
        x, y = (v.to(device=device, dtype=dtype if v.is_floating_point() else None) for v in (self.x, self.y))
        return Split(x, y, moved(self.extras, device, dtype))


@dataclass(frozen=True, eq=False, kw_only=True)
class Traits:
    """What the raw arrays and the loaded set alike say of their examples.

    Args:
        symbols: the vocabulary of the inputs: by id, the token that it stands for; id 0 is padding. None if inputs
            are real numbers.
        ordered: rows are windows of one long series or text, in its order: each goes on where the one before it ended,
            and splits are cut at its end, not drawn.
        stretch: ordered rows of one episode; the next row begins another. None: all rows of a split are one.
        tested_on: how the test split differs from what is trained on, told beside its figures; None if it does not.
        features: of inputs `(n, features)`, their names: those of a table's columns, by which new tables are read.
        files: of inputs that come from files, how one becomes an input: its `kind` and the settings of that kind, by
            which new files are read.
        tokenizer: JSON of a `tokenizers.Tokenizer` that turns text into these ids, if one was used.
        target_tokenizer: the same of targets that are texts, if theirs is another.
        text_column: of a table of new texts, the column that is read.
        transforms: what every minibatch goes through; those of a data set come before those of a configuration.
    """

    symbols: Sequence[str] | None = None
    ordered: bool = False
    stretch: int | None = None
    tested_on: str | None = None
    features: Sequence[str] | None = None
    tokenizer: str | None = None
    target_tokenizer: str | None = None
    text_column: str = "text"
    files: Mapping[str, Any] | None = None
    transforms: Sequence[Transform] = ()

    def traits(self) -> dict[str, Any]:
        """As keywords, for another of the same."""
        return {trait.name: getattr(self, trait.name) for trait in fields(Traits)}


@dataclass(frozen=True, eq=False)
class Loaded:
    """Of raw inputs, what loading leaves behind: `dtype`, the range of the training split's values, `(mean, deviation)`
    that they were normalised by, and a few raw inputs of the test split."""

    dtype: str
    lowest: float
    highest: float
    statistics: tuple[Tensor, Tensor] | None
    shown: np.ndarray


@dataclass(frozen=True, eq=False)
class DataSet(Traits):
    """A loaded set. `validation` is None if no fraction of the training split was asked for.

    The training split is as it was before the transforms, which make every minibatch anew; the other splits hold one
    draw of those that go for evaluation too. `in_shape` is of what the net sees. `class_names` are the names of what
    the outputs stand for: classes, values or tokens. `seed`: of the draws of evaluation. `given`: evaluation splits
    by name as they were before the transforms. `loaded`: what is known of the raw inputs.
    """

    name: str
    task: str
    in_shape: tuple[int, ...]
    n_outputs: int
    class_names: list[str]
    train: Split
    validation: Split | None
    test: Split
    seed: int = 0
    given: Mapping[str, Split] = field(default_factory=dict)
    loaded: Loaded | None = None

    @cached_property
    def example(self) -> Example:
        """What one example looks like to the net. Raises `DataError` for a transform that cannot take it."""
        return self.with_transforms()

    def with_transforms(self, train: Batch | None = None) -> Example:
        """`example`, after the transforms have been prepared on all of `train`, if it is given."""
        y = self.train.y
        values = y.is_floating_point()  # their number is n_outputs
        given = Example(
            tuple(self.train.x.shape[1:]),
            self.n_outputs,
            len(self.symbols) if self.symbols else None,
            tuple(y.shape[1:]),
            values,
        ).with_extras(self.train.extras)
        if not self.transforms:
            return given
        return example_after(self.transforms, self.train.batch(torch.arange(min(2, len(self.train)))), given, train)

    @cached_property
    def train_shown(self) -> Split:
        """The training split as an evaluation sees it."""
        return self.drawn("train", self.train)

    def drawn(self, part: str, split: Split) -> Split:
        """A split after the transforms that go for evaluation, by one draw."""
        chosen = [transform for transform in self.transforms if transform.evaluates]
        if not chosen:
            return split
        batch = Batch(split.x, split.y, extras=split.extras)
        by = drawn_by_row if is_read(split.x) else transformed
        after = by(chosen, batch, lambda purpose: derive_seed(self.seed, purpose, part))
        assert after.x is not None
        return Split(after.x, after.y, after.extras)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DataSet:
        validation = self.validation and self.validation.to(device, dtype)
        return replace(
            self, train=self.train.to(device, dtype), validation=validation, test=self.test.to(device, dtype)
        )


@dataclass(frozen=True, eq=False)
class RawData(Traits):
    """What a data function returns: arrays as they are, before splits, normalisation and checks.

    Args, beside those of `Traits`:
        x_train: `(n, *in_shape)`; images are `(n, channels, height, width)`. uint8 is read as value / 255. With
            `symbols`, integer ids `(n, positions)` of those, taken as they are. In place of an array, rows that stay in
            their files until a minibatch needs them (`unlocked.data.RowSource`), in every split alike.
        y_train: `(n, ...)`, as the set's task takes them: see the task's `check`. Taken as they are.
        x_test, y_test: the set's own test split; without one, 20 % of the training examples are set aside.
        x_validation, y_validation: its own validation split, in place of a fraction of the training examples; it is
            left out if `data.validation` is 0.
        extras_train, extras_test, extras_validation: by name, what else the minibatch holds of every example, as
            `batch["name"]`: an array `(n, ...)`, or `Ragged(values, offsets)` of rows that have several lengths.
            Integers become int64, real numbers float32; they are not normalised.
        class_names: by class id, value or token id; by default the ids themselves, the values' numbers, the symbols.
        normalise: `"train"`: mean 0 and deviation 1 by statistics of the training split only, per channel of
            images and per feature of anything else (a constant feature is only centred); a fixed
            `(mean, std)`, each a number or one number per channel or feature; None (default): as given.
        plain: of each feature, whether `normalise="train"` leaves it as given, such as one that is 0 or 1.
        lengths_train, lengths_test, lengths_validation: the extra `lengths`, of sequences `(n, positions, features)`
            or series `(n, positions)` that were filled up to one length: how many positions each has, from 1 on. What
            stands after them is not looked at, in statistics, in layers and in pooling; it may hold anything.
        groups_train, times_train: of each training example, what may not be in two splits, and when it was: what is set
            aside then is whole groups, or the latest. `data.splits` reads them from columns of a file.
        channels: of images: "first", or "last", after the pixels, `(n, height, width, channels)`; None
            (default) is first, but refuses shapes that look like last.
    """

    x_train: np.ndarray | RowSource
    y_train: np.ndarray
    x_test: np.ndarray | RowSource | None = None
    y_test: np.ndarray | None = None
    class_names: Sequence[str] | None = None
    normalise: Literal["train"] | tuple[float | Sequence[float], float | Sequence[float]] | None = None
    channels: Literal["first", "last"] | None = None
    lengths_train: np.ndarray | None = None
    lengths_test: np.ndarray | None = None
    lengths_validation: np.ndarray | None = None
    x_validation: np.ndarray | RowSource | None = None
    y_validation: np.ndarray | None = None
    extras_train: Mapping[str, Any] = field(default_factory=dict)
    extras_test: Mapping[str, Any] = field(default_factory=dict)
    extras_validation: Mapping[str, Any] = field(default_factory=dict)
    plain: Sequence[bool] | None = None
    groups_train: np.ndarray | None = None
    times_train: np.ndarray | None = None


DATA: Registry[Callable[..., RawData]] = Registry("data")


def register_data(name: str, *, task: str = "classification", family: str = "custom") -> Callable[[Any], Any]:
    """Register a data set: a function called as `read(source, **options)` that returns `RawData`.

    `source` (`unlocked.data.Source`) finds, downloads and caches files. The keyword options, with their
    annotations and defaults, are what `data:` accepts in a configuration besides its own keys. Heavy imports
    go inside the function. `task`: that of its targets, of ours or of a user's (`register_task`), looked up when the
    set is loaded; a function with an option `task` lets the configuration say it. Raises `ValueError` for a name that
    is taken, or an option that would hide a key of `load`.

    >>> from unlocked import RawData, register_data
    >>> from unlocked.tasks import load
    >>> @register_data("moons_doc", family="tables")
    ... def moons(source, noise: float = 0.1):
    ...     from sklearn.datasets import make_moons
    ...     x, y = make_moons(500, noise=noise, random_state=0)
    ...     return RawData(x, y, class_names=["upper", "lower"], normalise="train")
    >>> load("moons_doc", validation=0.1, seed=0, noise=0.2).train.x.shape
    torch.Size([360, 2])
    """

    def add(read: Callable[..., RawData]) -> Callable[..., RawData]:
        source, *options = inspect.signature(read).parameters or [None]
        if source is None:
            raise ValueError(f"data {name!r}: its function takes the source first: def {name}(source, ...)")
        hidden = [option for option in options if option in RESERVED]
        if hidden:
            raise ValueError(f"data {name!r}: the option {hidden[0]!r} would hide a key of every data set")
        return DATA.register(name, task=task, family=family)(read)

    return add


def asks_for_task(name: str) -> bool:
    """Whether it is a registered set whose function has the option `task`."""
    return name in DATA and TASK in inspect.signature(DATA.get(name)).parameters


def task_of_data(name: str, options: Mapping[str, Any]) -> str:
    """A set's own task: that of its option `task` if its function has one, else the one that it was registered for."""
    if not asks_for_task(name):
        return str(DATA.facts(name)["task"])
    default = inspect.signature(DATA.get(name)).parameters[TASK].default
    given = options.get(TASK, default)
    return given if isinstance(given, str) else str(default)
