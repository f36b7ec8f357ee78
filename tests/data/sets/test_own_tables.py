"""The data set `table`: any CSV, JSON lines or Parquet file, and new rows for the net that was trained on it."""

import numpy as np
import pandas as pd
import pytest

from unlocked.data.new.inputs import of_table, read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError
from unlocked.tasks import load

N = 90
FRAME = pd.DataFrame(
    {
        "kind": [["cat", "dog", "cow"][i % 3] for i in range(N)],
        "age": [np.nan if i % 10 == 0 else i % 7 for i in range(N)],
        "colour": [["red", "blue", None][i // 2 % 3] for i in range(N)],
        "born": pd.to_datetime([f"2024-0{1 + i % 9}-05" for i in range(N)]),
        "weight": [i * 0.5 for i in range(N)],
        "code": [10 + i % 2 for i in range(N)],
    }
)


@pytest.fixture
def pets(tmp_path):
    """`pets(name, **changed)`: the path of the frame, with some columns changed."""

    def write(name="pets.csv", **changed):
        frame = FRAME.assign(**changed)
        path = tmp_path / name
        frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
        return str(path)

    return write


@pytest.mark.parametrize("name", ["pets.csv", "pets.parquet"])
def test_classes_categories_dates_and_missing_values_become_features(pets, name):
    data = load(
        "table", file=pets(name), target="kind", categorical=["code"], columns=["age", "colour", "born", "code"]
    )
    assert data.class_names == ["cat", "cow", "dog"]
    categories = ["colour=blue", "colour=red", "colour=(missing)"]
    assert data.features == ["age", *categories, "born", "code=10", "code=11"]
    x = np.concatenate([data.train.x, data.test.x])
    assert set(np.unique(x[:, [1, 2, 3, 5, 6]])) == {0.0, 1.0}  # left as they are
    assert (x[:, 1:4].sum(1) == 1).all()
    np.testing.assert_allclose(data.train.x[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.x[:, 0].std(correction=0), 1, rtol=1e-5)


def test_fills_are_the_median_of_the_training_rows_and_can_be_told_by_a_feature(pets):
    split = ["train"] * 60 + ["test"] * 30
    age = [np.nan, 1.0, 2.0, 9.0] * 15 + [100.0] * 30
    file = pets(part=split, age=age)
    data = load("table", file=file, target="kind", columns=["age"], split="part", missing="indicate")
    mean, deviation = (each.flatten().numpy() for each in data.loaded.statistics)
    raw = data.train.x.numpy() * deviation + mean
    np.testing.assert_allclose(raw[:4], [[2, 1], [1, 0], [2, 0], [9, 0]], atol=1e-5)


def test_rows_with_missing_values_are_dropped_or_refused(pets):
    kept = load("table", file=pets(), target="kind", columns=["age"], missing="drop")
    assert len(kept.train) + len(kept.test) == N - 9
    with pytest.raises(DataError, match=r"pets.csv, row 1: age is missing; data.options.missing"):
        load("table", file=pets(), target="kind", missing="refuse")


def test_values_of_several_targets_are_standardised(pets):
    data = load("table", file=pets(), target=["weight", "age"], task="regression")
    assert data.class_names == ["weight", "age"]
    assert len(data.train) + len(data.test) == N - 9  # rows without an age have no target
    np.testing.assert_allclose(data.transforms[0].mean, data.train.y.double().mean(0))
    assert load("table", file=pets(), target="weight", task="regression", standardise=False).transforms == []


def test_a_file_of_its_own_is_the_test_split_and_is_read_as_the_training_file(pets):
    held = pets("held.csv", colour=["green"] * N)
    data = load(
        "table",
        file=pets(),
        target="kind",
        columns=["colour", "age"],
        test=held,
        validation_file=pets("more.csv", age=1),
    )
    assert (len(data.train), len(data.test)) == (N, N)
    assert data.test.x[:, data.features.index("colour=red")].max() == 0


@pytest.mark.parametrize("by", [{}, {"group": "born"}, {"time": "weight"}, {"folds": 4}, {"target": "weight"}])
def test_fills_and_categories_are_learned_of_the_training_rows_alone(pets, by):
    names = [f"v{i}" for i in range(N)]  # a category of one row each: those of training rows are features
    options = {"target": "kind", "categories": N, **by}
    task = {"task": "regression"} if "target" in by else {}
    frame = pets(name_of_row=names, age=np.where(np.arange(N) % 4 == 0, np.nan, np.arange(N) ** 2.0))
    data = load("table", file=frame, columns=["name_of_row", "age"], validation=0.3, seed=5, **options, **task)
    own = [i for i, feature in enumerate(data.features) if feature.startswith("name_of_row=")]
    assert len(own) == len(data.train)
    assert (data.train.x[:, own].sum(1) == 1).all()
    assert (data.validation.x[:, own] == 0).all()
    rows = [int(data.features[i].removeprefix("name_of_row=v")) for i in own]
    ages = [row**2.0 for row in rows if row % 4]
    (column,) = [each for each in data.files["columns"] if each["name"] == "age"]
    assert column["fill"] == np.median(ages)


def test_new_rows_are_read_by_the_names_of_their_columns(pets, tmp_path):
    data = load("table", file=pets(), target="kind", columns=["age", "colour"])
    reading = Reading.of(data)
    (tmp_path / "run").mkdir()
    reading.write(tmp_path / "run")
    again = Reading.read(tmp_path / "run")
    new = tmp_path / "new.csv"
    new.write_text("colour,extra,age\nred,x,3\ngreen,y,\n,z,4\n")
    read = read_file(new, again)
    rows = [FRAME.index[(FRAME["age"] == 3) & (FRAME["colour"] == "red")][0]]
    whole = load("table", file=pets(), target="kind", columns=["age", "colour"], test=pets("all.csv", spare=1))
    mean, deviation = (each.flatten() for each in data.loaded.statistics)
    by_hand = (whole.test.x * whole.loaded.statistics[1] + whole.loaded.statistics[0] - mean) / deviation
    np.testing.assert_allclose(read.x[0], by_hand[rows[0]], atol=1e-5)
    assert read.x[1, 1:].tolist() == [0, 0, 0]  # never seen in training
    assert read.x[2, 1:].tolist() == [0, 0, 1]
    assert [note.removeprefix(f"{tmp_path}/") for note in read.notes] == [
        "new.csv, row 2: colour has 'green', read as none of its 3 categories"
    ]
    frame = of_table(["age", "colour"], [[3, "red"], [None, "green"], [4, None]], again, "inputs")
    np.testing.assert_array_equal(frame.x, read.x)
    new.write_text("age\n3\n")
    with pytest.raises(DataError, match=r"new.csv: has no column 'colour' \(it has age\)"):
        read_file(new, again)


def test_columns_of_a_group_and_of_a_time_are_no_inputs_and_part_the_rows(pets):
    owner = [f"owner {i // 5}" for i in range(N)]
    grouped = load("table", file=pets(owner=owner), target="kind", group="owner", columns=["weight"], validation=0.2)
    mean, deviation = (each.flatten().item() for each in grouped.loaded.statistics)
    parts = [
        {int(round(w * deviation + mean, 3) * 2) // 5 for w in split.x[:, 0].tolist()}
        for split in (grouped.train, grouped.validation, grouped.test)
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 18
    timed = load("table", file=pets(), target="kind", time="born", drop=["colour"])
    assert timed.features == ["age", "weight", "code"]
    assert len(timed.test) == 20  # the last two of nine days


def test_the_most_frequent_categories_are_kept(pets):
    words = [f"w{i}" if i > 40 else "often" for i in range(N)]
    data = load("table", file=pets(word=words), target="kind", columns=["word"], categories=2)
    assert len(data.features) == 2
    assert "word=often" in data.features


@pytest.mark.parametrize(
    ("options", "changed", "told"),
    [
        ({"target": "knid"}, {}, "data.options.target: {file} has no column 'knid' (it has 'kind', 'age', "),
        ({"drop": ["x"]}, {}, "data.options.drop: {file} has no column 'x'"),
        ({"columns": ["kind"]}, {}, "data.options.columns: 'kind' is a target, or says how rows are split"),
        ({"target": "weight"}, {}, "{file}, row 2: the target weight is 0.5, which is no class; for values set "),
        ({"task": "regression"}, {}, "{file}, row 1: the target kind is 'cat', which is no number; for classes"),
        ({}, {"kind": ["cat"] * N}, "{file}: the target kind is 'cat' in every row; there have to be two classes"),
        ({}, {"kind": [*["cat", "dog"] * 44, "cow", "cat"]}, "{file}, row 89: the only one with kind 'cow'; a class"),
        ({"target": ["kind", "code"]}, {}, "data.options.target: classification has one target, not 2"),
        ({"split": "part"}, {"part": ["train"] * 89 + ["tset"]}, "{file}, row 90: part is 'tset'"),
        (
            {"split": "part"},
            {"part": ["train"] * 89 + ["test"], "kind": [*["cat", "dog"] * 44, "cat", "cow"]},
            "{file}, row 90: kind is 'cow', a class that no training row has",
        ),
        ({"time": "colour"}, {}, "{file}, row 1: colour is 'red', which is no time"),
        ({}, {"age": [np.inf if i == 4 else i for i in range(N)]}, "{file}, row 5: age is infinite"),
        (
            {"task": "multi_label", "target": ["code", "weight"]},
            {},
            "{file}, row 1: the target code is '10', not 0 or 1",
        ),
        ({"file": "nowhere.csv"}, {}, "data.options.file: nowhere.csv is no file, here or in "),
    ],
)
def test_what_cannot_be_is_one_line_with_its_row(pets, options, changed, told):
    file = pets(**changed)
    with pytest.raises(DataError) as error:
        load("table", **({"file": file, "target": "kind", "missing": "fill"} | options))
    assert str(error.value).startswith(told.format(file=file))
