"""Rows of a file by split: drawn, in folds, by a column, by group and by time."""

import inspect

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from unlocked.data import DATA, RawData, Source, register_data
from unlocked.data.splits import Splits, set_aside, with_splits
from unlocked.errors import DataError
from unlocked.options import check_options, option_kinds
from unlocked.tasks import load

N = 120
LABELS = np.arange(N) % 3
GROUPS = np.repeat([f"patient {i}" for i in range(N // 4)], 4)


def source(tmp_path, seed=3):
    return Source("mine", tmp_path, seed=seed)


def apart(parts, n=N):
    every = np.concatenate([each for each in (parts.train, parts.test, parts.validation) if each is not None])
    return sorted(every.tolist()) == list(range(n))


def test_a_fraction_is_drawn_class_by_class_as_scikit_learn_draws_it(tmp_path):
    parts = Splits(test=0.25).parts(source(tmp_path), N, labels=LABELS)
    _, expected = train_test_split(np.arange(N), test_size=0.25, stratify=LABELS, random_state=3)
    assert parts.test.tolist() == sorted(expected)
    assert apart(parts)


def test_every_row_is_in_the_test_split_of_one_fold(tmp_path):
    tested = [Splits(folds=5, fold=k).parts(source(tmp_path), N, labels=LABELS) for k in range(5)]
    assert all(apart(parts) for parts in tested)
    assert sorted(np.concatenate([parts.test for parts in tested]).tolist()) == list(range(N))
    assert {np.bincount(LABELS[parts.test]).tolist().__str__() for parts in tested} == {"[8, 8, 8]"}


@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("options", [{"test": 0.25}, {"folds": 4, "fold": 2}])
def test_no_group_is_in_two_splits(tmp_path, labels, options):
    parts = Splits(group="patient", **options).parts(source(tmp_path), N, labels=labels, group=GROUPS)
    assert not set(GROUPS[parts.train]) & set(GROUPS[parts.test])
    assert apart(parts)
    assert abs(len(parts.test) - N / 4) <= 8


def test_the_latest_rows_are_the_test_split_and_those_of_one_time_stay_together(tmp_path):
    times = np.random.default_rng(0).integers(0, 30, N)
    parts = Splits(time="when").parts(source(tmp_path), N, labels=LABELS, time=times)
    assert times[parts.train].max() < times[parts.test].min()
    assert apart(parts)
    assert (np.diff(times[parts.train]) >= 0).all()


def test_a_column_says_train_validation_and_test(tmp_path):
    column = np.array(["train", "Val", "test", "train "])
    parts = Splits(split="part").parts(source(tmp_path), 4, split=column)
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0, 3], [1], [2])


def test_a_file_of_its_own_leaves_all_rows_for_training(tmp_path):
    splits = Splits(test="held_out.csv")
    parts = splits.parts(source(tmp_path), N, labels=LABELS)
    assert splits.test_file == "held_out.csv"
    assert len(parts.train) == N
    assert parts.test is None


def read_rows(source: Source, splits: Splits, by: str = "drawn") -> RawData:
    """Examples that are their own row's number."""
    given = {"patient": {"group": GROUPS}, "when": {"time": np.arange(N)[::-1]}, "drawn": {}}[by]
    parts = splits.parts(source, N, labels=LABELS, **given)
    return RawData(**parts.arrays(np.arange(float(N))[:, None], LABELS))


@pytest.fixture
def rows():
    """`rows(**options)`: the numbers of the rows in each split of a loaded set."""
    register_data("rows_by_split")(with_splits()(read_rows))

    def loaded(seed=1, **options):
        data = load("rows_by_split", validation=0.25, seed=seed, **options)
        return [split.x[:, 0].long().numpy() for split in (data.train, data.validation, data.test)]

    yield loaded
    DATA._entries.pop("rows_by_split", None)
    DATA._facts.pop("rows_by_split", None)


def test_the_validation_split_of_a_loaded_set_obeys_the_groups(rows):
    train, validation, test = rows(by="patient", group="patient")
    names = [set(GROUPS[each]) for each in (train, validation, test)]
    assert names[0].isdisjoint(names[1] | names[2])
    assert names[1].isdisjoint(names[2])
    assert sum(map(len, (train, validation, test))) == N


def test_the_validation_split_is_between_the_training_and_the_test_split_in_time(rows):
    train, validation, test = rows(by="when", time="when")
    assert train.min() > validation.max() >= validation.min() > test.max()  # time runs from the last row to the first


def test_the_seed_of_the_data_draws_the_rows(rows):
    assert rows(seed=1)[2].tolist() == rows(seed=1)[2].tolist() != rows(seed=2)[2].tolist()


def test_a_data_function_is_given_the_options_of_splits():
    read = with_splits(without=["time"])(read_rows)
    names = list(inspect.signature(read).parameters)
    assert names == ["source", "by", "test", "validation_file", "split", "folds", "fold", "group"]
    assert option_kinds(read)["test"] == float | str
    check_options("data.options", "mine", read, {"test": "file.csv", "folds": 3}, skip=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"test": 1.0}, "data.options.test: must be above 0 and below 1, or a file, got 1.0"),
        ({"folds": 1}, "data.options.folds: must be at least 2, got 1"),
        ({"folds": 3, "fold": 3}, "data.options.fold: must be from 0 to 2, got 3"),
        ({"fold": 1}, "data.options.fold: must be 0 without data.options.folds, got 1"),
        ({"split": "part", "test": 0.1}, "data.options.split: says how rows are split, and so does data.options.test"),
        ({"time": "when", "folds": 3}, "data.options.folds: says how rows are split, and so does data.options.time"),
    ],
)
def test_options_that_cannot_be_are_one_line(options, told):
    with pytest.raises(DataError) as error:
        Splits(**options)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    ("options", "columns", "told"),
    [
        (
            {"split": "part"},
            {"split": np.array(["train", "tset"])},
            "a.csv, line 3: part is 'tset'; data.options.split",
        ),
        (
            {"split": "part"},
            {"split": np.array(["train", None], object)},
            "a.csv, line 3: part is missing; data.options",
        ),
        ({"split": "part"}, {"split": np.array(["train", "val"])}, "data.options.split: no row of mine has 'test'"),
        (
            {"split": "part", "group": "who"},
            {"split": np.array(["train", "test"]), "group": np.array(["ann", "ann"])},
            "a.csv, line 3: who 'ann' is in the test split, and in the train split by a.csv, line 2",
        ),
        ({"group": "who"}, {"group": np.array(["ann", None])}, "data.options.group: who: a.csv, line 3 has none"),
        ({"group": "who"}, {"group": np.array(["ann", "ann"])}, "data 'mine': all 2 rows are of one group"),
        ({"time": "when"}, {"time": np.array(["x", "y"])}, "data.options.time: when: holds <U1 values; times are"),
        ({"time": "when"}, {"time": np.array([1.0, np.nan])}, "data.options.time: when: a.csv, line 3 has none"),
        ({"time": "when"}, {"time": np.array([1, 1])}, "data 'mine': 0.2 of 2 rows cannot be set aside by time"),
    ],
)
def test_rows_that_cannot_be_split_are_one_line_with_their_place(tmp_path, options, columns, told):
    with pytest.raises(DataError) as error:
        Splits(**options).parts(source(tmp_path), 2, where=lambda row: f"a.csv, line {row + 2}", **columns)
    assert str(error.value).startswith(told)


