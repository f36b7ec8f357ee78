"""How rows of a file go to the training, validation and test split: one definition, one set of options, for every kind.

A data function of files takes them by `with_splits`, reads the columns that they name, and asks for the rows:

    @register_data("mine", task="classification", family="files")
    @with_splits()
    def mine(source: Source, splits: Splits, file: str) -> RawData:
        ...
        parts = splits.parts(source, len(y), labels=y, group=groups, where=lambda row: f"{file}, line {row + 2}")
        return RawData(**parts.arrays(x, y), class_names=names)

`splits.learned_from(source, parts, labels)` are the training rows of which alone fills and categories may be learned.
"""

from __future__ import annotations

import filecmp
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.arrays import wrong
from unlocked.data.dataset import TEST_FRACTION, RawData
from unlocked.data.files.source import Source
from unlocked.data.rows.source import RowSource
from unlocked.errors import DataError, reason

VALUES = {"train": "train", "validation": "validation", "test": "test"}
VALUES |= dict.fromkeys(("val", "valid", "dev"), "validation") | {"training": "train"}
EXCLUDING = [
    ("split", "folds"),
    ("split", "time"),
    ("split", "test"),
    ("split", "validation_file"),
    ("folds", "time"),
    ("folds", "test"),
    ("group", "time"),
]
Where = Callable[[int], str]


@dataclass(frozen=True)
class Splits:
    """The options, as `data.options` has them, of every kind of file.

    Args:
        test: the fraction that is the test split, drawn class by class if there are classes; or a file of its own.
        validation_file: a file of its own of the validation split, in place of a fraction of the training rows.
        split: the column that says train, validation or test.
        folds: the test split is one of so many parts, drawn class by class, of which every row is in one.
        fold: which of them, from 0 on.
        group: the column of what may not be in two splits, such as a patient.
        time: the column of a time: the latest rows are the test split, those before them the validation split.

    Raises `DataError`, one line, for options that exclude each other.
    """

    test: float | str = TEST_FRACTION
    validation_file: str | None = None
    split: str | None = None
    folds: int | None = None
    fold: int = 0
    group: str | None = None
    time: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.test, str) and not 0 < self.test < 1:
            raise DataError(f"data.options.test: must be above 0 and below 1, or a file, got {self.test}")
        if self.folds is not None and self.folds < 2:
            raise DataError(f"data.options.folds: must be at least 2, got {self.folds}")
        if not 0 <= self.fold < (self.folds or 1):
            allowed = f"from 0 to {self.folds - 1}" if self.folds else "0 without data.options.folds"
            raise DataError(f"data.options.fold: must be {allowed}, got {self.fold}")
        given = {key for key in vars(self) if getattr(self, key) not in (None, 0, TEST_FRACTION)}
        for one, other in EXCLUDING:
            if {one, other} <= given:
                raise DataError(
                    f"data.options.{one}: says how rows are split, and so does data.options.{other}; give one"
                )

    @property
    def test_file(self) -> str | None:
        """The test split's own; the data function reads it."""
        return self.test if isinstance(self.test, str) else None

    @property
    def columns(self) -> list[str]:
        """Those of a table that are no inputs, since they say how its rows are split."""
        return [column for column in (self.split, self.group, self.time) if column is not None]

    def parts(
        self,
        source: Source,
        n: int,
        *,
        labels: np.ndarray | None = None,
        split: Sequence[str] | np.ndarray | None = None,
        group: np.ndarray | None = None,
        time: np.ndarray | None = None,
        where: Where = lambda row: f"row {row + 1}",
    ) -> Parts:
        """The rows 0 to n of one file by split. The validation split of `data.validation` is drawn later, by the same
        groups and times.

        Args:
            labels: classes `(n,)`, ids or names, if the targets are some.
            split, group, time: values `(n,)` of the columns of these options, where they are given; times are numbers
                or datetime64.
            where: names a row in messages.
        """
        rows = np.arange(n)
        if self.split is not None:
            assert split is not None
            return self._by_column(source, split, group, where)
        groups = None if group is None else _codes(group, f"data.options.group: {self.group}", where)
        times = None if time is None else _times(time, f"data.options.time: {self.time}", where)
        if self.test_file is not None:
            return Parts(rows, None, None, groups, times)
        if self.folds is not None:
            aside = _fold(source, n, labels, groups, self.folds, self.fold)
            train, test = np.setdiff1d(rows, aside), aside
        else:
            assert not isinstance(self.test, str)
            order = "drawn" if labels is None else "by class"
            train, test = set_aside(source.name, labels if labels is not None else rows, self.test, source.seed, order,
                                    groups=groups, times=times)  # fmt: skip
        return Parts(train, test, None, groups, times)

    def learned_from(self, source: Source, parts: Parts, labels: np.ndarray | None = None) -> np.ndarray:
        """The training rows but those that `data.validation` will set aside: what is learned of the values themselves
        (fills, categories) is learned of these. `labels` as of `parts`."""
        if source.validation == 0 or parts.validation is not None or self.validation_file is not None:
            return parts.train
        held = parts.held()
        kept, _ = set_aside(
            source.name,
            (np.arange(len(parts.train)) if labels is None else labels[parts.train]),
            source.validation,
            source.seed,
            "drawn" if labels is None else "by class",
            groups=held["groups_train"],
            times=held["times_train"],
        )
        rows: np.ndarray = parts.train[kept]
        return rows

    def _by_column(
        self, source: Source, split: Sequence[str] | np.ndarray, group: np.ndarray | None, where: Where
    ) -> Parts:
        given = ["" if value is None or value != value else str(value).strip().lower() for value in split]
        strange = next((row for row, value in enumerate(given) if value not in VALUES), None)
        if strange is not None:
            told = repr(str(split[strange])) if given[strange] else "missing"
            raise DataError(
                f"{where(strange)}: {self.split} is {told}; data.options.split names a column of "
                "train, validation and test"
            )
        parts = np.array([VALUES[value] for value in given])
        for needed in ("train", "test"):
            if not (parts == needed).any():
                raise DataError(
                    f"data.options.split: no row of {source.name} has {needed!r} in the column {self.split}"
                )
        groups = None if group is None else _codes(group, f"data.options.group: {self.group}", where)
        if groups is not None:
            first: dict[int, int] = {}
            for row, code in enumerate(groups.tolist()):
                if parts[first.setdefault(code, row)] != parts[row]:
                    raise DataError(
                        f"{where(row)}: {self.group} {str(group[row])!r} is in the {parts[row]} split, and in the "  # type: ignore[index]
                        f"{parts[first[code]]} split by {where(first[code])}; data.options.group allows one"
                    )
        validation = np.flatnonzero(parts == "validation")
        train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
        return Parts(train, test, validation if len(validation) else None, groups, None)


