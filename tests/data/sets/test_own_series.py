"""The data set `series`: windows of the rows of any table, forecasts in their own units, nothing of the future read."""

import numpy as np
import pandas as pd
import pytest

from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError
from unlocked.tasks import load

N = 40
DAYS = pd.date_range("2024-01-01", periods=N).strftime("%Y-%m-%d")


@pytest.fixture
def weather(tmp_path):
    """`weather(name, **changed)`: the path of days with two channels, that count; some columns changed."""

    def write(name="weather.csv", **changed):
        frame = pd.DataFrame({"day": DAYS, "sky": "grey", "warm": np.arange(N), "wind": np.arange(N) + 100.0})
        frame.assign(**changed).to_csv(tmp_path / name, index=False)
        return str(tmp_path / name)

    return write


def raw(split, data):
    mean, deviation = data.loaded.statistics
    return (split.x * deviation + mean).numpy().round(3)


def test_windows_of_all_numbers_are_read_and_the_rows_after_them_forecast(weather):
    data = load("series", file=weather(), time="day", length=4, horizon=2, target="warm")
    assert data.class_names == ["warm +1", "warm +2"]
    x, y = raw(data.train, data), data.train.y.numpy()
    assert x.shape[1:] == (4, 2)
    assert x[0].tolist() == [[0, 100], [1, 101], [2, 102], [3, 103]]
    assert y[0].tolist() == [4, 5]
    np.testing.assert_array_equal(y[:, 0], x[:, -1, 0] + 1)


def test_no_target_of_the_test_split_is_read_or_forecast_in_training_and_validation_is_between(weather):
    data = load("series", file=weather(), time="day", length=4, horizon=3, target="warm", test=0.25, validation=0.2)
    first = 30  # of 40 days
    train, validation, test = data.train.y, data.given["validation"].y, data.given["test"].y
    assert test.min() == first
    assert train.max() < validation.max() == first - 1
    assert train[:, 0].max() < validation[:, 0].min()
    assert raw(data.train, data)[..., 0].max() < first


def test_what_is_relative_is_told_by_its_difference_to_the_last_row(weather):
    options = {"file": weather(), "length": 4, "horizon": 2, "target": "wind"}
    plain, data = load("series", **options), load("series", relative=True, **options)
    x, base = raw(data.test, data), data.test.extras["base"].numpy()
    assert (x[:, -1] == 0).all()
    np.testing.assert_array_equal(x + base[:, :1, None] - [[[100, 0]]], raw(plain.test, plain))
    np.testing.assert_array_equal(data.given["test"].y.numpy() + base, plain.given["test"].y.numpy())


def test_rows_are_sorted_by_their_time(weather):
    turned = {"day": DAYS[::-1], "warm": np.arange(N)[::-1], "wind": np.arange(N)[::-1] + 100.0}
    one, other = (load("series", file=weather(**each), time="day", length=4) for each in ({}, turned))
    np.testing.assert_array_equal(one.test.x, other.test.x)
    np.testing.assert_array_equal(one.train.y, other.train.y)


def test_windows_are_of_one_series_each(weather):
    place = ["a", "b"] * (N // 2)
    data = load("series", file=weather(place=place), series="place", time="day", length=3, columns=["warm"], test=0.3)
    for split in (data.train, data.test):
        x = raw(split, data)
        assert (np.diff(x[..., 0]) == 2).all()  # every second row
    without_time = load("series", file=weather(place=place), series="place", length=3, columns=["warm"], test=0.3)
    assert len(without_time.test) == len(data.test) == 12


@pytest.mark.parametrize(("missing", "windows"), [("last", 33), ("drop", 30)])
def test_a_missing_value_is_read_as_the_last_one_and_never_forecast(weather, missing, windows):
    warm = np.arange(float(N))
    warm[10] = np.nan
    file = weather(warm=warm)
    data = load("series", file=file, columns=["warm"], length=3, missing=missing, horizon=1)
    assert len(data.train) + len(data.test) == windows + 3
    x, y = np.concatenate([raw(data.train, data), raw(data.test, data)]), np.concatenate([data.train.y, data.test.y])
    assert not (y == 10).any()
    assert [[9.0], [9.0], [11.0]] in x.tolist() if missing == "last" else not (x == 9).all(1).any()


def test_a_file_of_its_own_is_the_test_split(weather):
    data = load("series", file=weather(), test=weather("later.csv", spare=1), columns=["warm"], length=4)
    assert (len(data.train), len(data.test)) == (N - 4, N - 4)


def test_a_file_of_its_own_has_the_same_channels(weather):
    with pytest.raises(DataError, match=r"later.csv: has no column 'rain' \(it has 'day', 'sky', 'warm', 'wind'\)"):
        load("series", file=weather(rain=1.0), test=weather("later.csv"), columns=["rain"], length=4)


def test_a_new_file_is_asked_what_comes_after_its_last_rows(weather, tmp_path):
    place = ["a", "b"] * (N // 2)
    data = load("series", file=weather(place=place), series="place", time="day", length=3, horizon=2, columns=["warm"])
    (tmp_path / "run").mkdir()
    Reading.of(data).write(tmp_path / "run")
    reading = Reading.read(tmp_path / "run")
    new = read_file(tmp_path / "weather.csv", reading)
    assert new.names == ["a", "b"]
    mean, deviation = (each.flatten().item() for each in data.loaded.statistics)
    np.testing.assert_allclose(new.x[:, :, 0] * deviation + mean, [[34, 36, 38], [35, 37, 39]], atol=1e-4)
    (tmp_path / "short.csv").write_text("day,place,warm\n2024-01-01,a,1\n")
    with pytest.raises(DataError, match=r"short.csv: has 1 rows; this net reads the last 3 of a series"):
        read_file(tmp_path / "short.csv", reading)


@pytest.mark.parametrize(
    ("options", "changed", "told"),
    [
        ({"length": 0}, {}, "data.options.length: must be at least 1, got 0"),
        ({"length": 40}, {}, "{file}: no window of 40 + 1 rows has all its values; the longest series has 40"),
        ({"length": 36}, {}, "{file}: no window of 36 + 1 rows is left for the train split"),
        ({"time": "date"}, {}, "data.options.time: {file} has no column 'date'"),
        ({"time": "sky"}, {}, "{file}, row 1: sky is 'grey', which is no time"),
        ({"time": "warm"}, {"warm": [0, 1, 1, *range(3, N)]}, "{file}, row 3: warm is 1 again, as in row 2"),
        ({"time": "day"}, {"day": ["", *DAYS[1:]]}, "{file}, row 1: day is missing; every row needs a time"),
        ({"columns": ["sky"]}, {}, "{file}: the channel 'sky' holds string, not numbers"),
        ({"target": "sky"}, {}, "data.options.target: 'sky' is none of the channels (warm, wind)"),
        ({"missing": "refuse"}, {"wind": [1.0, np.nan] * 20}, "{file}, row 2: wind is missing"),
        ({"series": "place"}, {"place": ["a", None] * 20}, "{file}, row 2: place is missing; every row is of a series"),
        ({}, {"wind": [1e300, *range(1, N)]}, "{file}, row 1: wind is 1e+300, which does not fit float32"),
        ({}, {"warm": ["many", *range(N - 1)]}, "{file}, row 1: warm is 'many', and a number in most rows"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_row(weather, options, changed, told):
    file = weather(**changed)
    with pytest.raises(DataError) as error:
        load("series", **({"file": file, "length": 4} | options))
    assert str(error.value).startswith(told.format(file=file))