def test_whole_groups_keep_the_share_of_every_class_where_they_can():
    groups, labels = np.repeat(np.arange(200), 5), np.repeat(np.arange(200) % 4 == 0, 5)
    _, aside = set_aside("mine", labels, 0.2, 0, "by class", groups=groups)
    assert abs(labels[aside].mean() - 0.25) < 0.03
    assert abs(len(aside) / 1000 - 0.2) < 0.02


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"test": "mine/../mine/all.csv"}, "test: mine/../mine/all.csv is data.options.file"),
        ({"test": "copy.csv"}, "test: copy.csv holds the same as data.options.file"),
        ({"validation_file": "link.csv"}, "validation_file: link.csv is data.options.file"),
        ({"test": "copied", "file": "folder"}, "test: copied holds the same as data.options.file"),
        ({"test": "held.csv", "validation_file": "held.csv"}, "test: held.csv is data.options.validation_file"),
    ],
)
def test_a_split_of_its_own_is_no_other_splits_file(tmp_path, options, said):
    @with_splits()
    def read(source: Source, splits: Splits, file: str):
        raise AssertionError("read")

    (tmp_path / "mine").mkdir()
    for place, content in (("mine/all.csv", "a,b"), ("copy.csv", "a,b"), ("held.csv", "b,a")):
        (tmp_path / place).write_text(content)
    for folder in ("folder", "copied"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.png").write_text("one")
    (tmp_path / "link.csv").symlink_to(tmp_path / "mine" / "all.csv")
    with pytest.raises(DataError) as refused:
        read(source(tmp_path), **{"file": "mine/all.csv", **options})
    assert str(refused.value).startswith(f"data.options.{said}; a split of its own needs examples")
    with pytest.raises(AssertionError, match="read"):
        read(source(tmp_path), file="mine/all.csv", test="held.csv")