@dataclass(frozen=True, eq=False)
class Parts:
    """Rows of the splits; `test` and `validation` are None if they are not of this file, or drawn later."""

    train: np.ndarray
    test: np.ndarray | None
    validation: np.ndarray | None
    groups: np.ndarray | None = None  # of all rows
    times: np.ndarray | None = None

    def arrays(
        self, x: np.ndarray | RowSource, y: np.ndarray, extras: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, Any]:
        """Keywords of `RawData` of arrays that hold all rows of the file."""
        given: dict[str, Any] = {}
        for part in ("train", "test", "validation"):
            rows = getattr(self, part)
            if rows is not None:
                given |= {f"x_{part}": x[rows], f"y_{part}": y[rows]}
                if extras:
                    given[f"extras_{part}"] = {name: values[rows] for name, values in extras.items()}
        return given | self.held()

    def held(self) -> dict[str, Any]:
        """Keywords of `RawData` by which `data.validation` obeys groups and times."""
        groups, times = (None if each is None else each[self.train] for each in (self.groups, self.times))
        return {"groups_train": groups, "times_train": times}


def with_splits(without: Sequence[str] = ()) -> Callable[[Callable[..., RawData]], Callable[..., RawData]]:
    """Gives a data function the options of `Splits`, but those `without` a meaning for it, as one argument after its
    source."""
    options = [field for field in fields(Splits) if field.name not in without]

    def add(read: Callable[..., RawData]) -> Callable[..., RawData]:
        @functools.wraps(read)
        def reading(source: Source, **given: Any) -> RawData:
            chosen = {option.name: given.pop(option.name) for option in options if option.name in given}
            splits = Splits(**chosen)
            _refuse_same(source, given.get("file"), splits)
            return read(source, splits, **given)

        signature = inspect.signature(read)
        first, taken, *own = signature.parameters.values()
        more = [
            inspect.Parameter(
                option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.type
            )
            for option in options
        ]
        reading.__signature__ = signature.replace(parameters=[first, *own, *more])  # type: ignore[attr-defined]
        kinds = {name: kind for name, kind in read.__annotations__.items() if name != taken.name}
        reading.__annotations__ = kinds | {option.name: option.type for option in options}
        return reading

    return add


def _refuse_same(source: Source, file: object, splits: Splits) -> None:
    """Raises `DataError` if two splits are of one file, or of equal ones; of a file that is not there others tell."""
    named = {"file": file, "validation_file": splits.validation_file, "test": splits.test_file}
    found = {
        option: path
        for option, name in named.items()
        if isinstance(name, str) and (path := source.given(f"data.options.{option}", name, Path.exists)) is not None
    }
    for (one, first), (other, second) in combinations(found.items(), 2):
        try:
            same = "is" if first.samefile(second) else "holds the same as" if _equal(first, second) else None
        except OSError:
            continue
        if same is not None:
            raise DataError(
                f"data.options.{other}: {named[other]} {same} data.options.{one}; a split of its own needs examples of "
                "its own (left out, a fraction is set aside)"
            )


def _equal(one: Path, other: Path) -> bool:
    """Byte for byte: two files, or two folders."""
    if one.is_file() and other.is_file():
        return one.stat().st_size == other.stat().st_size and filecmp.cmp(one, other, shallow=False)
    held = [sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()) for root in (one, other)]
    return held[0] == held[1] != [] and all(_equal(one / path, other / path) for path in held[0])


def set_aside(
    name: str,
    y: np.ndarray,
    fraction: float,
    seed: int,
    order: str,
    stretch: int | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`(kept, aside)`, rows of as many as there are targets `y`: drawn, by class or from all, whole groups if there are
    some; the latest if there are times; or, if the order is kept, the end."""
    from sklearn.model_selection import train_test_split

    rows, by_class = np.arange(len(y)), order == "by class"
    if times is not None:
        return _latest(name, times, fraction)
    if order == "kept":
        each = stretch or 1  # an episode is not cut
        first = len(y) - round(fraction * len(y) / each) * each
        if not 0 < first < len(y):
            raise wrong(name, f"{fraction:g} of {len(y)} examples cannot be set aside")
        return rows[:first], rows[first:]
    if groups is not None:
        chosen = _whole_groups(name, groups, y if by_class else None, fraction, seed)
        return rows[~chosen], rows[chosen]
    try:
        kept, aside = train_test_split(
            rows, test_size=fraction, stratify=y if by_class else None, random_state=seed % 2**32
        )
    except ValueError as error:
        what = f"{fraction:g} of {len(y)} examples cannot be set aside{' class by class' if by_class else ''}"
        raise wrong(name, f"{what}: {reason(error)}") from None
    return np.sort(kept), np.sort(aside)


def _latest(name: str, times: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Sorted by time; rows of one time stay together, so the fraction is the nearest that there is."""
    order = np.argsort(times, kind="stable")
    held = times[order]
    wanted = len(times) - round(fraction * len(times))
    at = held[min(wanted, len(held) - 1)]
    ends = [int(np.searchsorted(held, at, side)) for side in ("left", "right")]
    cuts = [end for end in ends if 0 < end < len(held)]
    if not cuts:
        raise wrong(name, f"{fraction:g} of {len(times)} rows cannot be set aside by time: most are of one time")
    first = min(cuts, key=lambda cut: abs(cut - wanted))
    return order[:first], order[first:]


def _whole_groups(name: str, groups: np.ndarray, labels: np.ndarray | None, fraction: float, seed: int) -> np.ndarray:
    """Which rows: groups in a drawn order, each taken if the count of every class comes nearer to the fraction."""
    _, each = np.unique(groups, return_inverse=True)
    count = int(each.max(initial=-1)) + 1
    if count < 2:
        raise wrong(name, f"all {len(groups)} rows are of one group: {fraction:g} of them cannot be set aside")
    kinds = np.zeros(len(groups), np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    table = np.zeros((count, int(kinds.max()) + 1))  # (groups, classes)
    np.add.at(table, (each, kinds), 1)
    lacking = fraction * table.sum(0)
    taken = np.zeros(count, bool)
    order = np.random.default_rng(seed % 2**32).permutation(count)
    for group in order:
        rest = lacking - table[group]
        if np.square(rest).sum() < np.square(lacking).sum() and taken.sum() < count - 1:
            taken[group], lacking = True, rest
    if not taken.any():
        taken[order[np.argmin(table[order].sum(1))]] = True
    return taken[each]


def _fold(
    source: Source, n: int, labels: np.ndarray | None, groups: np.ndarray | None, folds: int, fold: int
) -> np.ndarray:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    kind = {
        (False, False): KFold,
        (True, False): StratifiedKFold,
        (False, True): GroupKFold,
        (True, True): StratifiedGroupKFold,
    }[labels is not None, groups is not None]
    rows = np.arange(n)
    try:
        cut = kind(folds, shuffle=True, random_state=source.seed % 2**32)
        return np.sort(list(cut.split(rows, labels, groups))[fold][1])
    except ValueError as error:
        raise DataError(f"data.options.folds: {n} rows cannot be {folds} folds: {reason(error)}") from None


def _codes(values: np.ndarray, what: str, where: Where) -> np.ndarray:
    """Of groups, integers from 0 on. Raises `DataError` for a row without one."""
    texts = np.array(["" if value is None or value != value else str(value) for value in values])
    lacking = np.flatnonzero(texts == "")
    if len(lacking):
        raise DataError(f"{what}: {where(int(lacking[0]))} has none; every row needs a group")
    return np.unique(texts, return_inverse=True)[1]


def _times(values: np.ndarray, what: str, where: Where) -> np.ndarray:
    if values.dtype.kind not in "iufM":
        raise DataError(f"{what}: holds {values.dtype} values; times are numbers or dates")
    lacking = np.flatnonzero(np.isnat(values) if values.dtype.kind == "M" else ~np.isfinite(values))
    if len(lacking):
        raise DataError(f"{what}: {where(int(lacking[0]))} has none; every row needs a time")
    return values
